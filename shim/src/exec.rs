//! How a process is added to a container, and how it ends.

use crate::connections::Requester;
use crate::container::Phase;
use crate::exec_process::{self, ExecProcess, Place};
use crate::poll::{Key, Token};
use crate::process::{Ended, is_reaped, refuse};
use crate::removals::{PATIENCE, Removal, Then};
use crate::shim::{Answer, DONE, Shim};
use crate::timers::Alarm;
use rrun_error::reason;
use rrun_runtime::run::State;
use rrun_shim_protocol::{Event, Exec, Reply, WireError, WireKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The code of what SIGKILL has ended.
const KILLED: i32 = 128 + 9;

impl Shim {
    /// [`rrun_shim_protocol::Request::Exec`]
    pub fn exec(&mut self, exec: Exec, fds: Vec<OwnedFd>, asker: Requester) -> Answer {
        let timeout = exec.timeout_ms.map(Duration::from_millis);
        let key = self.next_key();
        let container = self.processes.container_of(&exec.container)?;
        if !matches!(container.phase, Phase::Running(_)) {
            let words = format!("container {} is not running", exec.container);
            return Err(refuse(WireKind::Invalid, words));
        }
        let stdio = exec_process::stdio(&exec, fds)?;
        let group = container.take_exec_group(&exec.plan);
        let place = Place { container, run_dir: &self.run_dir, key };
        let process = match ExecProcess::start(exec, place, (asker, group), stdio) {
            Ok(process) => process,
            Err(error) => {
                container.exec_groups[group] = false;
                return Err(error);
            }
        };
        if let Some(channel) = process.channel() {
            self.poll
                .add(channel, Token::Exec(key))
                .map_err(|e| refuse(WireKind::Kernel, format!("epoll: {}", reason(&e))))?;
        }
        if let Some(at) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            self.timers.set(at, Alarm::KillExec(key));
        }
        self.processes.add_exec(key, process);
        self.watch_call(key);
        Ok(None)
    }

    /// Its time is over. Who asked for one that is still being made is told now: it may hang in the
    /// kernel, where nothing ends it.
    pub fn exec_times_out(&mut self, key: Key) {
        let Some(exec) = self.processes.exec(key) else { return };
        exec.timed_out = true;
        exec.kill();
        let Some(asker) = exec.asker.take() else { return };
        exec.has_failed = true;
        let started = Reply::ExecStarted { pid: exec.pid().as_raw() };
        let event = Event::ExecExited { exec: exec.number, exit: exec.exit(KILLED) };
        let owner = exec.owner;
        self.connections.answer(asker, &started, Vec::new());
        self.connections.tell(owner, &event);
    }

    /// It has said that its program runs, or why not.
    pub fn exec_reports(&mut self, key: Key) {
        let Some(exec) = self.processes.exec(key) else { return };
        match exec.advance() {
            Ok((State::Running, _)) if self.exec_was_never_there(key) => {}
            Ok((State::Running, console)) => {
                let Some(exec) = self.processes.exec(key) else { return };
                exec.hear_no_more(&self.poll);
                if exec.is_killed() {
                    // The one that was killed may have handed over to this one before.
                    exec.kill();
                }
                let (asker, pid) = (exec.asker.take(), exec.pid());
                if let Some(asker) = asker {
                    let started = Reply::ExecStarted { pid: pid.as_raw() };
                    self.connections.answer(asker, &started, console.into_iter().collect());
                }
                // It may have ended before it told its number.
                if let Some(ended) = self.processes.take_end(pid) {
                    self.exec_ended(key, ended);
                }
            }
            Ok(_) => {}
            Err(error) => self.exec_failed(key, error),
        }
    }

    /// As with an init.
    fn exec_was_never_there(&mut self, key: Key) -> bool {
        let Some(exec) = self.processes.exec(key) else { return true };
        let (is_lost, pid) = (exec.child.is_lost(), exec.pid());
        if !is_lost {
            return false;
        }
        if self.processes.has_kept_end(pid) {
            self.processes.exec(key).into_iter().for_each(|found| found.child.is_found());
            return false;
        }
        let words = format!("process {pid} is no child of this shim");
        self.exec_failed(key, refuse(WireKind::Kernel, words));
        true
    }

    fn exec_failed(&mut self, key: Key, error: WireError) {
        let Some(exec) = self.processes.exec(key) else { return };
        exec.kill();
        exec.has_failed = true;
        exec.hear_no_more(&self.poll);
        // Of one that was never there no end is heard, which would be somebody else's.
        let is_over = is_reaped(exec.pidfd()) || exec.child.is_lost();
        let asker = exec.asker.take();
        if is_over {
            self.forget_exec(key);
        }
        if let Some(asker) = asker {
            self.connections.answer(asker, &Reply::Error(error), Vec::new());
        }
    }

    /// It has ended and is still a zombie.
    pub fn exec_ended(&mut self, key: Key, Ended { pid, code }: Ended) {
        if self.processes.exec(key).is_some_and(|exec| exec.is_made()) {
            self.exec_reports(key);
        }
        // As with an init, it may be the one that has handed over.
        if self.processes.exec(key).is_none_or(|exec| exec.pid() != pid) {
            return;
        }
        let Some(exec) = self.forget_exec(key) else { return };
        match exec.asker {
            Some(asker) => {
                exec.hear_no_more(&self.poll);
                let words = format!("the process ended with {code} before its program ran");
                let error = Reply::Error(refuse(WireKind::Kernel, words));
                self.connections.answer(asker, &error, Vec::new());
            }
            None if exec.has_failed => {}
            None => {
                let event = Event::ExecExited { exec: exec.number, exit: exec.exit(code) };
                self.connections.tell(exec.owner, &event);
            }
        }
    }

    /// Its group goes back to the container's pool.
    fn forget_exec(&mut self, key: Key) -> Option<ExecProcess> {
        let exec = self.processes.remove_exec(key)?;
        if exec.has_spoilt_its_group() {
            self.remove_groups(Removal {
                dirs: exec.own_groups().dirs,
                process: exec.pidfd().try_clone_to_owned().ok(),
                until: Some(Instant::now() + PATIENCE),
                then: Then::FreeExecGroup(exec.container, exec.group),
            });
        } else {
            self.free_exec_group(exec.container, exec.group);
        }
        Some(exec)
    }

    /// A group for execs can be used again.
    pub fn free_exec_group(&mut self, container: Key, group: usize) {
        let container = self.processes.container(container);
        if let Some(used) = container.and_then(|c| c.exec_groups.get_mut(group)) {
            *used = false;
        }
    }

    /// [`rrun_shim_protocol::Request::KillExec`]
    pub fn kill_exec(&mut self, owner: Key, number: u64) -> Answer {
        let mut execs = self.processes.execs_of(owner);
        let exec = execs.find(|exec| exec.number == number);
        exec.ok_or_else(|| refuse(WireKind::NotFound, format!("exec {number}")))?.kill();
        DONE
    }

    /// A daemon is gone: nobody reads what its execs say.
    pub fn kill_execs_of(&mut self, owner: Key) {
        self.processes.execs_of(owner).for_each(ExecProcess::kill);
    }
}
