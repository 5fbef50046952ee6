//! How a container ends: it is stopped, or its init ends; the exit is recorded before the zombie
//! is reaped, its last output goes to the log, its groups are removed, and then it is told.

use crate::connections::Requester;
use crate::container::Phase;
use crate::drain::Drained;
use crate::exit;
use crate::own_log;
use crate::poll::Key;
use crate::process::{Ended, next_ended, reap, refuse};
use crate::processes::ProcessOwner;
use crate::removals::{PATIENCE, Removal, Then};
use crate::shim::{Answer, DONE, Shim};
use crate::timers::Alarm;
use nix::libc::SIGKILL;
use rrun_error::reason;
use rrun_runtime::cgroup::OomKills;
use rrun_shim_protocol::{Event, Reply, WireKind, exit_record};
use rrun_sys::step;
use std::time::{Duration, Instant};

impl Shim {
    /// [`rrun_shim_protocol::Request::Stop`]
    pub fn stop(&mut self, id: &str, signal: i32, grace: Duration, asker: Requester) -> Answer {
        let container = self.processes.container_of(id)?;
        if let Phase::Exited(exit) = &container.phase {
            return Ok(Some((Reply::Exited(exit.clone()), Vec::new())));
        }
        container.stops.push(asker);
        let runs = matches!(container.phase, Phase::Running(_));
        if !container.is_alive() {
            return Ok(None);
        }
        // An init that waits for its start has no handler to hear a signal with.
        if grace.is_zero() || !runs {
            container.kill();
            return Ok(None);
        }
        if !std::mem::replace(&mut container.signalled, true) {
            let send = || rrun_sys::pidfd::send_signal(container.pidfd(), signal);
            step::run("shim.stop.signal", send).map_err(|error| {
                refuse(
                    WireKind::Kernel,
                    format!("signal {signal} to container {id}: {}", reason(&error)),
                )
            })?;
        }
        let alarm = Alarm::KillContainer(container.key);
        // A grace of centuries is a grace without an end.
        if let Some(at) = Instant::now().checked_add(grace) {
            self.timers.set(at, alarm);
        }
        Ok(None)
    }

    /// Children have ended.
    pub fn reap_children(&mut self) {
        while let Some(ended) = next_ended() {
            match self.processes.whose(ended.pid) {
                Some(ProcessOwner::Init(key)) => self.init_ended(key, ended),
                Some(ProcessOwner::Exec(key)) => self.exec_ended(key, ended),
                None => self.other_ended(ended),
            }
            let _ = step::run("shim.exit.reap", || reap(ended.pid));
        }
        self.processes.forget_ends();
    }

    /// The pod's reaper, an orphan that the kernel gave to its subreaper, or one whose number is
    /// yet to be told.
    fn other_ended(&mut self, ended: Ended) {
        match &mut self.pod {
            Some(pod) if pod.reaper() == Some(ended.pid) => pod.reaper_ended(),
            _ => self.processes.keep_end(ended),
        }
    }

    /// The init has ended and is still a zombie.
    pub fn init_ended(&mut self, key: Key, Ended { pid, code }: Ended) {
        // Its last report may say more than its exit code: also that it was only the one that
        // joined the namespaces and has handed over to the init proper.
        self.init_reports(key);
        let Some(container) = self.processes.container(key) else { return };
        if container.pid() != pid {
            return;
        }
        match container.phase {
            Phase::Preparing(asker) => {
                let words = format!("the init ended with {code} before it was ready");
                self.discard(key, asker, refuse(WireKind::Kernel, words));
            }
            Phase::Starting if container.child.program().is_some() => {
                // It can end so early, before the call that has let it go.
                self.init_runs(key);
                self.end(key, code, None);
                self.drain(key);
            }
            Phase::Starting => {
                let words = format!("the init ended with {code} before its program ran");
                self.start_failed(key, refuse(WireKind::Kernel, words));
            }
            Phase::Created | Phase::Running(_) => {
                self.end(key, code, None);
                self.drain(key);
            }
            Phase::Draining(..) | Phase::Exited(_) => {}
        }
    }

