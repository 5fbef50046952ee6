//! Waits for other processes, each with an end: whoever is late is killed, and the error says what
//! was waited for.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a command may take on a loaded machine.
pub const LONG: Duration = Duration::from_secs(300);

/// How long a test may take with its sandbox: the longest walk takes a fifth of it.
const WHOLE_TEST: Duration = Duration::from_secs(1200);

/// Ends this process, with the name of the test on whose thread this is called, unless what is
/// returned is dropped in time: a test that hangs would keep every other from being counted.
/// Programs, which measure or go through hundreds of pods on their main thread, have no such limit.
pub fn whole_test() -> Option<Sender<()>> {
    let test = std::thread::current().name().filter(|name| *name != "main")?.to_owned();
    let (sender, end) = channel();
    std::thread::spawn(move || {
        if end.recv_timeout(WHOLE_TEST) == Err(RecvTimeoutError::Timeout) {
            // Not by the macro, whose words would be kept for the test's end.
            let _ = writeln!(std::io::stderr(), "{test}: no end in {WHOLE_TEST:?}");
            std::process::abort();
        }
    });
    Some(sender)
}

/// Runs a command to its end: how it ended, and what it said.
pub fn output(command: &mut Command) -> Result<Output> {
    let what = format!("{command:?}");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    output_of(child.with_context(|| what.clone())?, &what)
}

/// How a process ends, and what it says until then in the pipes that it was given.
pub fn output_of(child: Child, what: &str) -> Result<Output> {
    output_within(child, what, LONG)
}

fn output_within(child: Child, what: &str, limit: Duration) -> Result<Output> {
    let pid = child.id();
    let (sender, end) = channel();
    // A pipe that another process holds is read for as long as that one lives: then the thread is
    // left behind, and the process is not reaped, so that its number stays its own.
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match end.recv_timeout(limit) {
        Ok(output) => output.with_context(|| what.to_owned()),
        Err(_) => {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid)?);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
            bail!("{what}: no end in {limit:?}")
        }
    }
}

/// Runs a command to its end.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    let what = format!("{command:?}");
    end(&mut command.spawn().with_context(|| what.clone())?, &what)
}

/// Waits for the end of a process, whose input ends here.
pub fn end(child: &mut Child, what: &str) -> Result<ExitStatus> {
    end_within(child, what, LONG)
}

fn end_within(child: &mut Child, what: &str, limit: Duration) -> Result<ExitStatus> {
    drop(child.stdin.take());
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{what}: no end in {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The first line of a stream, with its end; nothing if the stream has none.
pub fn line(stream: impl Read + Send + 'static, what: &str) -> Result<String> {
    let (sender, first) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        sender.send(BufReader::new(stream).read_line(&mut line).map(|_| line))
    });
    match first.recv_timeout(LONG) {
        Ok(line) => line.with_context(|| what.to_owned()),
        Err(_) => bail!("{what}: no line in {LONG:?}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn sleep() -> Child {
        Command::new("sleep").arg("1000").stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn what_does_not_end_is_killed_and_named() {
        let mut child = sleep();
        let error = end_within(&mut child, "a long sleep", SHORT).unwrap_err().to_string();
        assert!(error.starts_with("a long sleep: no end in"), "{error}");
        assert!(child.try_wait().unwrap().is_some());
        let error = output_within(sleep(), "another one", SHORT).unwrap_err().to_string();
        assert!(error.starts_with("another one: no end in"), "{error}");
    }

    #[test]
    fn what_ends_gives_its_status_and_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let done = output(&mut command).unwrap();
        assert_eq!(
            (done.status.code(), done.stdout, done.stderr),
            (Some(3), b"out\n".into(), b"err\n".into())
        );
        assert_eq!(status(Command::new("sh").args(["-c", "exit 4"])).unwrap().code(), Some(4));
        let mut lines = Command::new("echo").arg("one").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(line(lines.stdout.take().unwrap(), "echo").unwrap(), "one\n");
        end(&mut lines, "echo").unwrap();
    }
}
