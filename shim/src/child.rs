//! The process of a container or an exec, whoever makes it: the shim by a plan, a program, or criu of an
//! image.

use crate::by_program::ByProgram;
use crate::process::to_wire;
use crate::restored::Restored;
use nix::unistd::Pid;
use rrun_runtime::run::{self, ParentTask, Refusal, State};
use rrun_shim_protocol::{Program, WireError};
use rrun_sys::pidfd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

/// A process on its way to its program.
pub enum Child {
    /// By a plan.
    Own(run::Child),
    /// By another runtime.
    ByProgram(Box<ByProgram>),
    /// Of an image.
    Restored(Box<Restored>),
}

impl Child {
    /// Its process id, or that of who makes it.
    pub fn pid(&self) -> Pid {
        match self {
            Child::Own(child) => child.pid(),
            Child::ByProgram(child) => child.pid(),
            Child::Restored(child) => child.pid(),
        }
    }

    /// Its pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        match self {
            Child::Own(child) => child.pidfd(),
            Child::ByProgram(child) => child.pidfd(),
            Child::Restored(child) => child.pidfd(),
        }
    }

    /// Where it reports; what a program makes is heard of by the program's end.
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Child::Own(child) => Some(child.channel()),
            Child::ByProgram(_) => None,
            Child::Restored(child) => Some(child.channel()),
        }
    }

    /// Who makes it, if not the shim.
    pub fn program(&self) -> Option<&Program> {
        match self {
            Child::Own(_) | Child::Restored(_) => None,
            Child::ByProgram(child) => Some(child.program()),
        }
    }

    /// Whether this is a call that is under way for it.
    pub fn is_call(&self, pid: Pid) -> bool {
        match self {
            Child::Own(_) => false,
            Child::ByProgram(child) => child.call().is_some_and(|call| call.pid() == pid),
            Child::Restored(child) => child.is_helper(pid),
        }
    }

    /// How far it has come, as of the last [`Child::advance`].
    pub fn state(&self) -> State {
        match self {
            Child::Own(child) => child.state(),
            Child::ByProgram(child) => child.state(),
            Child::Restored(child) => child.state(),
        }
    }

    /// What it asks the shim to do.
    pub fn asks(&self) -> Option<ParentTask> {
        match self {
            Child::Own(child) => child.asks(),
            Child::ByProgram(_) => None,
            Child::Restored(child) => child.asks(),
        }
    }

    /// Answers what it asks.
    pub fn answer(&mut self, answer: &Result<(), Refusal>) -> Result<(), WireError> {
        match self {
            Child::Own(child) => child.answer(answer).map_err(|error| to_wire(&error)),
            Child::ByProgram(_) => Ok(()),
            Child::Restored(child) => child.answer(answer),
        }
    }

    /// Hears what is new; an error is the same at every later call.
    pub fn advance(&mut self) -> Result<State, WireError> {
        match self {
            Child::Own(child) => child.advance().map_err(|error| to_wire(&error)),
            Child::ByProgram(child) => child.advance(),
            Child::Restored(child) => child.advance(),
        }
    }

    /// Its terminal's master, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        match self {
            Child::Own(child) => child.take_console(),
            Child::ByProgram(child) => child.take_console(),
            Child::Restored(child) => child.take_console(),
        }
    }

    /// What could not be set as asked, once.
    pub fn take_clamped(&mut self) -> Vec<String> {
        match self {
            Child::Own(child) => child.take_clamped(),
            Child::ByProgram(_) | Child::Restored(_) => Vec::new(),
        }
    }

    /// Lets an init that waits go on.
    pub fn release(&mut self) -> Result<(), WireError> {
        match self {
            Child::Own(child) => child.release().map_err(|error| to_wire(&error)),
            Child::ByProgram(child) => child.release(),
            Child::Restored(child) => child.release(),
        }
    }

    /// SIGKILL, by descriptor: its number may be somebody else's by now.
    pub fn kill(&self) {
        match self {
            Child::Own(child) => {
                let _ = pidfd::send_signal(child.pidfd(), nix::libc::SIGKILL);
            }
            Child::ByProgram(child) => child.signal(nix::libc::SIGKILL),
            Child::Restored(child) => child.kill(),
        }
    }

    /// It may have ended before its number was told: nobody knows unless its end was kept.
    pub fn is_lost(&self) -> bool {
        matches!(self, Child::ByProgram(child) if child.is_lost())
    }

    /// Its end was kept.
    pub fn is_found(&mut self) {
        if let Child::ByProgram(child) = self {
            child.is_found();
        }
    }

    /// Kills a call that has had its time; when it will have, otherwise.
    pub fn kill_late_call(&self, now: Instant) -> Option<Instant> {
        match self {
            Child::Own(_) | Child::Restored(_) => None,
            Child::ByProgram(child) => child.kill_late_call(now),
        }
    }
}
