//! A child between its clone and the execve of its program, as its parent sees it.

use super::compile::Compiled;
use super::id_maps;
use crate::plan::IdMaps;
use crate::{Context, Error, Kind, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use rrun_sys::pidfd;
use rrun_sys::program::report::{self, Detail, Message, ParentTask, Refusal};
use rrun_sys::program::{self, Placement};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It makes its namespaces, mounts and devices.
    Preparing,
    /// It has asked something that [`Child::asks`] says, and waits for [`Child::answer`].
    Asking,
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
/// (for an exec: before [`State::Running`]) `pid` and [`Child::pidfd`] may be those of a preparer
/// that hands over to the real process, when a PID namespace is joined: register the pidfd for
/// its exit only then. Up to there a death shows as an error of [`Child::advance`].
///
/// Dropping a `Child` that waits ends the process, for its channel closes; it is not reaped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    /// What a new user namespace of it is asked to map.
    id_maps: Option<IdMaps>,
    asks: Option<ParentTask>,
    /// Who has handed over and is about to end.
    preparer: Option<OwnedFd>,
    channel: OwnedFd,
    console: Option<OwnedFd>,
    clamped: Vec<String>,
    /// What it has said of its failure.
    failure: Option<Error>,
    state: State,
    /// Another process is to come and go on.
    handover: bool,
    /// The process that goes on may be faster than the news of it.
    ready_early: bool,
    /// That process has asked for its id before the news of it has come.
    pid_asked_early: bool,
    /// There is a [`State::Waiting`] in its life.
    waits: bool,
}

impl Child {
    pub(super) fn start(
        mut compiled: Compiled<'_>,
        cgroup: Option<BorrowedFd<'_>>,
        waits: bool,
    ) -> Result<Child> {
        let (ours, theirs) = report::channel().context(|| "make the channel to the child")?;
        let namespaces = compiled.namespaces.bits() as u64;
        let placement = Placement { namespaces, cgroup };
        let (pid, pidfd) =
            program::start(&mut compiled.program, theirs.as_fd(), placement).context(|| "clone")?;
        Ok(Child {
            pid,
            pidfd,
            id_maps: compiled.id_maps,
            asks: None,
            preparer: None,
            channel: ours,
            console: None,
            clamped: Vec::new(),
            failure: None,
            state: State::Preparing,
            handover: compiled.handover,
            ready_early: false,
            pid_asked_early: false,
            waits,
        })
    }

    /// Process id, seen from the caller: a name to tell others. It is this process's for as long
    /// as nobody has reaped it; signals go by [`Child::signal`], which hits nobody else.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal, by number.
    ///
    /// # Errors
    /// `NotFound` when it has been reaped.
    pub fn signal(&self, signal: i32) -> Result<()> {
        Ok(pidfd::send_signal(self.pidfd.as_fd(), signal)?)
    }

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

