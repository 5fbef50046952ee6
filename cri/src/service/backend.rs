//! The streaming server's view of the engine.

use super::descriptor::Descriptor;
use crate::streaming::{Backend, BoxReader, BoxWriter, Connection, Size, Stdio};
use rrun_blocking::Pool;
use rrun_cri_api::v1::{AttachRequest, ExecRequest};
use rrun_engine::{Engine, Owner, Session};
use rrun_error::reason;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::async_trait;

/// How long a connection into a pod may take: it goes to the pod's own loopback.
const CONNECT: Duration = Duration::from_secs(5);

/// Sockets that are made in pods at a time. Whether anybody answers there is waited for without a
/// place: a pod in which nobody does holds up no other.
static SOCKETS: Pool = Pool::new(32);

/// How long output may still come, after a command has ended, from what it left behind.
const DRAIN: Duration = Duration::from_secs(2);

/// Streams of one owner's pods.
pub(super) struct EngineStreams {
    engine: Engine,
    owner: Owner,
}

impl EngineStreams {
    pub(super) fn new(engine: Engine, owner: Owner) -> EngineStreams {
        EngineStreams { engine, owner }
    }
}

#[async_trait]
impl Backend for EngineStreams {
    async fn exec(&self, request: ExecRequest, io: Stdio) -> Result<i32, String> {
        let wanted = rrun_engine::ExecRequest {
            command: request.cmd,
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            size: io.size.borrow().map(|size| (size.height, size.width)),
        };
        let id = &request.container_id;
        let mut session = self.engine.exec(&self.owner, id, wanted).await.map_err(text)?;
        let streams = Streams::take(&mut session, io).map_err(text)?;
        let Streams { input, output, size } = streams;
        let running = async {
            let ended = async {
                let exit = session.wait().await.map_err(text)?;
                Ok::<i32, String>(exit.code)
            };
            let (code, ()) = end_of_output(ended, output).await;
            code
        };
        // Dropping the input drops the command's stdin: its end must not end the command.
        let input = async {
            input.run().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            code = running => code,
            () = input => Err("unreachable: the input waits for the command".to_owned()),
            () = follow(&session, size) => Err("the terminal's size is told no more".to_owned()),
        }
    }

