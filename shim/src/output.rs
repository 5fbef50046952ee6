//! What a container writes: read here, logged by the log thread, copied to who is attached.

use crate::log::{LogCommand, LogThread, Read, set_nonblocking};
use crate::poll::{Key, Poll, Token};
use nix::errno::Errno;
use rrun_shim_protocol::cri_log::Stream;
use rrun_sys::time::now;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One read. On the stack: a shim holds no buffer while nothing is written.
const CHUNK: usize = 32 << 10;

/// Both output streams of a container.
pub struct Output {
    key: Key,
    logged: bool,
    terminal: bool,
    stdout: Option<Source>,
    stderr: Option<Source>,
    copies: Vec<Copies>,
    /// When something was last read, or written to the log.
    last: Instant,
    /// Bytes that were read so far.
    count: u64,
}

struct Source {
    fd: Arc<OwnedFd>,
    /// Bytes that are on their way to the log; not read any further before they are there.
    in_flight: u64,
}

/// Output that is not in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Bytes that the log thread has in hand.
    pub in_flight: u64,
    /// Bytes that nobody has read.
    pub unread: u64,
}

/// Where one attached client gets its copies.
pub struct Copies {
    /// For stdout.
    pub stdout: Option<OwnedFd>,
    /// For stderr.
    pub stderr: Option<OwnedFd>,
}

impl Output {
    /// An output that is read once its streams are there.
    pub fn new(key: Key, logged: bool, terminal: bool) -> Output {
        Output {
            key,
            logged,
            terminal,
            stdout: None,
            stderr: None,
            copies: Vec::new(),
            last: Instant::now(),
            count: 0,
        }
    }

    /// Reads `fd` as `stream` from now on.
    pub fn watch(&mut self, stream: Stream, fd: OwnedFd, poll: &Poll) -> Result<(), Errno> {
        set_nonblocking(&fd)?;
        poll.add(&fd, Token::Output(self.key, stream))?;
        *self.source(stream) = Some(Source { fd: Arc::new(fd), in_flight: 0 });
        Ok(())
    }

    /// Copies to `copies` from now on.
    pub fn attach(&mut self, copies: Copies) -> Result<(), Errno> {
        for fd in [&copies.stdout, &copies.stderr].into_iter().flatten() {
            set_nonblocking(fd)?;
        }
        self.copies.push(copies);
        Ok(())
    }

    /// Duplicates of the read ends of stdout and stderr.
    pub fn duplicates(&self) -> std::io::Result<[Option<OwnedFd>; 2]> {
        let copy = |source: &Option<Source>| {
            source.as_ref().map(|source| source.fd.try_clone()).transpose()
        };
        Ok([copy(&self.stdout)?, copy(&self.stderr)?])
    }

    /// Nothing more can come.
    pub fn is_over(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Nothing has come for `long`, and nothing is on its way to the log: what holds the other end
    /// of a pipe is outside of the container.
    pub fn is_silent(&self, long: Duration) -> bool {
        let mut sources = [&self.stdout, &self.stderr].into_iter().flatten();
        self.last.elapsed() >= long && !sources.any(|source| source.in_flight > 0)
    }

    /// Bytes that were read so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What of it is not in the log.
    pub fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for source in [&self.stdout, &self.stderr].into_iter().flatten() {
            let there = rrun_sys::pipe::readable(source.fd.as_fd()).unwrap_or(0);
            // What is on its way is still in its pipe, unless it is a terminal's.
            let in_pipe = if self.terminal { 0 } else { source.in_flight };
            missing.in_flight += source.in_flight;
            missing.unread += there.saturating_sub(in_pipe);
        }
        missing
    }

    /// Reads `stream` once.
    pub fn read(&mut self, stream: Stream, poll: &Poll, log: &LogThread) {
        let (key, logged, terminal) = (self.key, self.logged, self.terminal);
        let Some(source) = self.source(stream) else { return };
        let mut buffer = [0; CHUNK];
        let read = match logged && !terminal {
            true => log.peek(&source.fd, &mut buffer),
            false => nix::unistd::read(&source.fd, &mut buffer),
        };
        let count = match read {
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // EIO is the end of a terminal whose last holder is gone.
            Ok(0) | Err(_) => return self.close(stream, poll),
            Ok(count) => count,
        };
        self.last = Instant::now();
        self.count += count as u64;
        let Some(source) = self.source(stream) else { return };
        if logged {
            let pipe = (!terminal).then(|| Arc::clone(&source.fd));
            let read = Read { at: now(), bytes: buffer[..count].to_vec(), pipe };
            log.send(LogCommand::Bytes(key, stream, read));
            source.in_flight = count as u64;
            poll.remove(&source.fd);
        }
        self.copy(stream, &buffer[..count]);
    }

    /// The log thread has written what was read.
    pub fn written(&mut self, stream: Stream, poll: &Poll) {
        let token = Token::Output(self.key, stream);
        if let Some(source) = self.source(stream)
            && poll.add(&source.fd, token).is_ok()
        {
            source.in_flight = 0;
        }
        self.last = Instant::now();
    }

    /// Stops reading: somebody outside the container holds the other end.
    pub fn give_up(&mut self, poll: &Poll) {
        self.close(Stream::Stdout, poll);
        self.close(Stream::Stderr, poll);
    }

    /// Lets the attached clients see the end.
    pub fn detach(&mut self) {
        self.copies.clear();
    }

    fn close(&mut self, stream: Stream, poll: &Poll) {
        // The daemon holds duplicates: closing ours alone would leave the source in the set.
        if let Some(source) = self.source(stream).take()
            && source.in_flight == 0
        {
            poll.remove(&source.fd);
        }
    }

    fn source(&mut self, stream: Stream) -> &mut Option<Source> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// A client that has no room for all of it is cut: it must not slow the log, and output with
    /// a hole would be worse than an end.
    fn copy(&mut self, stream: Stream, bytes: &[u8]) {
        self.copies.retain_mut(|copies| {
            let place = match stream {
                Stream::Stdout => &copies.stdout,
                Stream::Stderr => &copies.stderr,
            };
            let Some(fd) = place else { return true };
            nix::unistd::write(fd, bytes) == Ok(bytes.len())
        });
    }
}
