//! What the streaming server wants from the runtime.

use async_trait::async_trait;
use rrun_cri_api::v1::{AttachRequest, ExecRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// The runtime, as the streaming server sees it. Errors are texts for the person at the client.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Runs a command with the given stdio and resolves to its exit code (0–255) after it was
    /// reaped and all of its output was written to `io`: nothing is sent after that.
    /// Dropping the future means that the client has gone: the command's tree is to be killed.
    async fn exec(&self, request: ExecRequest, io: Stdio) -> Result<i32, String>;

    /// Attaches to the first process of a container until it ends, or until the end of the input
    /// ends the attach. Dropping the future detaches.
    async fn attach(&self, request: AttachRequest, io: Stdio) -> Result<(), String>;

    /// Connects to `port` on the loopback of a pod's network.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>, String>;
}

/// The client's side of a command. Streams that the request does not ask for are absent; with a
/// terminal its output is `stdout`.
pub struct Stdio {
    /// End of file is the client's; an error is the loss of the client, and not an end of input.
    pub stdin: Option<BoxReader>,
    /// Bounded: a write waits for the client to read. Dropping or shutting down ends nothing.
    pub stdout: Option<BoxWriter>,
    /// As `stdout`.
    pub stderr: Option<BoxWriter>,
    /// The last size of the client's terminal; `None` until it told one.
    pub size: watch::Receiver<Option<Size>>,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Input of a command.
pub type BoxReader = Box<dyn AsyncRead + Send + Unpin>;
/// Output of a command.
pub type BoxWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// A forwarded connection; shutting down its writing half is an end of file for the pod.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}
