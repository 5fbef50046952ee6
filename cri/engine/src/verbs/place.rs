//! Processes that systemd puts into their control groups: the shim says which, the daemon asks
//! systemd, and the process goes on. A daemon that dies meanwhile leaves nobody who answers, and
//! the shim ends the process; what was made of its scope is found by its name.

use super::{ContainerAt, PodAt};
use crate::error::{Error, Result};
use crate::groups;
use crate::steps::run_step;
use rrun_runtime::plan::Cgroups;
use rrun_shim_protocol::{AskRefusal, Request};

impl PodAt {
    /// Places the pod's reaper.
    pub(crate) async fn place_reaper(&self, groups: &Cgroups, pid: i32) -> Result<()> {
        let cgroup = groups::of_reaper(&self.pod.record());
        let place = self.engine.ports.host.place(&cgroup, groups, pid);
        run_step("engine.run-pod.place-reaper", place).await
    }

    /// Places a container that is being made, and answers its shim.
    pub(crate) async fn place_container(&self, container: String, pid: i32) {
        let placed = match self.pod.to_be_placed(&container) {
            Some((cgroup, groups)) => {
                let place = self.engine.ports.host.place(&cgroup, &groups, pid);
                run_step("engine.create-container.place", place).await
            }
            None => Err(Error::internal("nobody makes this container")),
        };
        let refusal = placed.err().map(|error| {
            tracing::warn!(container, %error, "not placed into its control groups");
            AskRefusal { errno: nix::libc::EIO, words: error.to_string() }
        });
        let Some(shim) = self.pod.shim() else { return };
        if let Err(refusal) = shim.call(Request::Answer { container, refusal }, Vec::new()).await {
            // Its creator hears of it as well.
            tracing::debug!(error = %refusal.error, "a container's question is not answered");
        }
    }
}

impl ContainerAt {
    /// Keeps what [`PodAt::place_container`] needs for as long as the value lives.
    pub(crate) fn expect_placing(&self, groups: &Cgroups) -> Option<Expected<'_>> {
        groups.asked.then(|| {
            let cgroup = self.container.record().cgroup.clone();
            self.at.pod.expect_placing(self.container.id.as_str(), cgroup, groups.clone());
            Expected(self)
        })
    }
}

/// A container that will ask to be placed.
pub(crate) struct Expected<'a>(&'a ContainerAt);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.0.at.pod.expect_no_placing(self.0.container.id.as_str());
    }
}
