//! A process on its way to its program.

use crate::{Error, Kind, Result};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It makes its surroundings.
    Preparing,
    /// All is made; it waits for [`Child::release`].
    Waiting,
    /// It was released and has not yet executed its program.
    Executing,
    /// It runs its program (or has already ended: the pidfd tells).
    Running,
}

/// A process on its way to its program, made by [`super::spawn`] or [`super::exec`].
///
/// Poll [`Child::channel`] for reading and call [`Child::advance`]. Before [`State::Waiting`]
/// (for an exec: before [`State::Running`]) [`Child::pid`] and [`Child::pidfd`] may be those of a
/// preparer that hands over to the real process, when a PID namespace is joined: register the
/// pidfd for its exit only then. Up to there a death shows as an error of [`Child::advance`].
///
/// After an error the process has ended or was killed, and is reaped. Dropping a `Child` that is
/// not yet running ends the process (its channel closes) but does not reap it.
#[derive(Debug)]
pub struct Child {
    /// Process id, seen from the caller.
    pub pid: Pid,
    pidfd: OwnedFd,
    channel: OwnedFd,
    console: Option<OwnedFd>,
    state: State,
}

impl Child {
    /// The pidfd of the process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The same pidfd, owned.
    ///
    /// # Errors
    /// `EMFILE` and its like.
    pub fn pidfd_owned(&self) -> Result<OwnedFd> {
        Ok(self.pidfd.try_clone()?)
    }

    /// The channel to poll for reading; non-blocking.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// How far it has come, as of the last [`Child::advance`].
    pub fn state(&self) -> State {
        self.state
    }

    /// Reads what the process has said, without blocking.
    ///
    /// # Errors
    /// The step that failed, in words (`mount /etc/hosts: ENOENT`); kind `Exec` when it is the
    /// program that cannot be executed; `Ended` when the process died before it was ready.
    pub fn advance(&mut self) -> Result<State> {
        Err(Error::new(Kind::Kernel, "not there yet"))
    }

    /// The master of the process's terminal, once: there from [`State::Waiting`] on.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// What could not be set as asked and was clamped (a limit above the hard one, a lower
    /// `oom_score_adj` without CAP_SYS_RESOURCE), in words, once. Known from
    /// [`State::Running`] on.
    pub fn take_clamped(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Lets a waiting process execute its program.
    ///
    /// # Errors
    /// `Ended` when it is gone.
    pub fn release(&mut self) -> Result<()> {
        Err(Error::new(Kind::Kernel, "not there yet"))
    }

    /// Blocks until [`State::Waiting`] or later.
    ///
    /// # Errors
    /// As [`Child::advance`].
    pub fn wait_ready(&mut self) -> Result<()> {
        Err(Error::new(Kind::Kernel, "not there yet"))
    }

    /// Blocks until [`State::Running`].
    ///
    /// # Errors
    /// As [`Child::advance`].
    pub fn wait_running(&mut self) -> Result<()> {
        Err(Error::new(Kind::Kernel, "not there yet"))
    }
}
