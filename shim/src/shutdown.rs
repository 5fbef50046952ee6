//! The end of the shim: what runs is killed and waited for, groups and pins are removed.

use crate::connections::Requester;
use crate::container::Container;
use crate::own_log;
use crate::pod::Pod;
use crate::removals::{PATIENCE, Removal, Then};
use crate::shim::{Shim, Shutdown};
use crate::timers::Alarm;
use rrun_error::reason;
use rrun_shim_protocol::{Launch, Reply};
use rrun_sys::step;
use std::time::{Duration, Instant};

/// How long what was killed is waited for. One that the kernel cannot end, because it hangs in a
/// dead file system, is left to the daemon.
const DYING: Duration = Duration::from_secs(2);

impl Shim {
    /// Begins to end, for `asker` or, when a person has sent SIGTERM, for nobody.
    pub fn begin_shutdown(&mut self, asker: Option<Requester>) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.askers.extend(asker);
            return;
        }
        for container in self.processes.containers().filter(|container| container.is_alive()) {
            container.kill();
        }
        if let Some(error) = self.pod.as_ref().and_then(|pod| pod.kill_reaper().err()) {
            own_log::note(&self.run_dir, &format!("shut down: {error}"));
        }
        let until = Instant::now() + DYING;
        self.timers.set(until, Alarm::ShutDown);
        let askers = asker.into_iter().collect();
        self.shutdown = Some(Shutdown { askers, until, is_removing: false });
        self.go_on_with_shutdown();
    }

    /// Removes the groups when nothing is left in them and all output is in its log: the last of
    /// it is waited for as long as at any end of a container. A shim that ends leaves neither
    /// zombies nor groups.
    pub fn go_on_with_shutdown(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let reaper = self.pod.as_ref().and_then(Pod::reaper);
        let somebody_lives = self.processes.containers().any(Container::is_alive);
        let is_dying = (somebody_lives || reaper.is_some()) && Instant::now() < shutdown.until;
        let is_draining =
            !self.discarded.is_empty() || self.processes.containers().any(Container::is_draining);
        if is_dying || is_draining || std::mem::replace(&mut shutdown.is_removing, true) {
            return;
        }
        let containers = self.processes.containers();
        let mut dirs: Vec<_> = containers.flat_map(|c| c.cgroups.dirs.clone()).collect();
        dirs.extend(self.pod.iter().flat_map(Pod::reaper_groups).cloned());
        let until = Some(Instant::now() + PATIENCE);
        self.remove_groups(Removal { dirs, process: None, until, then: Then::ShutDown });
    }

    /// Takes the last things away. The run folder is the daemon's.
    pub fn shut_down(&mut self) {
        for error in self.pod.take().map(Pod::unpin).unwrap_or_default() {
            own_log::note(&self.run_dir, &format!("shut down: {error}"));
        }
        let socket = Launch::socket(&self.run_dir);
        let unlink = || std::fs::remove_file(&socket);
        if let Err(error) = step::run("shim.shutdown.socket", unlink) {
            own_log::note(
                &self.run_dir,
                &format!("shut down: {}: {}", socket.display(), reason(&error)),
            );
        }
        let askers = self.shutdown.take().map(|shutdown| shutdown.askers).unwrap_or_default();
        self.connections.answer_and_end(askers, &Reply::Done);
    }
}
