//! The terminal's master goes to whoever listens at `--console-socket`.

use crate::invalid;
use crate::relay::Relay;
use rrun_runtime::run::{Child, Stdio};
use rrun_runtime::{Context, Error, Kind, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection to the socket, made before anything else so that a wrong path costs nothing.
/// `None` without a terminal, and in the foreground without a socket: this process copies then.
pub fn connect(
    terminal: bool,
    socket: Option<&Path>,
    foreground: bool,
) -> Result<Option<UnixStream>> {
    match (terminal, socket) {
        (false, None) => Ok(None),
        (true, None) if foreground => Ok(None),
        (true, None) => Err(invalid("a terminal needs --console-socket")),
        (false, Some(_)) => Err(invalid("--console-socket needs a terminal")),
        (true, Some(path)) => {
            UnixStream::connect(path).context(|| format!("connect to {}", path.display())).map(Some)
        }
    }
}

/// Sends the master of a child's terminal, as runc does: one message, whose bytes are a name.
pub fn hand_over(child: &mut Child, socket: &UnixStream) -> Result<()> {
    let master = child
        .take_console()
        .ok_or_else(|| Error::new(Kind::Kernel, "the process has opened no terminal"))?;
    send(&master, socket)
}

/// Sends the master of a terminal.
pub fn send(master: &OwnedFd, socket: &UnixStream) -> Result<()> {
    let sent = rrun_sys::fdpass::send(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()]);
    sent.context(|| "send the terminal").map(|_| ())
}

/// The terminal of a program in the foreground, unless somebody else has got it.
pub fn relay(child: &mut Child) -> Result<Option<Relay>> {
    child.take_console().map(Relay::new).transpose()
}

/// This process's own standard descriptors.
pub fn own_stdio() -> Result<Stdio> {
    let copy = |fd: BorrowedFd<'_>| -> Result<OwnedFd> {
        fd.try_clone_to_owned().context(|| "copy stdio")
    };
    Ok(Stdio {
        stdin: copy(std::io::stdin().as_fd())?,
        stdout: copy(std::io::stdout().as_fd())?,
        stderr: copy(std::io::stderr().as_fd())?,
    })
}
