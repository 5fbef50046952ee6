//! AppArmor: the profile of containers that ask for none, and whether a profile is loaded.
//!
//! A profile is compiled by `apparmor_parser`, which every distribution with AppArmor has: what
//! the kernel takes is a compiled automaton, and its form changes with the kernel.

use crate::error::{Context, Error, Kind, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The profile of what asks for none, and of `RuntimeDefault`. A release has a name of its own, so
/// that its text is loaded beside the former one's, which running containers keep.
pub(crate) const DEFAULT: &str = concat!("rrun-default-", env!("CARGO_PKG_VERSION"));

/// Its text, with `@NAME@` in the place of the name.
const TEXT: &str = include_str!("default.apparmor");

/// Profiles that are loaded, a line each: `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Where the parser is looked for: a daemon's `PATH` often lacks the sbin folders.
const PARSERS: [&str; 3] =
    ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];

/// How long a parser may take: a second is much.
const LIMIT: Duration = Duration::from_secs(30);

/// How long one that was killed is waited for.
const KILLED: Duration = Duration::from_secs(1);

/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Makes sure that the profile is loaded. [`DEFAULT`] is loaded when it is not: at the first use,
/// and again when somebody took it away (`aa-remove-unknown` does). Blocks.
///
/// # Errors
/// `Invalid` for a profile of somebody else's that is not loaded, `Unavailable` when there is no
/// parser for our own and in no other case, `Timeout` when it does not end.
pub(crate) fn ensure(profile: &str) -> Result<()> {
    let loaded = fs::read_to_string(LOADED).context(|| format!("read {LOADED}"))?;
    match is_listed(&loaded, profile) {
        true => Ok(()),
        false if profile == DEFAULT => load(),
        false => Err(Error::invalid(format!("AppArmor profile {profile} is not loaded"))),
    }
}

fn is_listed(loaded: &str, profile: &str) -> bool {
    loaded.lines().filter_map(|line| line.rsplit_once(" (")).any(|(name, _)| name == profile)
}

fn text() -> String {
    TEXT.replace("@NAME@", DEFAULT)
}

fn load() -> Result<()> {
    let what = || format!("load AppArmor profile {DEFAULT}");
    let parser = PARSERS.into_iter().find(|parser| Path::new(parser).exists());
    let Some(parser) = parser else {
        let message = "apparmor_parser is not installed (package apparmor)";
        return Err(Error::new(Kind::Unavailable, message).context(what()));
    };
    run(parser).context(what)
}

fn run(parser: &str) -> Result<()> {
    let mut command = Command::new(parser);
    // The cache of the distribution is not ours to write.
    command.args(["--replace", "--skip-cache", "--quiet"]);
    feed(command, LIMIT).context(|| parser)
}

/// Gives a parser the text, and kills it with what it started when it is not done in time.
fn feed(mut command: Command, limit: Duration) -> Result<()> {
    rrun_sys::limit::hand_down(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context(|| "start")?;
    // A pipe has room for all of it: this ends whether or not it is read.
    let wrote = child.stdin.take().map_or(Ok(()), |mut to| to.write_all(text().as_bytes()));
    let Some(status) = end(&mut child, limit).context(|| "wait")? else {
        // It is not reaped yet, so the number is still its own.
        let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
        // What hangs in the kernel does not die, and is left behind.
        let _ = end(&mut child, KILLED);
        let message = format!("not done after {} s, killed", limit.as_secs());
        return Err(Error::new(Kind::Timeout, message));
    };
    match wrote {
        _ if status.success() => Ok(()),
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context(|| "write"),
        _ => Err(Error::internal(format!("{status}: {}", said(&mut child).trim()))),
    }
}

/// How a child has ended; `None` when it has not after that time.
fn end(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => sleep(PAUSE),
            ended => return Ok(ended),
        }
    }
}

/// What a child that has ended has left in its pipe; what it started may still hold the other end.
fn said(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        let there = rrun_sys::pipe::readable(stderr.as_fd()).unwrap_or(0);
        let _ = stderr.take(there).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::stat::Mode;
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn a_profile_is_loaded_when_a_line_has_its_whole_name() {
        let loaded = "rrun-default-0.0.9 (enforce)\n/usr/bin/man (complain)\na b (enforce)\n";
        for (name, expected) in [
            ("/usr/bin/man", true),
            ("a b", true),
            ("rrun-default-0.0.9", true),
            ("rrun-default-0.0", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(is_listed(loaded, name), expected, "{name}");
        }
    }

    #[test]
    fn the_text_speaks_of_the_profile_by_its_name() {
        let text = text();
        assert!(text.contains(&format!("profile {DEFAULT} flags=")), "{text}");
        assert!(!text.contains('@'), "{text}");
    }

    #[test]
    fn a_parser_that_does_not_end_is_killed_with_what_it_started_and_one_that_fails_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let held = folder.path().join("held");
        nix::unistd::mkfifo(&held, Mode::S_IRWXU).unwrap();
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).arg(&held);
            command
        };
        let mut opened = OpenOptions::new();
        let held = opened.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&held).unwrap();
        let hangs = shell("exec 3>$1; sleep 1000 & wait");
        let error = feed(hangs, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert_eq!(error.to_string(), "not done after 1 s, killed");
        // It ends with the last that holds the other end.
        let mut ends = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ends, 60_000_u16).unwrap(), 1, "a process is left");
        let error = feed(shell("cat >&2; exit 3"), LIMIT).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains(DEFAULT), "{error}");
    }

    #[test]
    #[ignore = "needs apparmor_parser"]
    fn the_parser_takes_the_text() {
        let parser = PARSERS.into_iter().find(|parser| Path::new(parser).exists()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile");
        fs::write(&file, text()).unwrap();
        let checked = Command::new(parser)
            .args(["--skip-kernel-load", "--skip-cache", "--names"])
            .arg(file)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
        assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), DEFAULT);
    }
}
