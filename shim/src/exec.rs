//! One process that was added to a container.

use crate::container::{Asker, exec_group};
use crate::output::now;
use crate::poll::Key;
use crate::process::{refuse, wire};
use nix::unistd::Pid;
use rrun_runtime::cgroup;
use rrun_runtime::plan::Cgroups;
use rrun_runtime::run::{self, Child, State, Stdio};
use rrun_shim_protocol::{Exec as Order, Exit, ExitReason, WireError, WireKind};
use std::os::fd::{BorrowedFd, OwnedFd};

/// An exec that has not ended.
pub struct Exec {
    /// The connection that it belongs to.
    pub owner: Key,
    /// The number by which that connection knows it.
    pub number: u64,
    /// The container.
    pub container: Key,
    /// Which of the container's exec groups it sits in.
    pub group: usize,
    /// Who waits for it to run.
    pub asker: Option<Asker>,
    /// It was killed because its time was over.
    pub timed_out: bool,
    killed: bool,
    cgroups: Cgroups,
    child: Child,
}

/// The stdio of an exec from the descriptors that came along.
pub fn stdio(order: &Order, fds: Vec<OwnedFd>) -> Result<Option<Stdio>, WireError> {
    if order.plan.process.terminal {
        return Ok(None);
    }
    let wanted = order.stdio.iter().filter(|is_there| **is_there).count();
    if wanted != fds.len() {
        let words = format!("{} descriptors instead of {wanted}", fds.len());
        return Err(refuse(WireKind::Invalid, words));
    }
    let mut fds = fds.into_iter();
    let mut next = |is_there: bool| match is_there.then(|| fds.next()).flatten() {
        Some(fd) => Ok(fd),
        None => null().map_err(|e| refuse(WireKind::Kernel, format!("/dev/null: {e}"))),
    };
    let [stdin, stdout, stderr] = order.stdio;
    Ok(Some(Stdio { stdin: next(stdin)?, stdout: next(stdout)?, stderr: next(stderr)? }))
}

fn null() -> std::io::Result<OwnedFd> {
    Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

impl Exec {
    /// Starts it; `asker` is answered when it runs.
    pub fn start(
        order: Order,
        (container, init): (Key, BorrowedFd<'_>),
        (asker, group): (Asker, usize),
        stdio: Option<Stdio>,
    ) -> Result<Exec, WireError> {
        let mut plan = order.plan;
        plan.cgroups = plan.groups(&exec_group(group));
        let child = run::exec(&plan, init, stdio).map_err(|error| wire(&error))?;
        Ok(Exec {
            owner: asker.0,
            number: order.exec,
            container,
            group,
            asker: Some(asker),
            timed_out: false,
            killed: false,
            cgroups: plan.cgroups,
            child,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Where it reports.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.child.channel()
    }

    /// Hears what it reports; its terminal's master comes with the state that has it.
    pub fn advance(&mut self) -> Result<(State, Option<OwnedFd>), WireError> {
        let state = self.child.advance().map_err(|error| wire(&error))?;
        let console = match state {
            State::Running => self.child.take_console(),
            _ => None,
        };
        Ok((state, console))
    }

    /// Kills it with its tree. Only the unified hierarchy has a group of its own for it; without
    /// one the tree is the process.
    pub fn kill(&mut self) {
        self.killed = true;
        let _ = self.child.signal(nix::libc::SIGKILL);
        let _ = cgroup::kill(&self.own_groups());
    }

    /// Gives back its group after its end; false when that is of no more use.
    ///
    /// The kernel counts the kills of a group, and kills a process that is cloned into it unless
    /// the count is that of its parent's group (seen on 6.18). So a group that was killed is
    /// removed, and made anew by the next exec.
    pub fn give_back_group(&self) -> bool {
        !self.killed || cgroup::remove(&self.own_groups().dirs).is_ok()
    }

    fn own_groups(&self) -> Cgroups {
        let dirs = self.cgroups.dirs.iter().filter(|dir| dir.unified).cloned().collect();
        Cgroups { dirs, ..Cgroups::default() }
    }

    /// How it ended.
    pub fn exit(&self, code: i32) -> Exit {
        let reason = if self.timed_out { ExitReason::Timeout } else { ExitReason::Ended };
        Exit { code, at: now(), reason, message: String::new() }
    }
}
