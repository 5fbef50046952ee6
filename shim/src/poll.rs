//! What the loop waits for: epoll(7), with a name for each source.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rrun_shim_protocol::cri_log::Stream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Number of a process, connection or container within this shim; never used twice.
pub type Key = u32;

/// A source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A daemon connects.
    Listener,
    /// A child has ended, or the shim is told to end.
    Signals,
    /// The log thread has done something.
    Log,
    /// A daemon speaks, or can take more.
    Connection(Key),
    /// A container's init reports.
    Init(Key),
    /// An exec reports.
    Exec(Key),
    /// A container has written.
    Output(Key, Stream),
    /// The thread that removes many groups has ended.
    Removal,
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, key) = match self {
            Token::Listener => (0, 0),
            Token::Signals => (1, 0),
            Token::Log => (2, 0),
            Token::Connection(key) => (3, key),
            Token::Init(key) => (4, key),
            Token::Exec(key) => (5, key),
            Token::Output(key, Stream::Stdout) => (6, key),
            Token::Output(key, Stream::Stderr) => (7, key),
            Token::Removal => (8, 0),
        };
        kind << 32 | u64::from(key)
    }

    fn decode(data: u64) -> Token {
        let key = data as Key;
        match data >> 32 {
            0 => Token::Listener,
            1 => Token::Signals,
            2 => Token::Log,
            3 => Token::Connection(key),
            4 => Token::Init(key),
            5 => Token::Exec(key),
            6 => Token::Output(key, Stream::Stdout),
            7 => Token::Output(key, Stream::Stderr),
            _ => Token::Removal,
        }
    }
}

/// Something happened to a source.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which source.
    pub token: Token,
    /// It can be written to.
    pub writable: bool,
}

/// The set of sources.
pub struct Poll(Epoll);

impl Poll {
    /// An empty set.
    pub fn new() -> Result<Poll, Errno> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Poll)
    }

    /// Watches `fd` for something to read.
    pub fn add(&self, fd: impl AsFd, token: Token) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.encode()))
    }

    /// Watches `fd`, added before, for room to write too, or no more for it.
    pub fn watch_writable(&self, fd: BorrowedFd<'_>, token: Token, on: bool) {
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, on);
        let _ = self.0.modify(fd, &mut EpollEvent::new(flags, token.encode()));
    }

    /// Forgets `fd`. It must be called before a descriptor is closed of which a duplicate exists
    /// elsewhere: epoll watches open files, not numbers.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = self.0.delete(fd);
    }

    /// Waits until something happens or `deadline` has come.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<Vec<Ready>, Errno> {
        let mut events = [EpollEvent::empty(); 32];
        let timeout = match deadline {
            None => EpollTimeout::NONE,
            Some(at) => {
                // Rounded up: a timer that fires early would spin until its time.
                let left = at.saturating_duration_since(Instant::now());
                let left = (left + Duration::from_micros(999)).min(Duration::from_secs(3600));
                EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO)
            }
        };
        let count = match self.0.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let ready = |event: &EpollEvent| Ready {
            token: Token::decode(event.data()),
            writable: event.events().contains(EpollFlags::EPOLLOUT),
        };
        Ok(events[..count].iter().map(ready).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_kernel() {
        for token in [
            Token::Listener,
            Token::Signals,
            Token::Log,
            Token::Connection(7),
            Token::Init(u32::MAX),
            Token::Exec(1),
            Token::Output(3, Stream::Stdout),
            Token::Output(3, Stream::Stderr),
            Token::Removal,
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
