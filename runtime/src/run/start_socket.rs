//! A start by another process than the one that created, as the OCI command line has it.
//!
//! The init waits at a listening socket instead of its parent's channel; whoever connects lets it
//! go, and hears how its execve went.

use super::child::worded;
use super::compile::Inputs;
use super::{Beside, Child, Stdio};
use crate::plan::Plan;
use crate::{Context, Error, Kind, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use rrun_sys::program::report::{self, Message};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// As [`super::spawn`], with an init that waits at a socket made at `path` (at most 107 bytes of
/// path, in a folder that only root may enter). The caller may end after [`Child::wait_placed`];
/// it must not [`Child::release`].
///
/// # Errors
/// As [`super::spawn`].
pub fn spawn(
    plan: &Plan,
    slots: &[BorrowedFd<'_>],
    stdio: Option<Stdio>,
    path: &Path,
    beside: Beside,
) -> Result<Child> {
    let context = || format!("make the socket {}", path.display());
    let socket = packets().context(context)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path).context(context)?).context(context)?;
    let spawned =
        Backlog::new(1).and_then(|one| listen(&socket, one)).context(context).and_then(|()| {
            let start_socket = Some(socket);
            let given = Inputs { slots, stdio, start_socket, beside, ..Default::default() };
            super::spawn_given(plan, given)
        });
    if spawned.is_err() {
        let _ = std::fs::remove_file(path);
    }
    spawned
}

/// Lets the init that waits at `path` go, waits until it runs its program, and removes the socket.
///
/// # Errors
/// As [`Child::advance`]; `NotFound` when nobody waits.
pub fn release(path: &Path) -> Result<()> {
    let context = || format!("connect to {}", path.display());
    let socket = packets().context(context)?;
    let connected = connect(socket.as_raw_fd(), &UnixAddr::new(path).context(context)?);
    if connected == Err(Errno::ECONNREFUSED) {
        return Err(Error::new(Kind::NotFound, "nobody waits").context(context()));
    }
    connected.context(context)?;
    let went = follow(socket.as_fd());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => went.and(Err(error).context(context)),
        _ => went,
    }
}

fn follow(socket: BorrowedFd<'_>) -> Result<()> {
    loop {
        match report::receive(socket) {
            Ok(Message::End) => return Ok(()),
            Ok(Message::Failed { label, said, detail, errno }) => {
                return Err(worded(&label, &said, detail, errno));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::from(errno).context("read the socket of a start")),
        }
    }
}

fn packets() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}
