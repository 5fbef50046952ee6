//! Netlink, as much as a bridge, its veth pairs and one nftables table need.
//!
//! Own code, because the crates for rtnetlink want a task and a round trip per request and none of
//! them speaks nftables: here several requests travel in one datagram, which the kernel works off
//! before `sendmsg` returns, and the same few lines write both families.

pub mod conntrack;
mod family;
pub mod message;
pub mod nft;
pub mod route;
pub mod ruleset;
pub mod traffic;

pub use family::Family;

use crate::error::{Error, Kind, Result};
use message::{Message, Received, messages, take};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// Fail if the object exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Make the object if it is not there.
pub const NLM_F_CREATE: u16 = 0x400;
/// The whole table.
pub const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The kernel answers before `send` returns; if no answer is there by then, none will come.
const ANSWER_SECONDS: i64 = 10;

/// A request that failed: which of the batch, and the kernel's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Place in the batch.
    pub at: usize,
    pub errno: Errno,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        refused.errno.into()
    }
}

/// A socket of the calling thread's network namespace.
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Links, addresses, routes.
    pub fn route() -> Result<Socket> {
        Socket::open(SockProtocol::NetlinkRoute, 0)
    }

    /// nftables and connection tracking.
    pub fn netfilter() -> Result<Socket> {
        Socket::open(SockProtocol::NetlinkNetFilter, 0)
    }

    /// Hears of every change of a link.
    pub fn link_events() -> Result<Socket> {
        const RTMGRP_LINK: u32 = 1;
        Socket::open(SockProtocol::NetlinkRoute, RTMGRP_LINK)
    }

    fn open(protocol: SockProtocol, groups: u32) -> Result<Socket> {
        let open = || {
            let fd =
                socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
            Ok(fd)
        };
        let fd = open().map_err(|e: Errno| Error::from(e).context("open a netlink socket"))?;
        Ok(Socket { fd, seq: 1, buffer: vec![0; 32 * 1024] })
    }

    /// Sends all messages at once; the kernel works them off in order, each on its own. All
    /// answers are awaited.
    ///
    /// # Errors
    /// The first that was refused; those behind it were tried all the same.
    pub fn run(&mut self, batch: &[Message]) -> std::result::Result<(), Refused> {
        let first = self.seq;
        self.send(batch, NLM_F_ACK)?;
        self.answers(first, batch.len())
    }

    /// As [`Socket::run`] between the marks of an nfnetlink batch: all or nothing.
    pub fn transact(&mut self, batch: Vec<Message>) -> std::result::Result<(), Refused> {
        // struct nfgenmsg { family, version, res_id: the subsystem }
        const NFNL_SUBSYS_NFTABLES: u16 = 10;
        let mark = |kind| {
            let subsystem = NFNL_SUBSYS_NFTABLES.to_be_bytes();
            Message::new(kind, 0).raw(&[0, 0, subsystem[0], subsystem[1]])
        };
        let count = batch.len();
        let first = self.seq;
        let mut datagram = Vec::with_capacity(4096);
        mark(0x10).write(NLM_F_REQUEST, first, &mut datagram);
        for (at, message) in batch.iter().enumerate() {
            message.write(NLM_F_REQUEST | NLM_F_ACK, first + 1 + at as u32, &mut datagram);
        }
        mark(0x11).write(NLM_F_REQUEST, first + 1 + count as u32, &mut datagram);
        self.seq += count as u32 + 2;
        if datagram.len() > 64 * 1024 {
            // The default of 208 KiB also pays for the kernel's bookkeeping.
            let _ = setsockopt(&self.fd, sockopt::SndBufForce, &(datagram.len() * 4));
        }
        self.send_bytes(&datagram)?;
        self.answers(first + 1, count)
    }

    /// Sends one request and hands every message of its answer to `each`.
    pub fn query(
        &mut self,
        request: &Message,
        mut each: impl FnMut(Received<'_>),
    ) -> std::result::Result<(), Refused> {
        let seq = self.seq;
        let dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
        self.send(std::slice::from_ref(request), 0)?;
        loop {
            let mut done = false;
            let refused = |errno| Refused { at: 0, errno };
            let datagram = receive(&self.fd, &mut self.buffer).map_err(refused)?;
            for message in messages(datagram).filter(|m| m.seq == seq) {
                match message.kind {
                    NLMSG_ERROR => match errno_of(message.body) {
                        None => done = true,
                        Some(errno) => return Err(refused(errno)),
                    },
                    NLMSG_DONE => done = true,
                    _ => {
                        each(message);
                        done |= !dump;
                    }
                }
            }
            if done {
                return Ok(());
            }
        }
    }

    /// The next datagram of a socket that hears of events.
    pub fn event(&mut self) -> std::result::Result<&[u8], Errno> {
        receive(&self.fd, &mut self.buffer)
    }

    fn send(&mut self, batch: &[Message], flags: u16) -> std::result::Result<(), Refused> {
        let mut datagram = Vec::with_capacity(1024);
        for message in batch {
            message.write(NLM_F_REQUEST | flags, self.seq, &mut datagram);
            self.seq += 1;
        }
        self.send_bytes(&datagram)
    }

    fn send_bytes(&self, datagram: &[u8]) -> std::result::Result<(), Refused> {
        loop {
            match send(self.fd.as_raw_fd(), datagram, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Refused { at: 0, errno }),
            }
        }
    }

    /// Awaits the answers to `count` messages from sequence number `first` on.
    fn answers(&mut self, first: u32, count: usize) -> std::result::Result<(), Refused> {
        let mut left = count;
        let mut worst: Option<Refused> = None;
        while left > 0 {
            let datagram = receive(&self.fd, &mut self.buffer)
                .map_err(|errno| worst.unwrap_or(Refused { at: 0, errno }))?;
            for message in messages(datagram).filter(|m| m.kind == NLMSG_ERROR) {
                let at = message.seq.wrapping_sub(first) as usize;
                let errno = errno_of(message.body);
                if at < count {
                    left -= 1;
                } else if message.seq == first.wrapping_sub(1) && errno.is_some() {
                    // The batch as a whole: nothing else will be said.
                    left = 0;
                } else {
                    continue;
                }
                if let (None, Some(errno)) = (worst, errno) {
                    worst = Some(Refused { at, errno });
                }
                if left == 0 {
                    break;
                }
            }
        }
        worst.map_or(Ok(()), Err)
    }
}

fn receive<'a>(fd: &OwnedFd, buffer: &'a mut [u8]) -> std::result::Result<&'a [u8], Errno> {
    let length = loop {
        match recv(fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => break length,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    };
    Ok(&buffer[..length])
}

/// The error in a `struct nlmsgerr`; `None` is an acknowledgement.
fn errno_of(body: &[u8]) -> Option<Errno> {
    match i32::from_ne_bytes(take(body, 0).unwrap_or_default()) {
        0 => None,
        code => Some(Errno::from_raw(-code)),
    }
}

/// An answer that lacks what it must have.
pub fn torn(what: &str) -> Error {
    Error::new(Kind::Internal, format!("netlink answer about {what} is torn"))
}
