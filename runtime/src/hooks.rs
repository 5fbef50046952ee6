//! Hooks that run in the namespaces of the runtime: `prestart`, `createRuntime`, `poststart` and
//! `poststop`. Those of the container's namespaces are steps of its process: see [`crate::plan::Hooks`].

use crate::plan::Hook;
use crate::{Context, Error, Kind, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much is told of what a hook writes to its standard error, bytes.
const SAID: usize = 1024;

/// How long output is waited for that a hook leaves to processes of its own.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs hooks one after the other, up to the first that fails. Each is given `state`, and killed with
/// what it has started when its time is over. Blocks.
///
/// # Errors
/// With the hook, how it ended, and what it wrote to its standard error.
pub fn run(name: &str, hooks: &[Hook], state: &str) -> Result<()> {
    let what = |hook: &Hook| format!("{name} hook {}", hook.path);
    hooks.iter().try_for_each(|hook| one(hook, state).context(|| what(hook)))
}

fn one(hook: &Hook, state: &str) -> Result<()> {
    let mut command = Command::new(&hook.path);
    let env = hook.env.iter().map(|var| var.split_once('=').unwrap_or((var, "")));
    command
        .arg0(hook.args.first().unwrap_or(&hook.path))
        .args(hook.args.iter().skip(1))
        .env_clear()
        .envs(env)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // So that what it starts can be killed with it.
        .process_group(0);
    let mut child = command.spawn().context(|| "start it")?;
    let until = hook.timeout.map(|limit| Instant::now() + Duration::from_secs(limit.into()));
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let said = std::thread::scope(|scope| {
        // It need not read its input, and may be killed before it has.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(state.as_bytes())));
        let ended = ends(&mut child, until);
        if !matches!(ended, Ok(true)) {
            kill(&child);
        }
        let said = stderr.map(said).unwrap_or_default();
        ended.map(|in_time| (in_time, said))
    });
    let status = child.wait().context(|| "wait for it")?;
    let (in_time, said) = said?;
    let how = match (in_time, status.code(), status.signal()) {
        (false, ..) => format!("not done after {} s, killed", hook.timeout.unwrap_or_default()),
        (true, Some(0), _) => return Ok(()),
        (true, Some(code), _) => format!("exit status {code}"),
        (true, None, signal) => format!("killed by signal {}", signal.unwrap_or_default()),
    };
    let told = if said.is_empty() { how } else { format!("{how}: {said}") };
    Err(Error::new(Kind::Ended, told))
}

/// Waits for its end: whether it came in time.
fn ends(child: &mut Child, until: Option<Instant>) -> Result<bool> {
    let pid =
        i32::try_from(child.id()).map_err(|error| Error::new(Kind::Kernel, error.to_string()))?;
    // Not reaped yet: the number is its.
    let process = rrun_sys::pidfd::open(pid).context(|| "open it")?;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], left) {
            Err(nix::errno::Errno::EINTR) => {}
            ended => return Ok(ended.context(|| "poll it")? == 1),
        }
    }
}

fn kill(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// What there is to read now, and shortly after.
fn said(mut from: impl Read + AsFd) -> String {
    let until = Instant::now() + DRAIN;
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left) {
            Ok(1) => {}
            _ => break,
        }
        match from.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let room = SAID.saturating_sub(said.len()).min(count);
                said.extend(piece.iter().take(room));
            }
        }
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}
