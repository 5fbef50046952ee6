//! The streaming server's view of the engine.

use super::descriptor::Descriptor;
use super::forwarded::Forwarded;
use crate::streaming::{Backend, BoxReader, BoxWriter, Connection, Size, Stdio};
use rrun_cri_api::v1::{AttachRequest, ExecRequest};
use rrun_engine::{Engine, Owner, Session};
use rrun_error::reason;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::async_trait;

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
        let way = self.engine.forward(&self.owner, sandbox).await.map_err(text)?;
        let connected = Forwarded::connect(way, port).await;
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
