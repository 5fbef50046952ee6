//! Waiting for a child's end, with signals passed on.

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
        ] {
            set.add(signal);
        }
        set.thread_block().doing(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Forwarded(SignalFd::with_flags(&set, flags).doing(|| "signalfd")?))
    }

    /// Waits for the end of a child, reaps it, and gives its exit code: 128 + n for signal n.
    pub fn wait(&self, child: BorrowedFd<'_>) -> Result<u8> {
        loop {
            let mut fds = [
                PollFd::new(child, PollFlags::POLLIN),
                PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno).doing(|| "poll"),
            }
            while let Ok(Some(info)) = self.0.read_signal() {
                // It may have ended meanwhile.
                let _ = pidfd::send_signal(child, info.ssi_signo as i32);
            }
            if let Some(code) = ended(child)? {
                return Ok(code);
            }
        }
    }
}

fn ended(child: BorrowedFd<'_>) -> Result<Option<u8>> {
    let status = pidfd::wait(child, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    match status.doing(|| "wait")? {
        WaitStatus::StillAlive => Ok(None),
        WaitStatus::Exited(_, code) => Ok(Some(code as u8)),
        WaitStatus::Signaled(_, signal, _) => Ok(Some(128 + signal as u8)),
        other => Err(Error::new(Kind::Kernel, format!("wait: {other:?}"))),
    }
}