    async fn attach(&self, request: AttachRequest, io: Stdio) -> Result<(), String> {
        let id = &request.container_id;
        let status = self.engine.container_status(&self.owner, id, false).await.map_err(text)?;
        let waits_for_end = status.config.stdin_once && !status.config.tty;
        let wanted = rrun_engine::AttachRequest {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let mut session = self.engine.attach(&self.owner, id, wanted).await.map_err(text)?;
        let Streams { input, output, size } = Streams::take(&mut session, io).map_err(text)?;
        let has_input = input.is_there();
        let session = &session;
        let typed = async {
            input.run().await;
            if waits_for_end {
                let _ = session.close_stdin().await;
            }
            if waits_for_end || !has_input {
                std::future::pending::<()>().await;
            }
        };
        let ended = async { session.wait().await.map(drop).map_err(text) };
        tokio::select! {
            (end, ()) = end_of_output(ended, output) => end,
            () = typed => Ok(()),
            () = follow(session, size) => Err("the terminal's size is told no more".to_owned()),
        }
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>, String> {
        let netns = self.engine.pod_netns(&self.owner, sandbox).await.map_err(text)?;
        let connected = connect(netns, port).await;
        let what = |error: io::Error| format!("connect to localhost:{port}: {}", reason(&error));
        Ok(Box::new(connected.map_err(what)?))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Waits for the end, and then a little for output that is still on its way.
async fn end_of_output<T>(
    ended: impl Future<Output = T>,
    output: impl Future<Output = ()>,
) -> (T, ()) {
    let mut output = std::pin::pin!(output);
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        end = &mut ended => (end, timeout(DRAIN, output).await.unwrap_or(())),
        () = &mut output => (ended.await, ()),
    }
}

/// Tells the terminal each new size of the client's. Ends never.
async fn follow(session: &Session, mut size: watch::Receiver<Option<Size>>) {
    while size.changed().await.is_ok() {
        let new = *size.borrow_and_update();
        if let Some(Size { width, height }) = new {
            let _ = session.resize(height, width).await;
        }
    }
    std::future::pending::<()>().await;
}

/// Both sides of a session, ready to be copied.
struct Streams<O> {
    input: Input,
    output: O,
    size: watch::Receiver<Option<Size>>,
}

struct Input(Option<(BoxReader, Descriptor)>);

impl Input {
    fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Copies to the end of the client's input, and lets the container see that end.
    async fn run(self) {
        if let Some((mut reader, mut writer)) = self.0
            && copy(&mut reader, &mut writer).await.is_err()
        {
            // The client is lost, or the container reads no more: either is told elsewhere.
        }
    }
}

impl Streams<()> {
    fn take(
        session: &mut Session,
        io: Stdio,
    ) -> io::Result<Streams<impl Future<Output = ()> + use<>>> {
        let input = pair(io.stdin, session.stdin.take())?;
        let stdout = pair(io.stdout, session.stdout.take())?;
        let stderr = pair(io.stderr, session.stderr.take())?;
        let output = async {
            tokio::join!(pump(stdout), pump(stderr));
        };
        Ok(Streams { input: Input(input), output, size: io.size })
    }
}

fn pair<T>(client: Option<T>, fd: Option<OwnedFd>) -> io::Result<Option<(T, Descriptor)>> {
    match (client, fd) {
        (Some(client), Some(fd)) => Ok(Some((client, Descriptor::new(fd)?))),
        _ => Ok(None),
    }
}

async fn pump(stream: Option<(BoxWriter, Descriptor)>) {
    if let Some((mut writer, mut reader)) = stream {
        let _ = copy(&mut reader, &mut writer).await;
        let _ = writer.flush().await;
    }
}

/// Connects inside the pod's network namespace, or the host's.
async fn connect(netns: Option<OwnedFd>, port: u16) -> io::Result<TcpStream> {
    let netns = netns.map(Arc::new);
    match dial(netns.clone(), (Ipv4Addr::LOCALHOST, port).into()).await {
        Err(error) => dial(netns, (Ipv6Addr::LOCALHOST, port).into()).await.map_err(|_| error),
        connected => connected,
    }
}

/// A socket stays in the namespace that it was made in, so it can be waited for outside.
async fn dial(netns: Option<Arc<OwnedFd>>, to: SocketAddr) -> io::Result<TcpStream> {
    let make = move || match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = SOCKETS.run(move || match netns {
        Some(netns) => rrun_sys::netns::run_in(&netns, make)?,
        None => make(),
    });
    let connected = timeout(CONNECT, socket.await?.connect(to)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use tokio::task::{JoinSet, yield_now};

    /// A listener whose backlog holds one connection.
    fn listener() -> TcpListener {
        let (family, kind) = (AddressFamily::Inet, SockType::Stream);
        let socket = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        socket::bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        socket::listen(&socket, Backlog::new(0).unwrap()).unwrap();
        socket.into()
    }

    #[tokio::test]
    async fn connections_that_nobody_answers_hold_up_no_other() {
        let (silent, good) = (listener(), listener());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let mut dials = JoinSet::new();
        for _ in 0..200 {
            dials.spawn(connect(None, port(&silent)));
        }
        // Whoever has come before it has its place back, and none is answered.
        for _ in 0..1_000 {
            yield_now().await;
        }
        let connected = connect(None, port(&good)).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap().port(), port(&good));
        let mut answered = 0;
        while let Some(Ok(dial)) = dials.try_join_next() {
            answered += usize::from(dial.is_ok());
        }
        assert!(answered < 10, "{answered}");
        assert!(!dials.is_empty(), "each waits for its limit");
    }
}