    /// Reads what the process has said. Never blocks, and never reaps: that is left to whoever
    /// waits for the caller's children. The channel is readable for ever once [`State::Running`]
    /// is reached: poll it no more.
    ///
    /// # Errors
    /// The step that failed, in words (`mount /etc/hosts: ENOENT`), again at every later call; kind
    /// `Exec` when it is the program that cannot be executed; the process is killed. `Ended` when it
    /// died without a word.
    pub fn advance(&mut self) -> Result<State> {
        // What comes after a report is only the end of who has sent it.
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        while !matches!(self.state, State::Asking | State::Running) {
            match report::receive(self.channel.as_fd()) {
                Ok(message) => self.hear(message)?,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::from(errno).context("read the channel")),
            }
        }
        Ok(self.state)
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Waiting if self.handover => self.ready_early = true,
            Message::Waiting => self.state = State::Waiting,
            Message::Handover { pid, pidfd } => {
                self.preparer = Some(std::mem::replace(&mut self.pidfd, pidfd));
                (self.pid, self.handover) = (pid, false);
                if std::mem::take(&mut self.pid_asked_early) {
                    report::tell_pid(self.channel.as_fd(), pid)?;
                }
                if self.ready_early {
                    self.state = State::Waiting;
                }
            }
            // Needs no outside help.
            Message::Ask(ParentTask::WriteIdMaps) => {
                let maps = self.id_maps.clone().unwrap_or_default();
                report::answer(self.channel.as_fd(), &id_maps::write(self.pid, &maps))?;
            }
            Message::Ask(ParentTask::TellPid) if self.handover => self.pid_asked_early = true,
            Message::Ask(ParentTask::TellPid) => report::tell_pid(self.channel.as_fd(), self.pid)?,
            Message::Ask(ask) => (self.state, self.asks) = (State::Asking, Some(ask)),
            Message::Console(master) => self.console = Some(master),
            Message::Clamped(label) => self.clamped.push(label),
            Message::Failed { label, said, detail, errno } => {
                // It is about to end; should it not be, it must not go on.
                let _ = self.signal(libc::SIGKILL);
                let failure = worded(&label, &said, detail, errno);
                self.failure = Some(failure.clone());
                return Err(failure);
            }
            Message::End => return self.end(),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        match self.state {
            State::Preparing | State::Asking if self.waits || self.handover => {
                let _ = self.signal(libc::SIGKILL);
                Err(Error::new(Kind::Ended, "the process died while it was being prepared"))
            }
            State::Waiting => {
                Err(Error::new(Kind::Ended, "the process died while it waited for its start"))
            }
            _ => {
                self.state = State::Running;
                Ok(())
            }
        }
    }

    /// What it asks the caller to do: there in [`State::Asking`]. The process is the one of
    /// [`Child::pid`].
    pub fn asks(&self) -> Option<ParentTask> {
        self.asks
    }

    /// Answers what it asks: done, and it goes on, or a refusal, and its step fails with that.
    ///
    /// # Errors
    /// `Invalid` when it asks nothing, `Ended` when it is gone.
    pub fn answer(&mut self, answer: &Result<(), Refusal>) -> Result<()> {
        if self.asks.take().is_none() {
            return Err(Error::new(Kind::Invalid, "the process asks nothing"));
        }
        self.state = State::Preparing;
        report::answer(self.channel.as_fd(), answer)
            .map_err(|_| Error::new(Kind::Ended, "the process died while it waited for an answer"))
    }

    /// Refuses what it asks, which the caller cannot do.
    ///
    /// # Errors
    /// As [`Child::answer`].
    pub fn refuse(&mut self) -> Result<()> {
        let words = "nobody here can do that".to_owned();
        self.answer(&Err(Refusal { errno: Errno::ENOSYS, words }))
    }

    /// The master of the process's terminal, once: there from [`State::Waiting`] on (for an exec
    /// from [`State::Running`] on).
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// What could not be set as asked and was clamped (a limit above the hard one, a lower
    /// `oom_score_adj` without CAP_SYS_RESOURCE), in words, once. Complete at
    /// [`State::Running`].
    pub fn take_clamped(&mut self) -> Vec<String> {
        std::mem::take(&mut self.clamped)
    }

    /// Lets a waiting process execute its program.
    ///
    /// # Errors
    /// `Ended` when it is gone, `Invalid` when it does not wait.
    pub fn release(&mut self) -> Result<()> {
        if self.state != State::Waiting {
            return Err(Error::new(Kind::Invalid, "the process does not wait for its start"));
        }
        match rrun_sys::fdpass::send(self.channel.as_fd(), b"\n", &[]) {
            Ok(_) => {
                self.state = State::Executing;
                Ok(())
            }
            Err(Errno::EPIPE | Errno::ECONNRESET) => {
                Err(Error::new(Kind::Ended, "the process died while it waited for its start"))
            }
            Err(errno) => Err(Error::from(errno).context("release the process")),
        }
    }

    /// Blocks until [`State::Waiting`] or later. What it asks is done by `help`.
    ///
    /// # Errors
    /// What `help` says; as [`Child::advance`], and the process is reaped.
    pub fn wait_helped(
        &mut self,
        mut help: impl FnMut(ParentTask, Pid) -> Result<()>,
    ) -> Result<()> {
        let mut refused = None;
        let mut answer = |child: &mut Child| {
            let Some(asked) = child.asks() else { return child.refuse() };
            let refusal = |error: Error| {
                let words = error.to_string();
                refused = Some(error);
                Refusal { errno: Errno::EIO, words }
            };
            let done = help(asked, child.pid).map_err(refusal);
            child.answer(&done)
        };
        let ready = self.wait_for(State::Waiting, &mut answer);
        // In its own words, not in the child's.
        refused.map_or(ready, Err)
    }

    /// As [`Child::wait_helped`]. Where it asks to be placed `place` does that; what else it asks is
    /// refused.
    ///
    /// # Errors
    /// Those of `place`, and as there.
    pub fn wait_placed(&mut self, place: impl FnMut(Pid) -> Result<()>) -> Result<()> {
        let mut place = place;
        self.wait_helped(|asked, pid| match asked {
            ParentTask::Place => place(pid),
            _ => Err(Error::new(Kind::Invalid, "nobody here can do that")),
        })
    }

    /// Blocks until [`State::Running`]. What it asks is refused.
    ///
    /// # Errors
    /// As [`Child::advance`], and the process is reaped.
    pub fn wait_running(&mut self) -> Result<()> {
        self.wait_for(State::Running, &mut Child::refuse)
    }

    fn wait_for(
        &mut self,
        state: State,
        answer: &mut dyn FnMut(&mut Child) -> Result<()>,
    ) -> Result<()> {
        let reached = self.block_until(state, answer);
        if let Some(preparer) = self.preparer.take() {
            let _ = pidfd::wait(preparer.as_fd(), WaitPidFlag::WEXITED);
        }
        reached.inspect_err(|_| {
            let _ = self.signal(libc::SIGKILL);
            let _ = pidfd::wait(self.pidfd.as_fd(), WaitPidFlag::WEXITED);
        })
    }

    fn block_until(
        &mut self,
        state: State,
        answer: &mut dyn FnMut(&mut Child) -> Result<()>,
    ) -> Result<()> {
        while self.advance()? < state {
            if self.state == State::Asking {
                answer(self)?;
                continue;
            }
            let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::from(errno).context("poll the channel")),
            }
        }
        Ok(())
    }
}

/// The error of a step, in the words that people know from other runtimes where it is about the
/// program.
pub(super) fn worded(label: &str, said: &str, detail: Detail, errno: Errno) -> Error {
    let kind = Kind::Exec { code: detail.exit_code(errno) };
    let why = errno.desc().to_lowercase();
    let text = match detail {
        Detail::Plain if said.is_empty() => return Error::from(errno).context(label),
        Detail::Plain => return Error::from(errno).context(said).context(label),
        Detail::Hook => return Error::new(Kind::Ended, said).context(label),
        Detail::NotInPath => format!("exec: {label:?}: executable file not found in $PATH"),
        Detail::Stat => format!("exec: {label:?}: stat {label}: {why}"),
        Detail::Access => format!("exec: {label:?}: {why}"),
        Detail::Execve => format!("exec {label}: {why}"),
    };
    Error::new(kind, text)
}
