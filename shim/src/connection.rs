//! One daemon at the other end of the socket.

use crate::process::refuse;
use nix::errno::Errno;
use rrun_shim_protocol::frame::{Decoder, Frame, FrameKind, encode};
use rrun_shim_protocol::{Event, Reply, WireKind};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The most that waits for a daemon that does not read; it is cut off then and dials again.
const MAX_PENDING: usize = 8 << 20;

/// One read, and how many there are before the frames in them are served: what a peer sends
/// faster than that waits in the socket.
const CHUNK: usize = 16 << 10;
const READS: usize = 16;

/// A connection; non-blocking, because nothing may hold up the loop.
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    pending: usize,
    /// Agreed on by Hello; 0 before.
    pub version: u16,
    /// The shim ends when everything is sent.
    pub is_last: bool,
}

/// What [`Connection::read`] has found.
pub struct Received {
    /// The frames that are whole.
    pub frames: Vec<Frame>,
    /// The peer is gone or talks nonsense: after these frames nothing comes any more.
    pub is_over: bool,
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
            is_last: false,
        })
    }

    /// Reads what is there, up to a bound.
    pub fn read(&mut self) -> Received {
        let mut buffer = [0; CHUNK];
        let mut received = Received { frames: Vec::new(), is_over: false };
        for _ in 0..READS {
            let mut fds = Vec::new();
            match rrun_sys::fdpass::receive(self.stream.as_fd(), &mut buffer, &mut fds) {
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Ok(0) | Err(_) => received.is_over = true,
                Ok(count) => self.decoder.feed(&buffer[..count], fds),
            }
            received.is_over |= !self.take_frames(&mut received.frames);
            if received.is_over {
                break;
            }
        }
        received
    }

    /// The length of a frame is looked at as soon as its header is there, so that no more than
    /// one of the greatest length is ever held. False for nonsense.
    fn take_frames(&mut self, frames: &mut Vec<Frame>) -> bool {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Puts an answer into the queue; one that cannot be sent becomes an error, because somebody
    /// waits for it.
    pub fn reply(&mut self, number: u32, reply: &Reply, fds: Vec<OwnedFd>) {
        let encoded = encode(FrameKind::Reply, number, reply, fds.len());
        let (frame, fds) = match encoded {
            Ok(frame) => (Ok(frame), fds),
            Err(error) => {
                let error = Reply::Error(refuse(WireKind::Kernel, error));
                (encode(FrameKind::Reply, number, &error, 0), Vec::new())
            }
        };
        if let Ok(frame) = frame {
            self.queue(frame, fds);
        }
    }

    /// Puts an event into the queue.
    pub fn event(&mut self, event: &Event) {
        if let Ok(frame) = encode(FrameKind::Event, 0, event, 0) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_shim_protocol::Request;
    use std::io::Write;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours).unwrap(), theirs)
    }

    fn request(number: u32) -> Vec<u8> {
        encode(FrameKind::Request, number, &Request::State, 0).unwrap()
    }

    #[test]
    fn a_request_that_is_followed_by_the_end_is_still_received() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&[request(1), request(2)].concat()).unwrap();
        drop(peer);
        let received = connection.read();
        let numbers: Vec<u32> = received.frames.iter().map(|frame| frame.number).collect();
        assert_eq!((numbers, received.is_over), (vec![1, 2], true));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_header_after_those_before_it() {
        let (mut connection, mut peer) = pair();
        let mut long = request(2);
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        peer.write_all(&[request(1), long[..12].to_vec()].concat()).unwrap();
        let received = connection.read();
        assert_eq!((received.frames.len(), received.is_over), (1, true));
    }

    #[test]
    fn what_a_peer_sends_at_once_is_served_in_bounded_pieces() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let (mut connection, mut peer) = pair();
        let room = nix::sys::socket::sockopt::SndBufForce;
        nix::sys::socket::setsockopt(&peer, room, &(16 << 20)).unwrap();
        peer.set_nonblocking(true).unwrap();
        let one = request(1);
        let count = 3 * READS * CHUNK / one.len();
        peer.write_all(&one.repeat(count)).unwrap();
        let (mut served, mut reads) = (0, 0);
        while served < count {
            let received = connection.read();
            assert!(!received.is_over && received.frames.len() * one.len() <= READS * CHUNK);
            served += received.frames.len();
            reads += 1;
            assert!(reads <= count, "{served} of {count} have come");
        }
        assert!(reads > 2);
    }

    #[test]
    fn an_answer_that_cannot_be_sent_is_answered_by_an_error() {
        let (mut connection, peer) = pair();
        let release = "x".repeat(5 << 20);
        connection.reply(7, &Reply::Hello { version: 1, pid: 1, release }, Vec::new());
        assert_eq!(connection.flush(), Some(false));
        let received = Connection::new(peer).unwrap().read();
        let [frame] = &received.frames[..] else { panic!("{} frames", received.frames.len()) };
        assert_eq!(frame.number, 7);
        let reply = frame.message::<Reply>().unwrap();
        assert!(matches!(&reply, Reply::Error(e) if e.chain[0].contains("bytes")), "{reply:?}");
    }
}
