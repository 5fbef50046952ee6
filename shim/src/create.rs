//! How a container's init is made: from the request to its answer.
//!
//! The init reports over its channel while the log thread opens its log; when both are ready the
//! creator is answered with a pidfd. A container that cannot be made leaves nothing, and its
//! creator hears of it when that is so.

use crate::connections::Requester;
use crate::container::{Container, CreateContext, Phase};
use crate::pod;
use crate::poll::Key;
use crate::process::refuse;
use crate::removals::{PATIENCE, Removal, Then};
use crate::shim::{Answer, Shim};
use crate::timers::Alarm;
use rrun_error::reason;
use rrun_runtime::cgroup::OomKills;
use rrun_runtime::run::State;
use rrun_shim_protocol::{Create, Reply, WireError, WireKind};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

impl Shim {
    /// [`rrun_shim_protocol::Request::Create`]
    pub fn create(&mut self, create: Create, fds: Vec<OwnedFd>, asker: Requester) -> Answer {
        if self.processes.container_of(&create.container).is_ok() {
            return Err(refuse(WireKind::Exists, format!("container {}", create.container)));
        }
        let key = self.next_key();
        let pod = self.pod.as_ref().ok_or_else(pod::missing)?;
        let slots: Vec<BorrowedFd<'_>> = pod.slots().chain(fds.iter().map(AsFd::as_fd)).collect();
        let context = CreateContext {
            slots: &slots,
            pod_mounts: Some(pod.mounts()),
            poll: &self.poll,
            log: &self.log,
            run_dir: &self.run_dir,
        };
        let container = Container::create(key, create, asker, &context)?;
        self.processes.add_container(key, container);
        self.watch_call(key);
        Ok(None)
    }

    /// The init has said something: here, and where it is started, it says that it is ready, that
    /// its program runs, or what has failed.
    pub fn init_reports(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        match container.advance(&self.poll) {
            Ok(State::Waiting) => {
                if self.init_was_never_there(key) {
                    return;
                }
                self.init_waits(key);
                self.init_told_its_number(key);
            }
            Ok(State::Asking) => self.init_asks(key),
            Ok(State::Running) => self.init_runs(key),
            Ok(_) => {}
            Err(error) => match container.phase {
                Phase::Preparing(asker) => self.discard(key, asker, error),
                Phase::Starting => self.start_failed(key, error),
                _ => container.give_up(&self.poll),
            },
        }
    }

    /// The log is open, or cannot be opened.
    pub fn log_opened(&mut self, key: Key, result: io::Result<()>) {
        let Some(container) = self.processes.container(key) else { return };
        container.log_opened();
        match (result, &container.phase) {
            (Err(error), &Phase::Preparing(asker)) => {
                self.discard(key, asker, refuse(WireKind::Kernel, reason(&error)));
            }
            _ => self.init_waits(key),
        }
    }

    /// Tells the creator once the init waits and the log is open.
    fn init_waits(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        let Phase::Preparing(asker) = container.phase else { return };
        // Only what was heard already: what its channel has yet to say, a failure too, is heard
        // when the loop comes to it.
        if container.log_is_pending() || !container.is_waiting() {
            return;
        }
        container.phase = Phase::Created;
        container.kills = OomKills::of(&container.cgroups);
        if let Some(kills) = &container.kills {
            self.kills.begin(kills);
        }
        let (pid, clamped) = (container.pid().as_raw(), container.take_clamped(&self.run_dir));
        match container.pidfd().try_clone_to_owned() {
            Ok(pidfd) => {
                self.connections.answer(asker, &Reply::Created { pid, clamped }, vec![pidfd])
            }
            Err(error) => self.discard(key, asker, refuse(WireKind::Kernel, reason(&error))),
        }
    }

    /// A program has told the number of a process that is none of this shim's.
    fn init_was_never_there(&mut self, key: Key) -> bool {
        let Some(container) = self.processes.container(key) else { return true };
        let (Phase::Preparing(asker), true) = (&container.phase, container.child.is_lost()) else {
            return false;
        };
        let (asker, pid) = (*asker, container.pid());
        if self.processes.has_kept_end(pid) {
            self.processes.container(key).into_iter().for_each(|found| found.child.is_found());
            return false;
        }
        let words = format!("process {pid} is no child of this shim");
        self.discard(key, asker, refuse(WireKind::Kernel, words));
        true
    }

    /// It may have ended before.
    fn init_told_its_number(&mut self, key: Key) {
        let pid = self.processes.container(key).map(|container| container.pid());
        if let Some(ended) = pid.and_then(|pid| self.processes.take_end(pid)) {
            self.init_ended(key, ended);
        }
    }

    /// Takes back what was made: its log is closed, and then its groups go. An init that hangs on a
    /// dead file system is waited for by the daemon, not by the loop; nor is a log that hangs.
    pub fn discard(&mut self, key: Key, asker: Requester, error: WireError) {
        let Some(mut container) = self.processes.remove_container(key) else { return };
        container.give_up(&self.poll);
        let is_closed = container.abandon(&self.poll, &self.log);
        let gone = refuse(WireKind::NotFound, format!("container {}", container.id));
        self.connections.answer_all(std::mem::take(&mut container.stops), &Reply::Error(gone));
        let removal = Removal {
            process: container.pidfd().try_clone_to_owned().ok(),
            dirs: std::mem::take(&mut container.cgroups.dirs),
            until: None,
            then: Then::Answer(asker, Reply::Error(error)),
        };
        self.discarded.push((key, removal));
        match is_closed {
            true => self.finish_discard(key),
            false => self.timers.set(Instant::now() + PATIENCE, Alarm::FinishDiscard(key)),
        }
    }

    /// The log of a discarded container is closed, or not waited for any more.
    pub fn finish_discard(&mut self, key: Key) {
        let Some(at) = self.discarded.iter().position(|(discarded, _)| *discarded == key) else {
            return;
        };
        let (_, removal) = self.discarded.swap_remove(at);
        self.remove_groups(removal);
    }
}
