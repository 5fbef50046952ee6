//! A terminal of a program in the foreground: copied to and from this process's own stdio.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::read;
use rrun_runtime::{Context, Result};
use rrun_sys::pty;
use std::fs::File;
use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a terminal takes for the end of its input.
const END_OF_INPUT: u8 = 4;

/// Copies between a program's terminal and this process's stdio, which may be a terminal as well
/// or not: then the program has one all the same.
pub struct Relay {
    master: File,
    /// How our own terminal was before its keys became the program's.
    before: Option<Termios>,
    stdin_open: bool,
    /// Nobody has the terminal open any more.
    hung_up: bool,
    /// Input that the terminal has not taken yet.
    pending: Vec<u8>,
}

impl Relay {
    /// Takes the master of the program's terminal, which gets the size of ours.
    ///
    /// # Errors
    /// What the kernel says to either.
    pub fn new(master: OwnedFd) -> Result<Relay> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .context(|| "make the terminal non-blocking")?;
        let mut before = None;
        if let Ok(own) = tcgetattr(stdin()) {
            let mut raw = own.clone();
            cfmakeraw(&mut raw);
            tcsetattr(stdin(), SetArg::TCSANOW, &raw)
                .context(|| "set our own terminal to raw mode")?;
            before = Some(own);
        }
        let master = File::from(master);
        let relay = Relay { master, before, stdin_open: true, hung_up: false, pending: Vec::new() };
        relay.resize();
        Ok(relay)
    }

    /// Gives it the size of ours, if ours has one.
    pub fn resize(&self) {
        if let Ok((rows, columns)) = pty::size(stdin().as_fd())
            && (rows, columns) != (0, 0)
        {
            let _ = pty::set_size(self.master.as_fd(), rows, columns);
        }
    }

    /// The terminal, and what to wait for there; `None` when it is of no more use.
    pub fn terminal(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let input = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        (!self.hung_up).then(|| (self.master.as_fd(), PollFlags::POLLIN | input))
    }

    /// Input is wanted: what came before has been taken.
    pub fn wants_input(&self) -> bool {
        self.stdin_open && !self.hung_up && self.pending.is_empty()
    }

    /// Reads what stdin has; blocks if it has nothing.
    pub fn take_input(&mut self) {
        let mut bytes = [0; 1024];
        match read(stdin(), &mut bytes) {
            Ok(count @ 1..) => self.pending.extend_from_slice(&bytes[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The first ends a line that was begun, the second says that nothing follows.
            Ok(_) | Err(_) => {
                self.stdin_open = false;
                self.pending.extend([END_OF_INPUT, END_OF_INPUT]);
            }
        }
    }

    /// Moves what is there in both directions, without waiting.
    pub fn pass(&mut self) {
        if !self.pending.is_empty() {
            match self.master.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Nobody reads any more.
                Err(_) => self.pending.clear(),
            }
        }
        self.pass_output();
    }

    /// False when there is no more, for now or for ever.
    fn pass_output(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = match self.master.read(&mut bytes) {
            Ok(count @ 1..) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return false;
            }
            // EIO is how a terminal ends whose last user has gone.
            Ok(_) | Err(_) => {
                self.hung_up = true;
                return false;
            }
        };
        // A reader of ours that has gone is no reason to end the program.
        let mut out = stdout();
        let _ = out.write_all(&bytes[..count]).and_then(|()| out.flush());
        true
    }

    /// The program has ended: what it has written last.
    pub fn finish(mut self) {
        let ready = |relay: &Relay| {
            let mut fds = [PollFd::new(relay.master.as_fd(), PollFlags::POLLIN)];
            matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
        };
        while ready(&self) && self.pass_output() {}
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, before);
        }
    }
}