    /// Records how a container has ended: its init with `code`, or before its program.
    pub fn end(&mut self, key: Key, code: i32, start_error: Option<String>) {
        // By SIGKILL, which a shell tells of its child in the same way. A process that outlived the
        // kill of another ends for a reason of its own.
        let was_killed = code == 128 + SIGKILL;
        let Some(container) = self.processes.container(key) else { return };
        let kills = container.kills.take();
        // The zombie's is none any more: the others.
        let others = self.processes.containers().filter(|container| container.is_alive());
        let others: Vec<&OomKills> = others.filter_map(|other| other.kills.as_ref()).collect();
        let out_of_memory = kills.is_some_and(|own| self.kills.end(&own, was_killed, &others));
        let exit = exit::new(code, start_error, out_of_memory);
        let Some(container) = self.processes.container(key) else { return };
        container.ended(exit, &self.run_dir);
    }

    /// Goes on with a container that has ended when its output is all in the log, or is not
    /// waited for any more.
    pub fn drain(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        match container.drain(&self.poll, &self.log, &self.run_dir) {
            Drained::Yes => self.log_closed(key),
            Drained::No(Some(at)) => self.timers.set(at, Alarm::Drain(key)),
            Drained::No(None) => {}
        }
    }

    /// The log is complete. What a client does next may be to remove the pod's group, with the
    /// container's in it: so that goes first.
    pub fn log_closed(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else {
            return self.finish_discard(key);
        };
        container.record_lost_output(&self.run_dir);
        if let Phase::Draining(..) = container.phase {
            let dirs = container.cgroups.dirs.clone();
            let until = Some(Instant::now() + PATIENCE);
            // The zombie is in its group until it is reaped.
            let process = container.pidfd().try_clone_to_owned().ok();
            self.remove_groups(Removal { dirs, process, until, then: Then::Finish(key) });
        }
    }

    /// Everything of an ended container is where it belongs: now it may be told.
    pub fn finish(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        let Some(exit) = container.finish() else { return };
        let stops = std::mem::take(&mut container.stops);
        let event = Event::Exited { container: container.id.clone(), exit: exit.clone() };
        self.connections.answer_all(stops, &Reply::Exited(exit));
        self.connections.tell_all(&event);
    }

    /// [`rrun_shim_protocol::Request::Delete`]
    pub fn delete(&mut self, id: &str, asker: Requester) -> Answer {
        let Ok(container) = self.processes.container_of(id) else { return DONE };
        if !matches!(container.phase, Phase::Exited(_)) {
            return Err(refuse(WireKind::Invalid, format!("container {id} has not ended")));
        }
        let dirs = container.cgroups.dirs.clone();
        let until = Some(Instant::now() + PATIENCE);
        let then = Then::Forget(container.key, asker);
        self.remove_groups(Removal { dirs, process: None, until, then });
        Ok(None)
    }

    /// The groups of a container that is deleted are gone, or `left` says why not.
    pub fn forget(&mut self, key: Key, asker: Requester, left: Option<String>) {
        let Some(container) = self.processes.container(key) else { return };
        let id = container.id.clone();
        let record = || exit_record::remove(&self.run_dir, &id);
        let removed = match left {
            Some(words) => Err(words),
            None => step::run("shim.delete.record", record)
                .map_err(|error| format!("exit record of {id}: {}", reason(&error))),
        };
        let reply = match removed {
            Ok(()) => {
                self.processes.remove_container(key);
                Reply::Done
            }
            Err(words) => Reply::Error(refuse(WireKind::Kernel, words)),
        };
        self.connections.answer(asker, &reply, Vec::new());
    }

    /// Tries at once to remove groups, and later where they are busy.
    pub fn remove_groups(&mut self, removal: Removal) {
        if let Some(removed) = self.removals.begin(removal, Instant::now()) {
            self.groups_removed(removed);
        }
    }

    /// Goes on where groups were waited for.
    pub fn groups_removed(&mut self, removed: crate::removals::Removed) {
        let left = removed.left;
        if let Some(words) = &left {
            own_log::note(&self.run_dir, words);
        }
        match removed.then {
            Then::Finish(key) => self.finish(key),
            Then::Forget(key, asker) => self.forget(key, asker, left),
            Then::FreeExecGroup(key, group) if left.is_none() => self.free_exec_group(key, group),
            Then::FreeExecGroup(..) => {}
            Then::Answer(asker, reply) => self.connections.answer(asker, &reply, Vec::new()),
            Then::ShutDown => self.shut_down(),
        }
    }
}
