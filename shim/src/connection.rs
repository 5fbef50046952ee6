//! One daemon at the other end of the socket.

use crate::process::refuse;
use nix::errno::Errno;
use rrun_shim_protocol::frame::{Carries, Decoder, Frame, encode};
use rrun_shim_protocol::{Event, Reply, WireKind};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The most that waits for a daemon that does not read; it is cut off then and dials again.
const MAX_PENDING: usize = 8 << 20;

/// A connection; non-blocking, because nothing may hold up the loop.
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    pending: usize,
    /// Agreed on by Hello; 0 before.
    pub version: u16,
    /// The shim ends when everything is sent.
    pub last: bool,
}

impl Connection {
    /// Takes over an accepted socket.
    pub fn new(stream: UnixStream) -> std::io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            decoder: Decoder::default(),
            outgoing: VecDeque::new(),
            pending: 0,
            version: 0,
            last: false,
        })
    }

    /// Reads what is there; the frames that are whole, or `None` when the peer is gone or talks
    /// nonsense.
    pub fn read(&mut self) -> Option<Vec<Frame>> {
        let mut buffer = [0; 16 << 10];
        loop {
            let mut fds = Vec::new();
            match rrun_sys::fdpass::receive(self.stream.as_fd(), &mut buffer, &mut fds) {
                Ok(0) => return None,
                Ok(count) => self.decoder.feed(&buffer[..count], fds),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.next_frame().ok()? {
            frames.push(frame);
        }
        Some(frames)
    }

    /// Puts an answer into the queue; one that cannot be sent becomes an error, because somebody
    /// waits for it.
    pub fn reply(&mut self, number: u32, reply: &Reply, fds: Vec<OwnedFd>) {
        let encoded = encode(Carries::Reply, number, reply, fds.len());
        let (frame, fds) = match encoded {
            Ok(frame) => (Ok(frame), fds),
            Err(error) => {
                let error = Reply::Error(refuse(WireKind::Kernel, error));
                (encode(Carries::Reply, number, &error, 0), Vec::new())
            }
        };
        if let Ok(frame) = frame {
            self.queue(frame, fds);
        }
    }

    /// Puts an event into the queue.
    pub fn event(&mut self, event: &Event) {
        if let Ok(frame) = encode(Carries::Event, 0, event, 0) {
            self.queue(frame, Vec::new());
        }
    }

    fn queue(&mut self, frame: Vec<u8>, fds: Vec<OwnedFd>) {
        self.pending += frame.len();
        self.outgoing.push_back((frame, fds));
    }

    /// Writes what the socket takes. True while more waits for room; `None` when the peer is
    /// gone, or so far behind that it counts as gone.
    pub fn flush(&mut self) -> Option<bool> {
        while let Some((bytes, fds)) = self.outgoing.front_mut() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match rrun_sys::fdpass::send(self.stream.as_fd(), bytes, &borrowed) {
                Ok(count) => {
                    fds.clear();
                    self.pending -= count;
                    if count == bytes.len() {
                        self.outgoing.pop_front();
                    } else {
                        bytes.drain(..count);
                    }
                }
                Err(Errno::EAGAIN) => return (self.pending <= MAX_PENDING).then_some(true),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
        Some(false)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
