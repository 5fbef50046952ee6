//! Streams of an exec or an attach, in the hands of the streaming server.

use crate::error::Result;
use crate::status::ContainerExit;
use rrun_blocking::Place;
use std::os::fd::OwnedFd;

/// What to run in a container.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// On a terminal: `stdin` and `stdout` of the session are its master then.
    pub tty: bool,
    /// Input is wanted.
    pub stdin: bool,
    /// Output is wanted.
    pub stdout: bool,
    /// Error output is wanted; not with `tty`.
    pub stderr: bool,
    /// Rows and columns at the start.
    pub size: Option<(u16, u16)>,
}

/// Which streams of a container's first process to attach to.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct AttachRequest {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The output of a command that ran to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, cut so that both together stay below 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// Exit code, 128 + n for signal n; 127 for a missing program, 126 for one that cannot run.
    pub code: i32,
}

/// The way for one forwarded connection.
pub struct Forward {
    /// The pod's network namespace; `None`: it has the host's.
    pub netns: Option<OwnedFd>,
    /// Held for as long as the connection is there.
    pub place: Place,
}

/// Open streams, all blocking descriptors.
///
/// A terminal's master reads `EIO` at its end. The end of the session is told by
/// [`Session::wait`]; drain the output first.
pub struct Session {
    /// Write end of its input: drop it for an end of file.
    pub stdin: Option<OwnedFd>,
    /// Read end of its output, or the terminal's master.
    pub stdout: Option<OwnedFd>,
    /// Read end of its error output.
    pub stderr: Option<OwnedFd>,
    pub(crate) handle: Box<dyn Handle>,
}

/// The far end of a session.
#[async_trait::async_trait]
pub(crate) trait Handle: Send + Sync {
    async fn resize(&self, rows: u16, columns: u16) -> Result<()>;
    async fn close_stdin(&self) -> Result<()>;
    async fn wait(&self) -> Result<ContainerExit>;
}

impl Session {
    /// Gives the terminal a size; nothing without one.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.handle.resize(rows, columns).await
    }

    /// After the client's end of input was met and [`Session::stdin`] dropped: lets an attached
    /// container with `stdin_once` read its end of file too. Nothing for an exec.
    pub async fn close_stdin(&self) -> Result<()> {
        self.handle.close_stdin().await
    }

    /// Waits for the end of the exec, or of the attached container. Dropping the session before
    /// ends an exec with its tree; an attached container goes on.
    pub async fn wait(&self) -> Result<ContainerExit> {
        self.handle.wait().await
    }
}
