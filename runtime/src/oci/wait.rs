//! Waiting for a child's end, with signals and a terminal passed on.

use crate::relay::Relay;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use rrun_runtime::{Context, Error, Kind, Result};
use rrun_sys::pidfd;
use std::os::fd::{AsFd, BorrowedFd};

/// Signals that go to the child instead of ending this process. Taken before the child is made,
/// so that none is lost.
pub struct Forwarded(SignalFd);

impl Forwarded {
    pub fn take() -> Result<Forwarded> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGWINCH,
        ] {
            set.add(signal);
        }
        set.thread_block().context(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Forwarded(SignalFd::with_flags(&set, flags).context(|| "make a descriptor of signals")?))
    }

    /// Waits for the end of a child, reaps it, and gives its exit code: 128 + n for signal n.
    /// Meanwhile `relay` copies its terminal.
    pub fn wait(&self, child: BorrowedFd<'_>, mut relay: Option<Relay>) -> Result<u8> {
        loop {
            let typed = self.wait_for_news(child, relay.as_ref())?;
            while let Ok(Some(info)) = self.0.read_signal() {
                match &relay {
                    _ if info.ssi_signo != Signal::SIGWINCH as u32 => {
                        // It may have ended meanwhile.
                        let _ = pidfd::send_signal(child, info.ssi_signo as i32);
                    }
                    Some(relay) => relay.resize(),
                    None => {}
                }
            }
            if let Some(relay) = &mut relay {
                if typed {
                    relay.take_input();
                }
                relay.pass();
            }
            if let Some(code) = ended(child)? {
                if let Some(relay) = relay {
                    relay.finish();
                }
                return Ok(code);
            }
        }
    }

    /// True when stdin has something for the terminal.
    fn wait_for_news(&self, child: BorrowedFd<'_>, relay: Option<&Relay>) -> Result<bool> {
        let stdin = std::io::stdin();
        let mut fds = vec![
            PollFd::new(child, PollFlags::POLLIN),
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
        ];
        if let Some((terminal, flags)) = relay.and_then(Relay::terminal) {
            fds.push(PollFd::new(terminal, flags));
        }
        let typed = fds.len();
        if relay.is_some_and(Relay::wants_input) {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => Ok(fds.get(typed).is_some_and(|fd| fd.any() == Some(true))),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno).context(|| "wait for the process: poll"),
        }
    }
}

fn ended(child: BorrowedFd<'_>) -> Result<Option<u8>> {
    let status = pidfd::wait(child, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    match status.context(|| "wait for the process")? {
        WaitStatus::StillAlive => Ok(None),
        WaitStatus::Exited(_, code) => Ok(Some(code as u8)),
        WaitStatus::Signaled(_, signal, _) => Ok(Some(128 + signal as u8)),
        other => Err(Error::new(Kind::Kernel, format!("wait: {other:?}"))),
    }
}
