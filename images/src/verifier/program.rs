//! One program: called, given its input, waited for as long as it may take, and nothing of it left
//! behind.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::{Context, Error, Kind, Result};

/// Of what a program writes, so much is read; the rest is passed over.
const MOST: u64 = 32 << 10;
/// A file that is being replaced is busy for as long as it is written.
const BUSY_TRIES: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// A program that runs. Dropped, it is killed with what it started.
pub(super) struct Running {
    /// Before the child, which is reaped when it is dropped.
    group: Group,
    child: Child,
}

/// What a program said.
pub(super) struct Ended {
    /// How it ended, if that is a refusal.
    pub refused: Option<String>,
    /// Its standard output, without blanks around it.
    pub reason: String,
    /// Its standard error.
    pub said: String,
}

/// Starts it. Blocks.
pub(super) fn start(path: &Path, args: &[String]) -> Result<Running> {
    let mut command = Command::new(path);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that what it started can be killed with it.
        .process_group(0)
        .kill_on_drop(true);
    rrun_sys::limit::hand_down(command.as_std_mut());
    let mut tries = 0;
    let child = loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                std::thread::sleep(BUSY_WAIT);
            }
            spawned => break spawned.context("start")?,
        }
    };
    Ok(Running { group: Group(child.id()), child })
}

impl Running {
    /// Lets it run to its end.
    ///
    /// # Errors
    /// `Unavailable` if it is not done within `limit`; then it is killed.
    pub(super) async fn end(self, stdin: &[u8], limit: Duration) -> Result<Ended> {
        let Running { mut child, group } = self;
        let Ok(done) = timeout(limit, converse(&mut child, stdin)).await else {
            drop(group);
            // Reaped here, as it is dead by now.
            let _ = child.wait().await;
            let why = format!("not done after {} s, killed", limit.as_secs());
            return Err(Error::new(Kind::Unavailable, why));
        };
        let (status, reason, said) = done?;
        group.disarm();
        let refused = (!status.success()).then(|| ending(status));
        Ok(Ended { refused, reason: reason.trim().to_owned(), said })
    }
}

async fn converse(child: &mut Child, input: &[u8]) -> io::Result<(ExitStatus, String, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // It need not read it (EPIPE).
            let _ = stdin.write_all(input).await;
        }
    };
    let (_, out, err, status) = tokio::join!(write, read(stdout), read(stderr), child.wait());
    Ok((status?, out?, err?))
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut left = 0;
    if let Some(mut from) = from {
        (&mut from).take(MOST).read_to_end(&mut bytes).await?;
        // Read on, so that a talkative one does not block.
        left = tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if left > 0 {
        text.push_str(&format!(" ({left} bytes more)"));
    }
    Ok(text)
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Kills the program's process group when it is dropped before the program was done.
struct Group(Option<u32>);

impl Group {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Until the program is reaped, and while what it started is in the group, no other process
        // gets the number.
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
