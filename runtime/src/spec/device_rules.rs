//! The rules of `linux.resources.devices`, boiled down to one default and its exceptions.
//!
//! Rules are read in order as the v1 controller reads its files; v1 gets the outcome as writes,
//! v2 as a program ([`crate::plan::device_filter`]).

use super::invalid;
use crate::Result;
use crate::plan::device_filter::{self, Access, Rule, Type};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// What a container may do with devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is not among the exceptions is allowed.
    pub allow: bool,
    /// What is decided the other way.
    pub exceptions: Vec<Rule>,
}

/// Every container may make any node, and use the devices that every container has: mem(4), tty,
/// ptmx and the pts (a console is one of these; the host's, 5:1, is not for containers).
fn always() -> impl Iterator<Item = Rule> {
    let nodes = [Type::Char, Type::Block].map(|kind| Rule {
        kind,
        major: None,
        minor: None,
        access: Access::MKNOD,
    });
    let devices = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(2)),
        (136, None),
    ]
    .map(|(major, minor)| Rule {
        kind: Type::Char,
        major: Some(major),
        minor,
        access: Access::ALL,
    });
    nodes.into_iter().chain(devices)
}

/// Nothing is allowed before the first rule, and what every container has after the last.
pub fn policy(rules: &[LinuxDeviceCgroup]) -> Result<Policy> {
    let mut policy = Policy { allow: false, exceptions: Vec::new() };
    for rule in rules {
        policy.apply(rule)?;
    }
    for rule in always() {
        policy.change(rule, true)?;
    }
    Ok(policy)
}

impl Policy {
    fn apply(&mut self, entry: &LinuxDeviceCgroup) -> Result<()> {
        let access = match entry.access().as_deref() {
            None | Some("") => Access::ALL,
            Some(text) => Access::parse(text)
                .ok_or_else(|| invalid(format!("linux.resources.devices: access {text:?}")))?,
        };
        let (major, minor) = (number(entry.major())?, number(entry.minor())?);
        let kind = match entry.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::C | LinuxDeviceType::U => Type::Char,
            LinuxDeviceType::B => Type::Block,
            LinuxDeviceType::A if (major, minor, access) == (None, None, Access::ALL) => {
                *self = Policy { allow: entry.allow(), exceptions: Vec::new() };
                return Ok(());
            }
            LinuxDeviceType::A => {
                return Err(invalid(
                    "linux.resources.devices: a rule for all types has no numbers and all access",
                ));
            }
            LinuxDeviceType::P => {
                return Err(invalid("linux.resources.devices: a FIFO needs no rule"));
            }
        };
        self.change(Rule { kind, major, minor, access }, entry.allow())
    }

    /// Adds to the exceptions, or takes from them.
    fn change(&mut self, rule: Rule, allow: bool) -> Result<()> {
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
            let message = format!("{rule} takes back a part of {other}");
            return Err(invalid(format!("linux.resources.devices: {message}: not supported")));
        }
        self.exceptions.retain(|rule| rule.access != Access::NONE);
        Ok(())
    }

    /// What v1 is told: file and line.
    pub fn v1_writes(&self) -> Vec<(&'static str, String)> {
        let (all, exception) = match self.allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        let mut writes = vec![(all, "a".to_owned())];
        writes.extend(self.exceptions.iter().map(|rule| (exception, rule.to_string())));
        writes
    }

    /// What v2 is told: a program, or nothing when everything is allowed.
    pub fn v2_program(&self) -> Option<Vec<u8>> {
        if self.allow && self.exceptions.is_empty() {
            return None;
        }
        Some(device_filter::assemble(self.allow, &self.exceptions))
    }
}

/// `None` is every number.
fn number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .ok()
            .filter(|n| *n < 1 << 20)
            .map(Some)
            .ok_or_else(|| invalid(format!("linux.resources.devices: no device number {n}"))),
    }
}
