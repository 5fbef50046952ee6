//! How a container is started: from the request to its program.

use crate::connections::Requester;
use crate::container::Phase;
use crate::poll::Key;
use crate::process::refuse;
use crate::shim::{Answer, Shim};
use crate::timers::Alarm;
use rrun_shim_protocol::{Reply, WireError, WireKind};
use std::time::{Duration, Instant};

/// After the start of a container: others of the pod may be about to be made.
const SETTLED: Duration = Duration::from_secs(2);

impl Shim {
    /// [`rrun_shim_protocol::Request::Start`]
    pub fn start(&mut self, id: &str, asker: Requester) -> Answer {
        let container = self.processes.container_of(id)?;
        match container.phase {
            Phase::Created => {
                container.start(asker)?;
                let key = container.key;
                self.watch_call(key);
                Ok(None)
            }
            Phase::Starting => {
                container.starts.push(asker);
                Ok(None)
            }
            Phase::Running(at) => {
                let reply = Reply::Started { at, clamped: container.clamped.clone() };
                Ok(Some((reply, Vec::new())))
            }
            _ => Err(refuse(WireKind::Invalid, format!("container {id} waits for no start"))),
        }
    }

    /// Sets the time of a call of a program, or ends one that has had it.
    pub fn watch_call(&mut self, key: Key) {
        let now = Instant::now();
        let of_exec = self.processes.exec(key).and_then(|exec| exec.child.kill_late_call(now));
        let of_init = || self.processes.container(key)?.child.kill_late_call(now);
        if let Some(at) = of_exec.or_else(of_init) {
            self.timers.set(at, Alarm::EndCall(key));
        }
    }

    /// The init executes its program.
    pub fn init_runs(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        if matches!(container.phase, Phase::Starting) {
            let (at, askers) = container.started();
            container.clamped = container.take_clamped(&self.run_dir);
            let reply = Reply::Started { at, clamped: container.clamped.clone() };
            self.connections.answer_all(askers, &reply);
            // The plan was most of what was ever on the heap.
            self.timers.set(Instant::now() + SETTLED, Alarm::Trim);
        }
    }

    /// The init has said why it cannot execute its program, or has ended instead: the container
    /// has ended with 128.
    pub fn start_failed(&mut self, key: Key, error: WireError) {
        let Some(container) = self.processes.container(key) else { return };
        container.give_up(&self.poll);
        let askers = std::mem::take(&mut container.starts);
        self.end(key, 128, Some(error.to_string()));
        self.connections.answer_all(askers, &Reply::Error(error));
        self.drain(key);
    }
}
