//! What a child says: one packet a message, on a Unix seqpacket socket.

use crate::call::syscall;
use crate::fdpass;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    Waiting = 1,
    Handover = 2,
    Console = 3,
    Clamped = 4,
    Failed = 5,
    Ask = 6,
}

/// What a child asks its parent to do, because it cannot do that itself; it goes on when the
/// parent has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentTask {
    /// Place it into its control groups (a scope of systemd, which wants to know the process).
    Place = 1,
    /// Write the id maps of its new user namespace.
    WriteIdMaps = 2,
    /// Run the hooks that belong into the namespaces of the runtime.
    RunHooks = 3,
    /// Tell it its process id, which it cannot see itself in a PID namespace.
    TellPid = 4,
}

impl ParentTask {
    fn from_byte(byte: u8) -> Option<ParentTask> {
        use ParentTask::{Place, RunHooks, TellPid, WriteIdMaps};
        let all = [Place, WriteIdMaps, RunHooks, TellPid];
        all.into_iter().find(|ask| *ask as u8 == byte)
    }
}

/// Why a parent does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The step of the child fails with it.
    pub errno: Errno,
    /// In words; 250 bytes of them arrive.
    pub words: String,
}

/// Which part of a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A step like any other.
    Plain = 0,
    /// No directory of `PATH` has the program.
    NotInPath = 1,
    /// The program's file cannot be looked at.
    Stat = 2,
    /// The program's file may not be executed, or is a directory.
    Access = 3,
    /// execve(2) itself.
    Execve = 4,
    /// A hook has not done what it is for; what there is to say is all of it.
    Hook = 5,
}

impl Detail {
    /// The code that a shell gives for it: 127 for a program that is not there, 126 for one that
    /// cannot be executed; 125 for a step before that.
    pub fn exit_code(self, errno: Errno) -> i32 {
        match (self, errno) {
            (Detail::Plain | Detail::Hook, _) => 125,
            (Detail::NotInPath, _) => 127,
            (_, Errno::ENOENT | Errno::ENOTDIR) => 127,
            _ => 126,
        }
    }

    fn from_byte(byte: u8) -> Detail {
        match byte {
            1 => Detail::NotInPath,
            2 => Detail::Stat,
            3 => Detail::Access,
            4 => Detail::Execve,
            5 => Detail::Hook,
            _ => Detail::Plain,
        }
    }
}

/// A message of a child.
#[derive(Debug)]
pub enum Message {
    /// All is prepared; one packet lets it go on.
    Waiting,
    /// The child has cloned the process that goes on, a child of the same parent, and ends.
    Handover {
        /// Process id, seen from the parent.
        pid: Pid,
        /// Its pidfd.
        pidfd: OwnedFd,
    },
    /// The master of its terminal.
    Console(OwnedFd),
    /// It waits for an answer to this, by [`answer`].
    Ask(ParentTask),
    /// A step did what was allowed instead of what was asked.
    Clamped(String),
    /// A step failed, the child ends.
    Failed {
        /// The step's label.
        label: String,
        /// What the kernel or the step has to say about it, or nothing.
        said: String,
        /// Which part of it.
        detail: Detail,
        /// Why.
        errno: Errno,
    },
    /// The other end is closed: the program runs, or the child is dead.
    End,
}

const HEAD: usize = 12;
const LABEL_MAX: usize = 4096;
const WORDS_MAX: usize = 256;

/// A pair of connected ends: the parent's, non-blocking, and the child's.
///
/// # Errors
/// `EMFILE` and its like.
pub fn channel() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (parent, child) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_RDWR;
    nix::fcntl::fcntl(&parent, nix::fcntl::FcntlArg::F_SETFL(flags))?;
    Ok((parent, child))
}

/// Reads one message.
///
/// # Errors
/// `EAGAIN` when there is none yet, `EBADMSG` for one that no child sends.
pub fn receive(channel: BorrowedFd<'_>) -> Result<Message, Errno> {
    let mut buffer = [0; HEAD + LABEL_MAX + 1 + WORDS_MAX];
    let mut fds = Vec::new();
    let length = fdpass::receive(channel, &mut buffer, &mut fds)?;
    if length == 0 {
        return Ok(Message::End);
    }
    parse(buffer.get(..length).ok_or(Errno::EBADMSG)?, fds).ok_or(Errno::EBADMSG)
}

