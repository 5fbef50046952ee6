//! The execution of one plugin: environment, configuration on stdin, answer on stdout, a time that
//! it may take, and nothing of it left behind.

use super::answer::failure;
use crate::error::{Context, Error, Kind, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// More than any plugin says; what is beyond is not read.
const MAX_ANSWER: u64 = 8 << 20;
const MAX_NOISE: u64 = 64 << 10;
/// A binary that is being replaced is busy for as long as it is written.
const BUSY_TRIES: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// A plugin's file: the first of its name in `dirs`.
pub fn find(dirs: &[PathBuf], name: &str) -> Result<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        Error::new(Kind::NotFound, format!("not found in [{}]", dirs.join(" ")))
    })
}

/// A plugin that runs. Dropped, it is killed with what it started.
pub struct Running {
    /// Before the child, which is reaped when it is dropped.
    group: Group,
    child: Child,
}

/// Starts a plugin. Blocks.
pub fn start(program: &Path, env: &[(&str, String)]) -> Result<Running> {
    let mut command = Command::new(program);
    command
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that what it started can be killed with it.
        .process_group(0)
        .kill_on_drop(true);
    rrun_sys::limit::hand_down(command.as_std_mut());
    let child = spawn(&mut command).context(|| program.display())?;
    Ok(Running { group: Group(child.id()), child })
}

impl Running {
    /// Lets the plugin run to its end: what it wrote to stdout.
    ///
    /// # Errors
    /// What the plugin says; `Timeout`.
    pub async fn answer(self, stdin: &[u8], limit: Duration) -> Result<Vec<u8>> {
        let Running { mut child, group } = self;
        let answer = timeout(limit, converse(&mut child, stdin)).await;
        let Ok(answer) = answer else {
            drop(group);
            // Reaped here, as it is dead by now.
            let _ = child.wait().await;
            let text = format!("not done after {} s, killed", limit.as_secs());
            return Err(Error::new(Kind::Timeout, text));
        };
        let (status, stdout, stderr) = answer?;
        group.disarm();
        match status.success() {
            true => Ok(stdout),
            false => Err(failure(&ending(status), &stdout, &stderr)),
        }
    }
}

fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(e) if e.raw_os_error() == Some(libc::ETXTBSY) && tries < BUSY_TRIES => {
                tries += 1;
                sleep(BUSY_WAIT);
            }
            spawned => return spawned,
        }
    }
}

async fn converse(child: &mut Child, input: &[u8]) -> Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A plugin need not read it (EPIPE).
            let _ = stdin.write_all(input).await;
        }
    };
    let (_, out, err, status) =
        tokio::join!(write, read(stdout, MAX_ANSWER), read(stderr, MAX_NOISE), child.wait());
    Ok((status?, out?, err?))
}

async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(limit).read_to_end(&mut bytes).await?;
        // Read on, so that a talkative one does not block.
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// Kills the plugin's process group when it is dropped before the plugin was done.
struct Group(Option<u32>);

impl Group {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The plugin is not reaped yet, so the number is still its own.
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
