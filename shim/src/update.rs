//! How the limits of a container are changed.

use crate::own_log;
use crate::process::{refuse, to_wire};
use crate::shim::{Answer, DONE, Shim};
use rrun_runtime::cgroup;
use rrun_shim_protocol::{Update, WireKind};

impl Shim {
    /// [`rrun_shim_protocol::Request::Update`]
    pub fn update(&mut self, update: &Update) -> Answer {
        let container = self.processes.container_of(&update.container)?;
        if !container.is_alive() || container.is_preparing() {
            let words = format!("container {} neither waits nor runs", container.id);
            return Err(refuse(WireKind::Invalid, words));
        }
        let own = &container.cgroups.dirs;
        if update.change.dirs != *own || update.back.dirs != *own {
            let words = format!("these are not the groups of container {}", container.id);
            return Err(refuse(WireKind::Invalid, words));
        }
        let Err(error) = cgroup::update(&update.change) else { return DONE };
        if let Err(left) = cgroup::update(&update.back) {
            let words = format!("take back new limits of {}: {left}", container.id);
            own_log::note(&self.run_dir, &words);
        }
        Err(to_wire(&error))
    }
}
