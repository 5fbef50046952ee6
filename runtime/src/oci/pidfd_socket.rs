//! A pidfd of the process goes to whoever listens at `--pidfd-socket`.

use rrun_runtime::run::Child;
use rrun_runtime::{Context, Result};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection to the socket, made before anything else so that a wrong path costs nothing.
pub fn connect(path: Option<&Path>) -> Result<Option<UnixStream>> {
    let connect = |path: &Path| {
        UnixStream::connect(path).context(|| format!("connect to {}", path.display()))
    };
    path.map(connect).transpose()
}

/// Sends it, as runc does: one message, whose bytes say what kind of process it is.
pub fn hand_over(child: &Child, kind: &str, socket: &UnixStream) -> Result<()> {
    let sent = rrun_sys::fdpass::send(socket.as_fd(), kind.as_bytes(), &[child.pidfd()]);
    sent.context(|| "send the pidfd").map(|_| ())
}
