//! Processes that systemd puts into their control groups: the shim says which, the daemon asks
//! systemd, and the process goes on. A daemon that dies meanwhile leaves nobody who answers, and
//! the shim ends the process; what was made of its scope is found by its name.

use super::{ContainerAt, PodAt};
use crate::error::{Error, Result};
use crate::groups;
use crate::steps::run_step;
use crate::table::Help;
use rrun_runtime::plan::Cgroups;
use rrun_runtime::planning::RuntimeHooks;
use rrun_shim_protocol::{AskRefusal, Request};
use std::sync::Arc;

impl PodAt {
    /// Places the pod's reaper.
    pub(crate) async fn place_reaper(&self, groups: &Cgroups, pid: i32) -> Result<()> {
        let cgroup = groups::of_reaper(&self.pod.record());
        let place = self.engine.ports.host.place(&cgroup, groups, pid);
        run_step("engine.run-pod.place-reaper", place).await
    }

    /// Places a container that is being made, and answers its shim.
    pub(crate) async fn place_container(&self, container: String, pid: i32) {
        let placed = match self.pod.help_for(&container).and_then(|help| help.groups) {
            Some((cgroup, groups)) => {
                let place = self.engine.ports.host.place(&cgroup, &groups, pid);
                run_step("engine.create-container.place", place).await
            }
            None => Err(Error::internal("nobody makes this container")),
        };
        if let Err(error) = &placed {
            tracing::warn!(container, %error, "not placed into its control groups");
        }
        self.answer(container, placed).await;
    }

    /// Answers what a container has asked for.
    pub(crate) async fn answer(&self, container: String, done: Result<()>) {
        let refusal =
            done.err().map(|error| AskRefusal { errno: nix::libc::EIO, words: error.to_string() });
        let Some(shim) = self.pod.shim() else { return };
        if let Err(refusal) = shim.call(Request::Answer { container, refusal }, Vec::new()).await {
            // Its creator hears of it as well.
            tracing::debug!(error = %refusal.error, "a container's question is not answered");
        }
    }
}

impl ContainerAt {
    /// Keeps what the container may ask for as long as the value lives.
    pub(crate) fn expect_asks(
        &self,
        groups: &Cgroups,
        hooks: Option<&RuntimeHooks>,
    ) -> Option<Expected<'_>> {
        let cgroup = || self.container.record().cgroup.clone();
        let help = Help {
            groups: groups.asked.then(|| (cgroup(), groups.clone())),
            hooks: hooks.cloned().map(Arc::new),
        };
        (help.groups.is_some() || help.hooks.is_some()).then(|| {
            self.at.pod.expect_asks(self.container.id.as_str(), help);
            Expected(self)
        })
    }
}

/// A container that may ask.
pub(crate) struct Expected<'a>(&'a ContainerAt);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.0.at.pod.expect_no_asks(self.0.container.id.as_str());
    }
}
