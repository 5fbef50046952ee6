//! ExecSync: a command run to its end.

use super::exec::start;
use super::{pipe, running};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Owner;
use crate::ports::Refusal;
use crate::session::{ExecOutput, ExecRequest};
use crate::table::{Container, Pod, Shared};
use crate::verbs::span_of;
use nix::errno::Errno;
use rrun_shim_protocol::ExitReason;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tracing::Instrument;

/// The client takes 16 MiB for the whole reply; both outputs together stay below that.
const OUTPUT_MAX: usize = (16 << 20) - (64 << 10);

/// How long the end of a command may be told after its deadline, which the shim keeps.
const LATE: Duration = Duration::from_secs(10);

/// Runs a command in a running container to its end.
pub(crate) async fn exec_sync(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput> {
    let what = || format!("exec in {id}");
    if command.is_empty() {
        return Err(Error::invalid("no command given").context(what()));
    }
    let (pod, container) = running(engine, owner, id).context(what)?;
    let span = span_of("ExecSync", &pod, &container);
    to_its_end(engine, (&pod, &container), command, timeout).instrument(span).await.context(what)
}

async fn to_its_end(
    engine: &Arc<Shared>,
    (pod, container): (&Arc<Pod>, &Arc<Container>),
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput> {
    let _place = engine.for_commands.take(&pod.id, timeout).await?;
    let request = ExecRequest { command, stdout: true, stderr: true, ..ExecRequest::default() };
    let (out, its_out) = pipe()?;
    let (err, its_err) = pipe()?;
    let stdio = [None, Some(its_out), Some(its_err)];
    let started = match start(engine, (pod, container), &request, stdio, timeout).await {
        Ok(started) => started,
        Err(Refusal { code: Some(code), error }) => {
            let stderr = format!("{error}\n").into_bytes();
            return Ok(ExecOutput { stdout: Vec::new(), stderr, code });
        }
        Err(refusal) => return Err(refusal.error),
    };
    let receiver = |fd| Receiver::from_owned_fd(fd).context(|| "read the output");
    let (room, (end, over)) = (Room::new(OUTPUT_MAX), watch::channel(false));
    let exit = async {
        let limit = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_add(LATE));
        let exit = match tokio::time::timeout(limit, started.exec.exit()).await {
            Ok(exit) => exit,
            Err(_) => Err(Error::new(Kind::Timeout, "the shim does not tell its end")),
        };
        end.send_replace(true);
        exit
    };
    let (exit, stdout, stderr) = tokio::join!(
        exit,
        drain(receiver(out)?, &room, over.clone()),
        drain(receiver(err)?, &room, over.clone()),
    );
    let dropped = room.dropped.into_inner();
    if dropped > 0 {
        // Whoever called is not told: the CRI has no field for it, and words would be output.
        tracing::warn!(container = %container.id, bytes = dropped, "ExecSync: output is lost");
    }
    let exit = exit?;
    if exit.reason == ExitReason::Timeout {
        let message = format!("timed out after {:?}", timeout.unwrap_or_default());
        return Err(Error::new(Kind::Timeout, message));
    }
    let read = |result: io::Result<Vec<u8>>| result.context(|| "read the output");
    Ok(ExecOutput { stdout: read(stdout)?, stderr: read(stderr)?, code: exit.code })
}

/// Reads to the end of the file, or to what is there when the command is over: a child that went
/// into the background may hold the pipe for ever. What finds no room is read and dropped.
async fn drain(
    mut pipe: Receiver,
    room: &Room,
    mut over: watch::Receiver<bool>,
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = tokio::select! {
            biased;
            count = pipe.read(&mut chunk) => count?,
            _ = over.wait_for(|over| *over) => break,
        };
        if count == 0 {
            return Ok(all);
        }
        room.keep(&mut all, &chunk[..count]);
    }
    // Asks the kernel: the runtime may not have heard yet that there is something to read.
    loop {
        match nix::unistd::read(&pipe, &mut chunk) {
            Ok(0) | Err(Errno::EAGAIN) => return Ok(all),
            Ok(count) => room.keep(&mut all, &chunk[..count]),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What both outputs together may still take, and how much found no room.
struct Room {
    left: AtomicUsize,
    dropped: AtomicUsize,
}

impl Room {
    fn new(bytes: usize) -> Room {
        Room { left: AtomicUsize::new(bytes), dropped: AtomicUsize::new(0) }
    }

    fn keep(&self, all: &mut Vec<u8>, chunk: &[u8]) {
        let take = |left: usize| Some(left.saturating_sub(chunk.len()));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let kept = chunk.len().min(before.unwrap_or(0));
        all.extend_from_slice(&chunk[..kept]);
        self.dropped.fetch_add(chunk.len() - kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_that_finds_no_room_is_dropped_and_counted_and_the_pipe_is_still_drained() {
        let (read, write) = pipe().unwrap();
        let writer = std::thread::spawn(move || {
            std::io::Write::write_all(&mut std::fs::File::from(write), &[7; 300_000]).unwrap();
        });
        let (_end, over) = watch::channel(false);
        let room = Room::new(100_000);
        let all = drain(Receiver::from_owned_fd(read).unwrap(), &room, over).await.unwrap();
        writer.join().unwrap();
        assert_eq!(all.len(), 100_000);
        assert_eq!((room.left.into_inner(), room.dropped.into_inner()), (0, 200_000));
    }

    #[tokio::test]
    async fn a_pipe_that_stays_open_does_not_outlast_the_command() {
        let (read, write) = pipe().unwrap();
        nix::unistd::write(&write, b"done").unwrap();
        let (end, over) = watch::channel(false);
        end.send_replace(true);
        let room = Room::new(100);
        let all = drain(Receiver::from_owned_fd(read).unwrap(), &room, over).await.unwrap();
        assert_eq!(all, b"done");
        drop(write);
    }
}
