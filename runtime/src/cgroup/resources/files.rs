//! From settings to files: what all of them share, and the devices.

use super::{Resources, Setting, Value, invalid};
use crate::Result;
use crate::cgroup::{ControllerDir, Controllers};
use crate::plan::CgroupWrite;

/// The writes of one change while they are planned.
pub(super) struct Files<'a> {
    pub(super) change: &'a Resources,
    pub(super) before: &'a Resources,
    pub(super) after: &'a Resources,
    pub(super) controllers: &'a Controllers,
    pub(super) writes: Vec<CgroupWrite>,
}

impl Files<'_> {
    /// Where a controller is, if anything is asked of it. A host without it gives what
    /// [`Value::Unset`] asks for; anything else needs it, and `field` is named.
    pub(super) fn home(
        &self,
        controller: &str,
        field: &str,
        settings: &[Setting],
    ) -> Result<Option<ControllerDir>> {
        let asked: Vec<&Value> = settings.iter().filter_map(|s| self.change.get(s)).collect();
        if asked.is_empty() {
            return Ok(None);
        }
        match self.controllers.home(controller) {
            Some(home) => Ok(Some(home)),
            None if asked.iter().all(|value| **value == Value::Unset) => Ok(None),
            None => Err(super::missing(controller, field)),
        }
    }

    /// One value that must be taken.
    pub(super) fn write(&mut self, dir: u8, file: impl Into<String>, value: impl ToString) {
        self.push(dir, file.into(), value.to_string(), false);
    }

    /// One value for a file that a kernel may lack.
    pub(super) fn offer(&mut self, dir: u8, file: impl Into<String>, value: impl ToString) {
        self.push(dir, file.into(), value.to_string(), true);
    }

    fn push(&mut self, dir: u8, file: String, value: String, optional: bool) {
        self.writes.push(CgroupWrite { dir, file, value, optional });
    }

    /// A setting that is a file of its own; `unset` is what a new group has there. A kernel that
    /// lacks the file lacks what would have to be unset.
    pub(super) fn plain(&mut self, dir: u8, file: &str, setting: &Setting, unset: &str) {
        match self.change.get(setting) {
            None => {}
            Some(Value::Unset) => self.offer(dir, file, unset),
            Some(Value::Number(number)) => self.write(dir, file, number),
            Some(Value::Text(text)) => self.write(dir, file, text),
        }
    }

    /// Settings of the change that have a name in them, with what is asked.
    pub(super) fn named<'s>(
        &self,
        name: impl Fn(&'s Setting) -> Option<&'s str>,
    ) -> Vec<(&'s str, Value)>
    where
        Self: 's,
    {
        let all = self.change.settings.iter();
        all.filter_map(|(setting, value)| Some((name(setting)?, value.clone()))).collect()
    }

    /// Writes the rules of v1; gives the filter of v2.
    pub(super) fn devices(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(policy) = &self.change.devices else { return Ok(None) };
        if let Some(ControllerDir { dir, v2: false }) = self.controllers.home("devices") {
            for (file, line) in policy.v1_writes(self.before.devices.as_ref()) {
                self.write(dir, file, line);
            }
            return Ok(None);
        }
        if self.controllers.unified().is_some() {
            return Ok(policy.v2_program(self.before.devices.as_ref()));
        }
        // Nothing holds anybody back, which is what such a policy asks for.
        if !policy.required || policy.allows_everything() {
            return Ok(None);
        }
        Err(super::missing("devices", "linux.resources.devices"))
    }

    /// A file of cgroup v1 is asked for where the controller is on v2.
    pub(super) fn not_on_v2(&self, setting: &Setting, field: &str) -> Result<()> {
        match self.change.get(setting) {
            None | Some(Value::Unset) => Ok(()),
            Some(_) => Err(invalid(format!("{field}: cgroup v2 has none"))),
        }
    }
}