fn parse(bytes: &[u8], mut fds: Vec<OwnedFd>) -> Option<Message> {
    let (head, label) = bytes.split_first_chunk::<HEAD>()?;
    let [kind, detail, _, _, e0, e1, e2, e3, p0, p1, p2, p3] = *head;
    let errno = Errno::from_raw(i32::from_ne_bytes([e0, e1, e2, e3]));
    let label = || String::from_utf8_lossy(label).into_owned();
    Some(match kind {
        k if k == MessageKind::Waiting as u8 => Message::Waiting,
        k if k == MessageKind::Handover as u8 => Message::Handover {
            pid: Pid::from_raw(i32::from_ne_bytes([p0, p1, p2, p3])),
            pidfd: fds.pop()?,
        },
        k if k == MessageKind::Console as u8 => Message::Console(fds.pop()?),
        k if k == MessageKind::Ask as u8 => Message::Ask(ParentTask::from_byte(detail)?),
        k if k == MessageKind::Clamped as u8 => Message::Clamped(label()),
        k if k == MessageKind::Failed as u8 => {
            let text = label();
            // No label has a NUL: it ends where the words begin.
            let (label, said) = text.split_once('\0').unwrap_or((&text, ""));
            let (label, said) = (label.to_owned(), said.trim().to_owned());
            Message::Failed { label, said, detail: Detail::from_byte(detail), errno }
        }
        _ => return None,
    })
}

/// Answers what a child has asked.
///
/// # Errors
/// `EPIPE` and `ECONNRESET` when it is gone.
pub fn answer(channel: BorrowedFd<'_>, answer: &Result<(), Refusal>) -> Result<(), Errno> {
    let mut packet = vec![];
    match answer {
        Ok(()) => packet.extend(0_i32.to_ne_bytes()),
        Err(refusal) => {
            packet.extend((refusal.errno as i32).to_ne_bytes());
            packet.extend(refusal.words.bytes().take(ANSWER_MAX - 4));
        }
    }
    fdpass::send(channel, &packet, &[]).map(drop)
}

/// Answers [`ParentTask::TellPid`].
///
/// # Errors
/// As [`answer`].
pub fn tell_pid(channel: BorrowedFd<'_>, pid: Pid) -> Result<(), Errno> {
    let mut packet = 0_i32.to_ne_bytes().to_vec();
    packet.extend(pid.to_string().into_bytes());
    fdpass::send(channel, &packet, &[]).map(drop)
}

/// The longest answer: an errno and words.
pub(super) const ANSWER_MAX: usize = 254;

/// Asks; the answer is read from the channel.
pub(super) fn send_ask(channel: RawFd, ask: ParentTask) -> Result<(), Errno> {
    let mut head = head(MessageKind::Ask, Detail::Plain, 0, 0);
    head[1] = ask as u8;
    send_packet(channel, head, [&[], &[]], None)
}

/// Says something without a descriptor; a parent that is gone does not matter here.
pub(super) fn send(channel: RawFd, kind: MessageKind, label: &[u8]) {
    let _ = send_packet(channel, head(kind, Detail::Plain, 0, 0), [label, &[]], None);
}

/// `text` is the step's label, and what there is to say about it.
pub(super) fn send_failure(channel: RawFd, detail: Detail, errno: Errno, text: [&[u8]; 2]) {
    let _ = send_packet(channel, head(MessageKind::Failed, detail, errno as i32, 0), text, None);
}

pub(super) fn send_fd(channel: RawFd, kind: MessageKind, pid: i32, fd: RawFd) -> Result<(), Errno> {
    send_packet(channel, head(kind, Detail::Plain, 0, pid), [&[], &[]], Some(fd))
}

fn head(kind: MessageKind, detail: Detail, errno: i32, pid: i32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = kind as u8;
    head[1] = detail as u8;
    head[4..8].copy_from_slice(&errno.to_ne_bytes());
    head[8..12].copy_from_slice(&pid.to_ne_bytes());
    head
}

/// A control message with one descriptor: cmsg(3). Eight-byte aligned as the kernel wants it.
#[repr(C, align(8))]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    fd: RawFd,
}

fn send_packet(
    channel: RawFd,
    head: [u8; HEAD],
    text: [&[u8]; 2],
    fd: Option<RawFd>,
) -> Result<(), Errno> {
    let [label, said] = text;
    let label = label.get(..LABEL_MAX).unwrap_or(label);
    let end: &[u8] = if said.is_empty() { &[] } else { &[0] };
    send_parts(channel, [&head, label, end, said], fd).map(drop)
}

/// sendmsg(2) by hand, because the child may not allocate. How many bytes were taken.
pub(super) fn send_parts<const N: usize>(
    socket: RawFd,
    parts: [&[u8]; N],
    fd: Option<RawFd>,
) -> Result<usize, Errno> {
    let iov = parts.map(|part: &[u8]| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    let rights = Rights {
        length: size_of::<usize>() + 3 * size_of::<i32>(),
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        fd: fd.unwrap_or(-1),
    };
    // SAFETY: a msghdr of zeros is valid (and it has padding that cannot be written otherwise).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov.as_ptr().cast_mut();
    // How wide these are is the C library's choice.
    message.msg_iovlen = iov.len() as _;
    if fd.is_some() {
        message.msg_control = std::ptr::from_ref(&rights).cast_mut().cast();
        message.msg_controllen = size_of::<Rights>() as _;
    }
    let pointer = std::ptr::from_ref(&message);
    // SAFETY: the message points at live buffers, which sendmsg only reads.
    let sent = unsafe { syscall!(libc::SYS_sendmsg, socket, pointer, libc::MSG_NOSIGNAL)? };
    Ok(sent as usize)
}
