//! Programs that are called for an answer: given their input, waited for as long as they may take,
//! and nothing of them left behind.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::timeout;

/// A file that is being replaced is busy for as long as it is written.
const BUSY_TRIES: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// How many bytes are kept of what a program writes. What is beyond is read and dropped, so that a
/// talkative program does not block.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Of its standard output.
    pub stdout: u64,
    /// Of its standard error.
    pub stderr: u64,
}

/// A program that runs. Dropped, it is killed with what it started.
#[derive(Debug)]
pub struct Program {
    /// Before the child, which is reaped when it is dropped.
    group: Group,
    child: Child,
}

/// What a program wrote to one stream.
#[derive(Debug)]
pub struct Written {
    /// Its beginning, at most as long as was asked.
    pub bytes: Vec<u8>,
    /// How many bytes came after it.
    pub dropped: u64,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Written,
    /// Its standard error.
    pub stderr: Written,
}

impl Program {
    /// Starts it in a process group of its own, with pipes for its standard streams. Blocks.
    ///
    /// # Errors
    /// That of the kernel.
    pub fn start(mut command: Command) -> io::Result<Program> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that what it starts can be killed with it.
            .process_group(0);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let mut tries = 0;
        let child = loop {
            match command.spawn() {
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                    tries += 1;
                    std::thread::sleep(BUSY_WAIT);
                }
                spawned => break spawned?,
            }
        };
        Ok(Program { group: Group(child.id()), child })
    }

    /// Lets it run to its end.
    ///
    /// # Errors
    /// `TimedOut` if it is not done within `limit`; then it is killed.
    pub async fn end(self, stdin: &[u8], most: Most, limit: Duration) -> io::Result<Ended> {
        let Program { mut child, group } = self;
        let Ok(ended) = timeout(limit, converse(&mut child, stdin, most)).await else {
            drop(group);
            // Reaped here, as it is dead by now.
            let _ = child.wait().await;
            let why = format!("not done after {} s, killed", limit.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        };
        let ended = ended?;
        group.disarm();
        Ok(ended)
    }
}

impl Ended {
    /// `exit status 1` or `killed by signal 9`.
    pub fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

async fn converse(child: &mut Child, input: &[u8], most: Most) -> io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program need not read it (EPIPE).
            let _ = stdin.write_all(input).await;
        }
    };
    let (_, stdout, stderr, status) =
        tokio::join!(write, read(stdout, most.stdout), read(stderr, most.stderr), child.wait());
    Ok(Ended { status: status?, stdout: stdout?, stderr: stderr? })
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Written> {
    let mut written = Written { bytes: Vec::new(), dropped: 0 };
    if let Some(mut from) = from {
        (&mut from).take(most).read_to_end(&mut written.bytes).await?;
        written.dropped = tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(written)
}

/// Kills the program's process group when it is dropped before the program was done.
#[derive(Debug)]
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

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most { stdout: 4, stderr: 2 };

    fn sh(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start(command).unwrap()
    }

    #[tokio::test]
    async fn the_beginning_of_what_it_writes_is_kept_and_the_rest_counted() {
        let script = "cat; echo error >&2; exit 3";
        let input = vec![b'x'; 300_000];
        let ended = sh(script).end(&input, MOST, Duration::from_secs(30)).await.unwrap();
        assert_eq!((ended.stdout.bytes, ended.stdout.dropped), (b"xxxx".to_vec(), 299_996));
        assert_eq!((ended.stderr.bytes, ended.stderr.dropped), (b"er".to_vec(), 4));
        assert_eq!(ended.status.code(), Some(3));
    }

    #[tokio::test]
    async fn it_need_not_read_its_input() {
        let input = vec![b'x'; 300_000];
        let ended = sh("kill -9 $$").end(&input, MOST, Duration::from_secs(30)).await.unwrap();
        assert_eq!(ended.how(), "killed by signal 9");
    }

    #[tokio::test]
    async fn what_is_not_done_in_time_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", pid.display());
        let program = sh(&script);
        while !pid.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let error = program.end(b"", MOST, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "not done after 1 s, killed");
        let sleeper = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        // Process 1 or whoever reaps it may take a moment.
        for _ in 0..1000 {
            let state = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
            if state.map_or(true, |stat| stat.contains(") Z ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = nix::sys::signal::kill(Pid::from_raw(sleeper), Signal::SIGKILL);
        panic!("{sleeper} lives");
    }
}
