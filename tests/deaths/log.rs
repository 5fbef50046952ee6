//! The step log as it is written: who has reached which point, and who has stopped there.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// How long what is waited for may take; nothing is expected to take it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process at a point of a step, `program/step:side`.
#[derive(Clone, Debug)]
pub struct Passed {
    pub pid: Pid,
    pub point: String,
}

/// What programs write to `RRUN_STEP_LOG`: a named pipe here, so that each line is an event.
pub struct Log {
    path: PathBuf,
    lines: mpsc::UnboundedReceiver<Passed>,
}

impl Log {
    /// Makes the pipe, which is read as long as the runtime lives: a shim may outlive its point.
    pub fn make(path: &Path) -> Result<Log> {
        let make = || format!("make {}", path.display());
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).with_context(make)?;
        // Open for writing as well: it does not end with its first writer.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path);
        let mut pipe = BufReader::new(pipe.with_context(make)?).lines();
        let (tell, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = pipe.next_line().await {
                if let Some(passed) = parse(&line)
                    && tell.send(passed).is_err()
                {
                    break;
                }
            }
        });
        Ok(Log { path: path.to_owned(), lines })
    }

    /// For `RRUN_STEP_LOG`.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Forgets what was written so far.
    pub fn clear(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// The next process that reaches a point.
    pub async fn next(&mut self) -> Result<Passed> {
        self.lines.recv().await.context("the step log has ended")
    }

    /// Waits until somebody has stopped at `point`; the answer has all others who live and have
    /// passed a point, too.
    pub async fn stopped_at(&mut self, point: &str) -> Result<(Pid, BTreeSet<Pid>)> {
        let mut all = BTreeSet::new();
        loop {
            let passed = self.next().await?;
            all.insert(passed.pid);
            if passed.point == point {
                await_stop(passed.pid).await?;
                all.remove(&passed.pid);
                all.retain(|pid| self.is_read_from(*pid));
                return Ok((passed.pid, all));
            }
        }
    }
}

impl Log {
    /// The process writes to this log: its number is not another's by now.
    fn is_read_from(&self, pid: Pid) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let ours = format!("RRUN_STEP_LOG={}", self.path.display());
        environment.split(|byte| *byte == 0).any(|variable| variable == ours.as_bytes())
    }
}

fn parse(line: &str) -> Option<Passed> {
    let (pid, point) = line.split_once(' ')?;
    Some(Passed { pid: Pid::from_raw(pid.parse().ok()?), point: point.to_owned() })
}

/// A line is written a few instructions before the stop. Nobody but a parent is told of a stop, so
/// this looks.
pub async fn await_stop(pid: Pid) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while state(pid).is_some_and(|state| !matches!(state, 'T' | 'Z' | 'X')) {
        if Instant::now() > deadline {
            bail!("{pid} does not stop");
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// proc_pid_stat(5); `None` for a process that is gone.
fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Stops processes and waits until they stand; those that are gone are passed over.
pub async fn freeze(pids: impl IntoIterator<Item = Pid>) -> Result<()> {
    for pid in pids {
        if kill(pid, Signal::SIGSTOP).is_ok() {
            await_stop(pid).await?;
        }
    }
    Ok(())
}

/// Lets a stopped process go on; one that is gone need not.
pub fn go_on(pid: Pid) {
    let _ = kill(pid, Signal::SIGCONT);
}
