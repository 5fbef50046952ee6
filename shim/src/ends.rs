//! Children that have ended: whose end it was, and what that means.

use crate::container::{Container, Phase};
use crate::poll::Key;
use crate::process::{Ended, next_ended, reap};
use crate::shim::{DRAIN, Doomed, Shim};
use nix::sys::signal::Signal;
use rrun_shim_protocol::Reply;
use rrun_sys::step;
use std::time::{Duration, Instant};

impl Shim {
    /// A child has ended, or the shim is told to end.
    pub(crate) fn signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                // Only a person sends this; the daemon asks for a shutdown over the socket.
                self.over = true;
            }
        }
        while let Some(ended) = next_ended() {
            let is_known = self.child_ended(ended);
            let _ = step::only("shim.exit.reap", || reap(ended.pid));
            let pid = ended.pid.as_raw();
            // A process that joins a PID namespace is cloned by a helper, which tells its number
            // afterwards: a short program may have ended by then.
            if !is_known && self.somebody_prepares() {
                self.unclaimed.insert(pid, ended);
            }
            self.buried(pid);
        }
        if !self.somebody_prepares() {
            self.unclaimed.clear();
        }
    }

    /// False for a child that nobody is known by: an orphan that the kernel gave to its
    /// subreaper, or one whose number is yet to be told.
    fn child_ended(&mut self, ended: Ended) -> bool {
        let pid = ended.pid;
        if let Some((&key, _)) = self.containers.iter().find(|(_, c)| c.pid() == pid) {
            self.init_ended(key, ended);
        } else if let Some((&key, _)) = self.execs.iter().find(|(_, exec)| exec.pid() == pid) {
            self.exec_ended(key, ended);
        } else if let Some(pod) = &mut self.pod
            && pod.reaper() == Some(pid)
        {
            pod.reaper_ended();
        } else {
            return false;
        }
        true
    }

    fn somebody_prepares(&self) -> bool {
        let prepares = |container: &Container| matches!(container.phase, Phase::Preparing(_));
        self.execs.values().any(|exec| exec.asker.is_some())
            || self.containers.values().any(prepares)
    }

    /// An exec has told its number: it may have ended before.
    pub(crate) fn claim_exec(&mut self, key: Key) {
        let pid = self.execs.get(&key).map(|exec| exec.pid().as_raw());
        if let Some(ended) = pid.and_then(|pid| self.unclaimed.remove(&pid)) {
            self.exec_ended(key, ended);
        }
    }

    /// An init has told its number, likewise.
    pub(crate) fn claim_init(&mut self, key: Key) {
        let pid = self.containers.get(&key).map(|container| container.pid().as_raw());
        if let Some(ended) = pid.and_then(|pid| self.unclaimed.remove(&pid)) {
            self.init_ended(key, ended);
        }
    }

    /// Kills what runs, and waits for it: a shim that ends leaves neither zombies nor groups. One
    /// that the kernel cannot end, because it hangs in a dead file system, is left to the daemon.
    pub(crate) fn bury_all(&mut self) {
        for container in self.containers.values().filter(|container| container.is_alive()) {
            container.kill();
        }
        let until = Instant::now() + DRAIN;
        while self.containers.values().any(Container::is_alive) && Instant::now() < until {
            self.signals();
            std::thread::sleep(Duration::from_millis(1));
        }
        for container in self.containers.values() {
            if let Err(left) = rrun_runtime::cgroup::remove(&container.cgroups.dirs) {
                crate::journal::note(&self.run_dir, &format!("remove groups: {left}"));
            }
        }
    }

    /// A doomed init is gone: its groups can go.
    pub(crate) fn buried(&mut self, pid: i32) {
        let Some(Doomed { cgroups, asker, error }) = self.doomed.remove(&pid) else { return };
        if let Err(left) = rrun_runtime::cgroup::remove(&cgroups.dirs) {
            crate::journal::note(&self.run_dir, &format!("remove groups: {left}"));
        }
        self.answer(asker, Reply::Error(error), Vec::new());
    }
}
