//! One call of the command line of an OCI runtime: what it is given, its time, and what it says of a
//! failure.
//!
//! It is a child like any other: the loop hears of its end, and waits for nothing.

use crate::attach;
use crate::process::kill_family;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use rrun_error::{printable_line, reason};
use rrun_runtime::run::Stdio;
use rrun_shim_protocol::{Program, WireError, WireKind, program};
use rrun_sys::{pidfd, record, step};
use std::ffi::OsString;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Given};
use std::time::{Duration, Instant};

/// How much of a log is looked at for what went wrong.
const TAIL: u64 = 4096;

/// What is called.
pub struct Wanted<'a> {
    /// Whose command line.
    pub program: &'a Program,
    /// What it is to do.
    pub verb: &'static str,
    /// What follows the verb.
    pub words: Vec<OsString>,
    /// Where it writes what goes wrong.
    pub log: &'a Path,
    /// What it finds attached, by descriptors.
    pub attached: Vec<(Attached<'a>, &'a Path)>,
}

/// What is attached.
#[derive(Clone, Copy)]
pub enum Attached<'a> {
    /// A detached mount.
    Mount(BorrowedFd<'a>),
    /// A namespace.
    Namespace(BorrowedFd<'a>),
    /// A folder of a mount namespace.
    PodDir(BorrowedFd<'a>, &'a str),
}

/// A call that runs.
pub struct Call {
    pid: Pid,
    process: OwnedFd,
    what: String,
    log: PathBuf,
    limit: Duration,
    until: Instant,
}

impl Call {
    /// Starts it; without `stdio` it has `/dev/null`.
    pub fn start(wanted: &Wanted<'_>, stdio: Option<Stdio>) -> Result<Call, WireError> {
        let what = format!("{} {}", wanted.program.path.display(), wanted.verb);
        let failed = |error: io::Error| WireError {
            kind: WireKind::Kernel,
            chain: vec![what.clone(), format!("start: {}", reason(&error))],
        };
        let (pid, process) = spawn(wanted, stdio).map_err(failed)?;
        let limit = Duration::from_millis(wanted.program.timeout_ms);
        Ok(Call {
            pid,
            process,
            what,
            log: wanted.log.to_owned(),
            limit,
            // A limit of centuries is one without an end.
            until: Instant::now() + limit.min(Duration::from_secs(1 << 30)),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// When it has had its time.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// What came of it, while it is a zombie; `None` while it runs.
    pub fn outcome(&self) -> Option<Result<(), WireError>> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let how = match pidfd::wait(self.process(), flags) {
            Ok(WaitStatus::Exited(_, 0)) => return Some(Ok(())),
            Ok(WaitStatus::Exited(_, code)) => format!("exit status {code}"),
            Ok(WaitStatus::Signaled(..)) if self.until <= Instant::now() => {
                format!("not done after {:?}, killed", self.limit)
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by signal {}", signal as i32),
            Ok(_) => return None,
            Err(errno) => format!("nobody knows how it ended: {errno}"),
        };
        let words = tail(&self.log).ok().and_then(|log| last_message(&log)).unwrap_or(how);
        let kind = self.kind(&words);
        Some(Err(WireError { kind, chain: vec![self.what.clone(), words] }))
    }

    /// A command that cannot be executed has the code that a shell would give. Nothing but words
    /// tells it from other failures: those of runc, crun and `rrun-oci`.
    fn kind(&self, words: &str) -> WireKind {
        let has = |part: &str| words.contains(part);
        if !self.what.ends_with(" exec") || !(has("exec: ") || has("executable file")) {
            return WireKind::Kernel;
        }
        let words = words.to_lowercase();
        match () {
            () if words.contains("permission denied") => WireKind::Exec(126),
            () if words.contains("not found") || words.contains("no such file") => {
                WireKind::Exec(127)
            }
            () => WireKind::Kernel,
        }
    }

    /// Kills it with what it has started. Its end is heard of as any other.
    pub fn kill(&self) {
        kill_family(self.pid, self.process());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.outcome().is_none() {
            self.kill();
        }
    }
}

/// The shim's own program prepares the way, so that nothing that may hang is done here.
fn spawn(wanted: &Wanted<'_>, stdio: Option<Stdio>) -> io::Result<(Pid, OwnedFd)> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(attach::FLAG).arg(wanted.log).arg(std::process::id().to_string());
    let mut held = Vec::new();
    let mut handed = |fd: BorrowedFd<'_>| -> io::Result<String> {
        let copy = fd.try_clone_to_owned()?;
        fcntl(&copy, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let number = copy.as_raw_fd().to_string();
        held.push(copy);
        Ok(number)
    };
    for (attached, path) in &wanted.attached {
        match attached {
            Attached::Mount(fd) => command.arg(attach::MOUNT).arg(handed(*fd)?),
            Attached::Namespace(fd) => command.arg(attach::NAMESPACE).arg(handed(*fd)?),
            Attached::PodDir(fd, name) => command.arg(attach::POD_DIR).arg(handed(*fd)?).arg(name),
        };
        command.arg(path);
    }
    let program = wanted.program;
    command.arg("--").arg(&program.path);
    program::calls(&mut command, &program.args, Some(wanted.log), wanted.verb);
    command.args(&wanted.words);
    give(&mut command, stdio);
    let mut child = step::run("shim.call.start", || command.spawn())?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    drop(held);
    // It is not reaped before the loop hears of its end.
    let process = pidfd::open(pid).inspect_err(|_| drop(child.kill()))?;
    Ok((Pid::from_raw(pid), process))
}

/// Gives a command its standard descriptors, or none.
pub fn give(command: &mut Command, stdio: Option<Stdio>) {
    match stdio {
        Some(Stdio { stdin, stdout, stderr }) => command
            .stdin(Given::from(stdin))
            .stdout(Given::from(stdout))
            .stderr(Given::from(stderr)),
        None => command.stdin(Given::null()).stdout(Given::null()).stderr(Given::null()),
    };
}

/// The end of a log, which is the program's: of any length, and maybe no file at all by now.
fn tail(log: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut end) = (record::open(log)?, Vec::new());
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL)))?;
    file.take(TAIL).read_to_end(&mut end)?;
    Ok(end)
}

