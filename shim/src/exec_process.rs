//! One process that was added to a container.

use crate::connections::Requester;
use crate::container::exec_group;
use crate::poll::Key;
use crate::process::{refuse, to_wire};
use nix::unistd::Pid;
use rrun_error::reason;
use rrun_runtime::cgroup;
use rrun_runtime::plan::Cgroups;
use rrun_runtime::run::{self, Child, State, Stdio};
use rrun_shim_protocol::{Exec, Exit, ExitReason, WireError, WireKind};
use rrun_sys::time::now;
use std::os::fd::{BorrowedFd, OwnedFd};

/// An exec that has not ended.
pub struct ExecProcess {
    /// The connection that it belongs to.
    pub owner: Key,
    /// The number by which that connection knows it.
    pub number: u64,
    /// The container.
    pub container: Key,
    /// Which of the container's exec groups it sits in.
    pub group: usize,
    /// Who waits for it to run.
    pub asker: Option<Requester>,
    /// It was killed because its time was over.
    pub timed_out: bool,
    /// It never ran its program, and who asked for it knows.
    pub has_failed: bool,
    killed: bool,
    cgroups: Cgroups,
    child: Child,
}

/// The stdio of an exec from the descriptors that came along.
pub fn stdio(exec: &Exec, fds: Vec<OwnedFd>) -> Result<Option<Stdio>, WireError> {
    if exec.plan.process.terminal {
        return Ok(None);
    }
    let wanted = exec.stdio.iter().filter(|is_there| **is_there).count();
    if wanted != fds.len() {
        let words = format!("{} descriptors instead of {wanted}", fds.len());
        return Err(refuse(WireKind::Invalid, words));
    }
    let mut fds = fds.into_iter();
    let mut next = |is_there: bool| match is_there.then(|| fds.next()).flatten() {
        Some(fd) => Ok(fd),
        None => null().map_err(|e| refuse(WireKind::Kernel, format!("/dev/null: {}", reason(&e)))),
    };
    let [stdin, stdout, stderr] = exec.stdio;
    Ok(Some(Stdio { stdin: next(stdin)?, stdout: next(stdout)?, stderr: next(stderr)? }))
}

fn null() -> std::io::Result<OwnedFd> {
    Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

impl ExecProcess {
    /// Starts it; `asker` is answered when it runs.
    pub fn start(
        exec: Exec,
        (container, init): (Key, BorrowedFd<'_>),
        (asker, group): (Requester, usize),
        stdio: Option<Stdio>,
    ) -> Result<ExecProcess, WireError> {
        let mut plan = exec.plan;
        plan.cgroups = plan.groups(&exec_group(group));
        let child = run::exec(&plan, init, stdio).map_err(|error| to_wire(&error))?;
        Ok(ExecProcess {
            owner: asker.0,
            number: exec.exec,
            container,
            group,
            asker: Some(asker),
            timed_out: false,
            has_failed: false,
            killed: false,
            cgroups: plan.cgroups,
            child,
        })
    }

    /// It is being made: it may yet tell another number than its first process has.
    pub fn is_made(&self) -> bool {
        self.asker.is_some() || self.has_failed
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Its pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Where it reports.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.child.channel()
    }

    /// Hears what it reports; its terminal's master comes with the state that has it.
    pub fn advance(&mut self) -> Result<(State, Option<OwnedFd>), WireError> {
        let mut state = self.child.advance().map_err(|error| to_wire(&error))?;
        if state == State::Asking {
            self.child.refuse().map_err(|error| to_wire(&error))?;
            state = self.child.state();
        }
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

    /// It is meant to be dead.
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// Its group must be removed before another exec can use it: the kernel counts the kills of a
    /// group, and kills a process that is cloned into it unless the count is that of its parent's
    /// group (seen on 6.18). The next exec makes it anew.
    pub fn has_spoilt_its_group(&self) -> bool {
        self.killed
    }

    /// The groups that are only for it.
    pub fn own_groups(&self) -> Cgroups {
        let dirs = self.cgroups.dirs.iter().filter(|dir| dir.unified).cloned().collect();
        Cgroups { dirs, ..Cgroups::default() }
    }

    /// How it ended.
    pub fn exit(&self, code: i32) -> Exit {
        let reason = if self.timed_out { ExitReason::Timeout } else { ExitReason::Ended };
        Exit { code, at: now(), reason, ..Exit::default() }
    }
}
