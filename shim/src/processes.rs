//! The pod's containers and the processes that were added to them, by number and by id.

use crate::container::Container;
use crate::exec_process::ExecProcess;
use crate::poll::Key;
use crate::process::{Ended, refuse};
use nix::unistd::Pid;
use rrun_shim_protocol::{WireError, WireKind};
use std::collections::BTreeMap;

/// The table of processes.
#[derive(Default)]
pub struct Processes {
    containers: BTreeMap<Key, Container>,
    execs: BTreeMap<Key, ExecProcess>,
    /// A process that joins a PID namespace is cloned by a helper, which tells its number
    /// afterwards: a short program may have ended by then.
    ended_before_told: BTreeMap<i32, Ended>,
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessOwner {
    /// The init of a container.
    Init(Key),
    /// One that was added.
    Exec(Key),
}

impl Processes {
    /// Adds a container.
    pub fn add_container(&mut self, key: Key, container: Container) {
        self.containers.insert(key, container);
    }

    /// A container by its number.
    pub fn container(&mut self, key: Key) -> Option<&mut Container> {
        self.containers.get_mut(&key)
    }

    /// A container by its id.
    pub fn container_of(&mut self, id: &str) -> Result<&mut Container, WireError> {
        let mut all = self.containers.values_mut();
        all.find(|container| container.id == id)
            .ok_or_else(|| refuse(WireKind::NotFound, format!("container {id}")))
    }

    /// All containers, in the order in which they were made.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    /// Forgets a container.
    pub fn remove_container(&mut self, key: Key) -> Option<Container> {
        self.containers.remove(&key)
    }

    /// Adds an exec.
    pub fn add_exec(&mut self, key: Key, exec: ExecProcess) {
        self.execs.insert(key, exec);
    }

    /// An exec by its number in this shim.
    pub fn exec(&mut self, key: Key) -> Option<&mut ExecProcess> {
        self.execs.get_mut(&key)
    }

    /// The execs that live by a connection.
    pub fn execs_of(&mut self, connection: Key) -> impl Iterator<Item = &mut ExecProcess> {
        self.execs.values_mut().filter(move |exec| exec.owner == connection)
    }

    /// Forgets an exec.
    pub fn remove_exec(&mut self, key: Key) -> Option<ExecProcess> {
        self.execs.remove(&key)
    }

    /// Whose process has this number. One that has ended owns it no more: the kernel gives it to
    /// others. A call for it may end later.
    pub fn whose(&self, pid: Pid) -> Option<ProcessOwner> {
        let mut containers = self.containers.iter();
        let init = containers.find(|(_, container)| {
            container.is_alive() && container.pid() == pid || container.child.is_call(pid)
        });
        let exec = || self.execs.iter().find(|(_, exec)| exec.pid() == pid);
        init.map(|(&key, _)| ProcessOwner::Init(key))
            .or_else(|| exec().map(|(&key, _)| ProcessOwner::Exec(key)))
    }

    /// Somebody may yet tell the number of a process that has ended already.
    fn somebody_prepares(&self) -> bool {
        self.execs.values().any(ExecProcess::is_made)
            || self.containers.values().any(Container::is_preparing)
    }

    /// Keeps the end of a process that nobody is known by, as long as somebody may tell its
    /// number.
    pub fn keep_end(&mut self, ended: Ended) {
        if self.somebody_prepares() {
            self.ended_before_told.insert(ended.pid.as_raw(), ended);
        }
    }

    /// Whether that was kept of this process.
    pub fn has_kept_end(&self, pid: Pid) -> bool {
        self.ended_before_told.contains_key(&pid.as_raw())
    }

    /// The end of a process whose number has just been told.
    pub fn take_end(&mut self, pid: Pid) -> Option<Ended> {
        self.ended_before_told.remove(&pid.as_raw())
    }

    /// Forgets ends that nobody will ask for.
    pub fn forget_ends(&mut self) {
        if !self.somebody_prepares() {
            self.ended_before_told.clear();
        }
    }
}
