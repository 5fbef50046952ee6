//! What a container writes: read here, logged by the log thread, copied to who is attached.

use crate::log::{LogThread, Order, Read};
use crate::poll::{Key, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rrun_shim_protocol::cri_log::Stream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One read. On the stack: a shim holds no buffer while nothing is written.
const CHUNK: usize = 32 << 10;

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Makes reads from, or writes to, `fd` non-blocking.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Both output streams of a container.
pub struct Output {
    key: Key,
    logged: bool,
    terminal: bool,
    stdout: Option<Source>,
    stderr: Option<Source>,
    copies: Vec<Copies>,
}

struct Source {
    fd: Arc<OwnedFd>,
    /// Not read before the log thread is done with what was, since then.
    paused: Option<Instant>,
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
        Output { key, logged, terminal, stdout: None, stderr: None, copies: Vec::new() }
    }

    /// Reads `fd` as `stream` from now on.
    pub fn watch(&mut self, stream: Stream, fd: OwnedFd, poll: &Poll) -> Result<(), Errno> {
        set_nonblocking(&fd)?;
        poll.add(&fd, Token::Output(self.key, stream))?;
        *self.source(stream) = Some(Source { fd: Arc::new(fd), paused: None });
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

    /// Something of it has been on its way to the log for `long`.
    pub fn is_stuck(&self, long: Duration) -> bool {
        let mut sources = [&self.stdout, &self.stderr].into_iter().flatten();
        sources.any(|source| source.paused.is_some_and(|since| since.elapsed() > long))
    }

    /// Reads `stream` once.
    pub fn read(&mut self, stream: Stream, poll: &Poll, log: &LogThread) {
        let (key, logged, terminal) = (self.key, self.logged, self.terminal);
        let Some(source) = self.source(stream) else { return };
        let mut buffer = [0; CHUNK];
        let read = match logged && !terminal {
            true => log.look(&source.fd, &mut buffer),
            false => nix::unistd::read(&source.fd, &mut buffer),
        };
        let count = match read {
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // EIO is the end of a terminal whose last holder is gone.
            Ok(0) | Err(_) => return self.close(stream, poll),
            Ok(count) => count,
        };
        if logged {
            let pipe = (!terminal).then(|| Arc::clone(&source.fd));
            let read = Read { at: now(), bytes: buffer[..count].to_vec(), pipe };
            log.order(Order::Bytes(key, stream, read));
            source.paused = Some(Instant::now());
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
            source.paused = None;
        }
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
            && source.paused.is_none()
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
