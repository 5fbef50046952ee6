//! File descriptors over Unix stream sockets: unix(7), `SCM_RIGHTS`.
//!
//! On a stream the descriptors ride on the write they were sent with, and a read ends after such
//! a write's bytes. So they arrive in order, and at the latest with the last byte of what was
//! written; a frame says how many are its own, and the reader keeps them in a queue.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors that travel with one frame. The kernel's own limit is 253.
pub const MAX_FDS: usize = 16;

/// Writes some of `bytes`, with `fds` riding on the first of them; returns how many were taken.
///
/// # Errors
/// `EAGAIN` on a full non-blocking socket, `EPIPE` without a reader (no SIGPIPE is raised).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)
}

/// Reads some bytes into `buffer` and appends the descriptors that came with them to `fds`; 0 is
/// the end of the stream. Descriptors are close-on-exec.
///
/// # Errors
/// `EAGAIN` on an empty non-blocking socket; `EMSGSIZE` when the peer sent more descriptors than
/// [`MAX_FDS`] (the kernel has dropped the rest, the connection is of no more use).
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut iov = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut iov, Some(&mut control), flags)?;
    let truncated = message.flags.contains(MsgFlags::MSG_CTRUNC);
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            for fd in raw {
                // SAFETY: the kernel has just installed this descriptor for us; nobody else in
                // this process knows its number.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    if truncated { Err(Errno::EMSGSIZE) } else { Ok(message.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_read_ends_after_the_bytes_that_carry_a_descriptor() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        (&a).write_all(b"before").unwrap();
        assert_eq!(send(a.as_fd(), b"frame", &[reader.as_fd()]), Ok(5));
        let mut fds = Vec::new();
        let mut buffer = [0; 64];
        (&a).write_all(b"after").unwrap();
        assert_eq!(receive(b.as_fd(), &mut buffer, &mut fds), Ok(11));
        assert_eq!(fds.len(), 1);
        assert_eq!(receive(b.as_fd(), &mut buffer, &mut fds), Ok(5));
        assert_eq!(fds.len(), 1);
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }
}
