//! One process that was added to a container.

use crate::by_program::{self, ByProgram};
use crate::child::Child;
use crate::connections::Requester;
use crate::container::{Container, exec_group};
use crate::poll::{Key, Poll};
use crate::process::{descendants, refuse, to_wire};
use nix::unistd::Pid;
use rrun_error::reason;
use rrun_runtime::cgroup;
use rrun_runtime::plan::Cgroups;
use rrun_runtime::run::{self, State, Stdio};
use rrun_shim_protocol::{Exec, Exit, ExitReason, WireError, WireKind};
use rrun_sys::time::now;
use std::fs::File;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

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
    /// The process.
    pub child: Child,
}

/// Where an exec is added.
pub struct Place<'a> {
    /// The container.
    pub container: &'a Container,
    /// The pod's run folder.
    pub run_dir: &'a Path,
    /// The exec's number in this shim.
    pub key: Key,
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
        place: Place<'_>,
        (asker, group): (Requester, usize),
        stdio: Option<Stdio>,
    ) -> Result<ExecProcess, WireError> {
        let mut plan = exec.plan;
        plan.cgroups = plan.groups(&exec_group(group));
        let Place { container, run_dir, key } = place;
        let child = match container.child.program() {
            None => {
                let child = run::exec(&plan, container.pidfd(), stdio);
                Child::Own(child.map_err(|error| to_wire(&error))?)
            }
            Some(program) => {
                let none = "the exec has no process for the container's program";
                let process = exec.process.ok_or_else(|| refuse(WireKind::Invalid, none))?;
                let (program, container) = (program.clone(), container.id.as_str());
                let place = by_program::Place { program, container, run_dir, key };
                Child::ByProgram(Box::new(ByProgram::exec(place, &process, stdio)?))
            }
        };
        Ok(ExecProcess {
            owner: asker.0,
            number: exec.exec,
            container: container.key,
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
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.child.channel()
    }

    /// What it reports is not waited for any more.
    pub fn hear_no_more(&self, poll: &Poll) {
        if let Some(channel) = self.channel() {
            poll.remove(channel);
        }
    }

    /// Hears what it reports; its terminal's master comes with the state that has it.
    pub fn advance(&mut self) -> Result<(State, Option<OwnedFd>), WireError> {
        let mut state = self.child.advance()?;
        if let (State::Asking, Child::Own(child)) = (state, &mut self.child) {
            child.refuse().map_err(|error| to_wire(&error))?;
            state = child.state();
        }
        if state != State::Running {
            return Ok((state, None));
        }
        self.move_to_own_group();
        Ok((state, self.child.take_console()))
    }

    /// A program knows nothing of the groups of execs: what it has made is moved there as soon as it
    /// is known, with what that has started by then. An orphan among these stays behind.
    fn move_to_own_group(&self) {
        if self.child.program().is_none() || self.child.is_lost() {
            return;
        }
        for dir in self.own_groups().dirs {
            // There from an earlier exec, or gone with its container.
            let _ = std::fs::create_dir(&dir.path);
            let procs = dir.path.join("cgroup.procs");
            // What they start once they are there is there too: the second time are those that were
            // started while the first were on their way.
            for _ in 0..2 {
                let family = descendants(self.pid(), self.pidfd());
                let others = family.iter().map(|descendant| descendant.pid);
                for pid in std::iter::once(self.pid()).chain(others) {
                    let file = File::options().write(true).open(&procs);
                    let _ = file.and_then(|mut file| file.write_all(pid.to_string().as_bytes()));
                }
            }
        }
    }

    /// Kills it with its tree. Only the unified hierarchy has a group of its own for it; without
    /// one the tree is the process.
    pub fn kill(&mut self) {
        self.killed = true;
        self.child.kill();
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