/// The last error of a log in JSON, a line each; else its last line. Nothing in it is obeyed by a
/// terminal.
fn last_message(log: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(log).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut told = lines.iter().rev().filter(|line| !line.contains("\"level\":\"warning\""));
    let message = told.find_map(|line| message_of(line));
    let message = message.or_else(|| lines.last().map(|line| (*line).to_owned()));
    message.map(|message| printable_line(&message))
}

/// `msg` of an object in JSON, on one line. The shim has no other use for JSON.
fn message_of(line: &str) -> Option<String> {
    let at = line.find("\"msg\":")? + "\"msg\":".len();
    let mut rest = line[at..].trim_start().strip_prefix('"')?.chars();
    let mut message = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(message),
            '\\' => match rest.next()? {
                'n' | 'r' | 't' => message.push(' '),
                'u' => {
                    let code: String = rest.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&code, 16).ok()?;
                    message.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => message.push(other),
            },
            other => message.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_the_last_error_of_the_log() {
        let log = r#"{"level":"error","msg":"first","time":"t"}
{"msg":"exec: \"nope\": not\u0020found\n","level":"error"}
{"level":"warning","msg":"later","time":"t"}
"#;
        assert_eq!(last_message(log.as_bytes()).unwrap(), "exec: \"nope\": not found ");
        assert_eq!(last_message(b"attach /x: EINVAL\n").unwrap(), "attach /x: EINVAL");
        assert_eq!(last_message(b"{\"msg\":\"cut").unwrap(), "{\"msg\":\"cut");
        assert_eq!(last_message(b""), None);
    }

    #[test]
    fn what_went_wrong_does_not_speak_to_a_terminal() {
        let json = br#"{"level":"error","msg":"a\u001b[2Jb\u000ac"}"#;
        assert_eq!(last_message(json).unwrap(), "a\u{fffd}[2Jb c");
        assert_eq!(last_message(b"a\x1b[2Jb\rc").unwrap(), "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn of_a_log_of_any_length_the_end_is_read_and_what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut long = std::fs::File::create(at("long")).unwrap();
        long.set_len(10 << 30).unwrap();
        long.seek(io::SeekFrom::End(0)).unwrap();
        io::Write::write_all(&mut long, b"\nthe end\n").unwrap();
        let end = tail(&at("long")).unwrap();
        assert_eq!(end.len() as u64, TAIL);
        assert_eq!(last_message(&end).unwrap(), "the end");
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        for name in ["fifo", "link"] {
            assert_eq!(tail(&at(name)).unwrap_err().to_string(), "not a regular file");
        }
    }
}
