//! What a container may do with devices: one default and its exceptions.
//!
//! v1 gets it as lines for its files, v2 as a program ([`crate::plan::device_filter`]).

use crate::plan::device_filter::{self, Access, Rule};
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// What a container may do with devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePolicy {
    /// What is not among the exceptions is allowed.
    pub allow: bool,
    /// What is decided the other way.
    pub exceptions: Vec<Rule>,
    /// A configuration has asked for it: a host that cannot hold it is an error.
    pub required: bool,
}

impl DevicePolicy {
    /// Nobody is held back from anything.
    pub fn allows_everything(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }

    /// Adds to the exceptions, or takes from them.
    ///
    /// # Errors
    /// `Invalid` for a rule that takes back a part of an exception.
    pub fn change(&mut self, rule: Rule, allow: bool) -> Result<()> {
        let same = self.exceptions.iter().position(|other| other.same_devices(&rule));
        if allow != self.allow {
            match same {
                Some(at) => self.exceptions[at].access |= rule.access,
                None => self.exceptions.push(rule),
            }
            return Ok(());
        }
        if let Some(at) = same {
            self.exceptions[at].access &= !rule.access;
        }
        // The kernel's v1 takes back only the very same exception; to leave the rest in force
        // without a word would be a hole.
        let rest = self
            .exceptions
            .iter()
            .find(|other| other.overlaps(&rule) && !other.same_devices(&rule));
        if let Some(other) = rest
            && !self.allow
        {
            let message = format!("linux.resources.devices: {rule} takes back a part of {other}");
            return Err(Error::new(Kind::Invalid, format!("{message}: not supported")));
        }
        self.exceptions.retain(|rule| rule.access != Access::NONE);
        Ok(())
    }

    /// What v1 is told, file and line: everything for a new group, else what `before` lacks or has
    /// too much. To begin anew would deny a device for a moment that is allowed before and after.
    pub fn v1_writes(&self, before: Option<&DevicePolicy>) -> Vec<(&'static str, String)> {
        let (all, exception) = match self.allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        let Some(before) = before.filter(|before| before.allow == self.allow) else {
            let lines = self.exceptions.iter().map(|rule| (exception, rule.to_string()));
            return [(all, "a".to_owned())].into_iter().chain(lines).collect();
        };
        let added = self.beyond(before).map(|rule| (exception, rule.to_string()));
        let removed = before.beyond(self).map(|rule| (all, rule.to_string()));
        removed.chain(added).collect()
    }

    /// The exceptions that `other` has not.
    fn beyond(&self, other: &DevicePolicy) -> impl Iterator<Item = Rule> {
        self.exceptions.iter().filter_map(|rule| {
            let mut rule = rule.clone();
            if let Some(same) = other.exceptions.iter().find(|same| same.same_devices(&rule)) {
                rule.access &= !same.access;
            }
            (rule.access != Access::NONE).then_some(rule)
        })
    }

    /// What v2 is told: a program, or nothing when everything is allowed anyway.
    pub fn v2_program(&self, before: Option<&DevicePolicy>) -> Option<Vec<u8>> {
        let unfiltered = before.is_none_or(DevicePolicy::allows_everything);
        if self.allows_everything() && unfiltered {
            return None;
        }
        Some(device_filter::assemble(self.allow, &self.exceptions))
    }
}
