//! A process that the command line of another OCI runtime makes: a container's init, or an exec.
//!
//! The program is a child of the shim, and what it makes becomes one when it has ended, as orphans of
//! a subreaper do. Up to there the process is the program's own.

use crate::call::{Attached, Call, Wanted};
use crate::process::{kill_family, refuse};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use rrun_error::reason;
use rrun_runtime::run::{State, Stdio};
use rrun_shim_protocol::{AttachmentSource, Program, WireError, WireKind};
use rrun_sys::{fdpass, pidfd, record};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// So much of a pid file is read.
const PID: u64 = 32;

/// A process that is made by a program.
pub struct ByProgram {
    program: Program,
    container: String,
    files: Files,
    call: Option<Call>,
    listener: Option<UnixListener>,
    console: Option<OwnedFd>,
    state: State,
    is_exec: bool,
    pid: Pid,
    process: OwnedFd,
    is_lost: bool,
    is_found: bool,
    failure: Option<WireError>,
}

/// Where shim and program tell each other what they have to.
struct Files {
    pid: PathBuf,
    log: PathBuf,
    process: PathBuf,
    console: PathBuf,
}

impl Files {
    /// The name of a socket must be short: unix(7).
    fn new(bundle: &Path, run_dir: &Path, key: u32) -> Files {
        Files {
            pid: bundle.join(format!("pid-{key}")),
            log: bundle.join(format!("log-{key}")),
            process: bundle.join(format!("process-{key}")),
            console: run_dir.join(format!("tty-{key}")),
        }
    }

    fn remove(&self) {
        for path in [&self.pid, &self.log, &self.process, &self.console] {
            let _ = fs::remove_file(path);
        }
    }
}

/// However far it came with them.
impl Drop for Files {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whose process is made, where.
pub struct Place<'a> {
    /// Who makes it.
    pub program: Program,
    /// The container's id.
    pub container: &'a str,
    /// The pod's run folder.
    pub run_dir: &'a Path,
    /// A number that nobody else has.
    pub key: u32,
}

impl ByProgram {
    /// Has an init made, with what is attached for it.
    pub fn create(
        place: Place<'_>,
        stdio: Option<Stdio>,
        slots: &[BorrowedFd<'_>],
        pod_mounts: Option<BorrowedFd<'_>>,
    ) -> Result<ByProgram, WireError> {
        let slot = |slot: &rrun_runtime::plan::Slot| {
            let missing = || refuse(WireKind::Invalid, format!("slot {} is empty", slot.0));
            slots.get(usize::from(slot.0)).copied().ok_or_else(missing)
        };
        let program = place.program.clone();
        let attached = program.attachments.iter().map(|attachment| {
            let source = match &attachment.source {
                AttachmentSource::Mount(at) => Attached::Mount(slot(at)?),
                AttachmentSource::Namespace(at) => Attached::Namespace(slot(at)?),
                AttachmentSource::PodDir(name) => {
                    let none = || refuse(WireKind::Invalid, "the pod has no mounts of its own");
                    Attached::PodDir(pod_mounts.ok_or_else(none)?, name)
                }
            };
            Ok((source, attachment.path.as_path()))
        });
        let attached = attached.collect::<Result<Vec<_>, WireError>>()?;
        let mut words = vec!["--bundle".into(), place.program.bundle.clone().into_os_string()];
        let files = Files::new(&place.program.bundle, place.run_dir, place.key);
        let listener = expect(&files, &mut words, stdio.is_none())?;
        words.push(place.container.into());
        let wanted = Wanted { program: &program, verb: "create", words, log: &files.log, attached };
        let call = Call::start(&wanted, stdio);
        made(place, files, listener, call, false)
    }

    /// Has a process added to a container that the same program has made.
    pub fn exec(
        place: Place<'_>,
        process: &str,
        stdio: Option<Stdio>,
    ) -> Result<ByProgram, WireError> {
        let files = Files::new(&place.program.bundle, place.run_dir, place.key);
        // It has the variables of the container's environment.
        let write = |mut file: fs::File| file.write_all(process.as_bytes());
        record::create(&files.process, 0o600)
            .and_then(write)
            .map_err(|error| refuse(WireKind::Kernel, format!("process: {}", reason(&error))))?;
        let mut words = vec!["--process".into(), files.process.clone().into(), "--detach".into()];
        let listener = expect(&files, &mut words, stdio.is_none())?;
        words.push(place.container.into());
        let program = &place.program;
        let wanted = Wanted { program, verb: "exec", words, log: &files.log, attached: Vec::new() };
        let call = Call::start(&wanted, stdio);
        made(place, files, listener, call, true)
    }

    /// Who makes it.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its process id; up to [`State::Waiting`], for an exec to [`State::Running`], the program's.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// The call that is under way.
    pub fn call(&self) -> Option<&Call> {
        self.call.as_ref()
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// The process that the program has told has ended already, if it ever was a child of this shim.
    pub fn is_lost(&self) -> bool {
        self.is_lost && !self.is_found
    }

    /// It was one: its end is known.
    pub fn is_found(&mut self) {
        self.is_found = true;
    }

    /// Its terminal's master, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Looks whether the call has ended, while that is a zombie.
    pub fn advance(&mut self) -> Result<State, WireError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let Some(outcome) = self.call.as_ref().and_then(Call::outcome) else {
            return Ok(self.state);
        };
        let done = outcome.and_then(|()| match self.state {
            State::Preparing => self.told(),
            _ => Ok(State::Running),
        });
        self.call = None;
        self.listener = None;
        self.files.remove();
        match done {
            Ok(state) => self.state = state,
            Err(error) => {
                self.failure = Some(error.clone());
                return Err(error);
            }
        }
        Ok(self.state)
    }

    /// The program has made the process, and tells its number and its terminal.
    fn told(&mut self) -> Result<State, WireError> {
        let what = |words: String| refuse(WireKind::Kernel, words);
        let text = pid_file(&self.files.pid)
            .map_err(|error| what(format!("its pid file: {}", reason(&error))))?;
        let pid: i32 =
            text.trim().parse().map_err(|_| what(format!("its pid file says {text:?}")))?;
        if let Some(listener) = &self.listener {
            let console = console(listener)
                .map_err(|error| what(format!("its terminal: {}", reason(&error))))?;
            self.console = Some(console);
        }
        self.pid = Pid::from_raw(pid);
        match child(pid) {
            Some(process) => self.process = process,
            None => self.is_lost = true,
        }
        Ok(if self.is_exec { State::Running } else { State::Waiting })
    }

    /// Has the program let the init go on.
    pub fn release(&mut self) -> Result<(), WireError> {
        let words: Vec<OsString> = vec![self.container.clone().into()];
        let (program, log) = (&self.program, self.files.log.as_path());
        let wanted = Wanted { program, verb: "start", words, log, attached: Vec::new() };
        self.call = Some(Call::start(&wanted, None)?);
        self.state = State::Executing;
        Ok(())
    }

    /// Sends a signal to the process, or to all of a call that is still making it.
    pub fn signal(&self, signal: i32) {
        match &self.call {
            Some(call) if self.state == State::Preparing => call.kill(),
            // It may have a group of its own, and may not.
            None if self.is_exec && !self.is_lost => kill_family(self.pid, self.process.as_fd()),
            _ => {
                let _ = pidfd::send_signal(self.process.as_fd(), signal);
            }
        }
    }

    /// Kills the call if it has had its time; when it will have, otherwise.
    pub fn kill_late_call(&self, now: Instant) -> Option<Instant> {
        let call = self.call.as_ref()?;
        if now < call.until() {
            return Some(call.until());
        }
        call.kill();
        None
    }
}

fn made(
    place: Place<'_>,
    files: Files,
    listener: Option<UnixListener>,
    call: Result<Call, WireError>,
    is_exec: bool,
) -> Result<ByProgram, WireError> {
    let duplicated = call.and_then(|call| {
        let process = call.process().try_clone_to_owned();
        Ok((process.map_err(|error| refuse(WireKind::Kernel, reason(&error)))?, call))
    });
    let (process, call) = duplicated?;
    Ok(ByProgram {
        program: place.program,
        container: place.container.to_owned(),
        files,
        pid: call.pid(),
        call: Some(call),
        listener,
        console: None,
        state: State::Preparing,
        is_exec,
        process,
        is_lost: false,
        is_found: false,
        failure: None,
    })
}

/// Adds what the program is to tell, and where: the pid, and a terminal if there is to be one.
fn expect(
    files: &Files,
    words: &mut Vec<OsString>,
    terminal: bool,
) -> Result<Option<UnixListener>, WireError> {
    // Of an earlier try.
    let _ = fs::remove_file(&files.pid);
    words.extend(["--pid-file".into(), files.pid.clone().into_os_string()]);
    if !terminal {
        return Ok(None);
    }
    let listen = || -> io::Result<UnixListener> {
        let listener = UnixListener::bind(&files.console)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listener = listen().map_err(|error| {
        let words = format!("listen on {}: {}", files.console.display(), reason(&error));
        refuse(WireKind::Kernel, words)
    })?;
    words.extend(["--console-socket".into(), files.console.clone().into_os_string()]);
    Ok(Some(listener))
}

/// The beginning of what the program has written there: a number, if it is as it should be.
fn pid_file(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    record::open(path)?.take(PID).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What the program has sent before it ended: it waits in the socket.
fn console(listener: &UnixListener) -> io::Result<OwnedFd> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    let (mut name, mut sent) = ([0; 4096], Vec::new());
    fdpass::receive(stream.as_fd(), &mut name, &mut sent)?;
    sent.pop().ok_or_else(|| io::Error::other("the program has sent none"))
}

/// A descriptor of a child, a zombie too.
fn child(pid: i32) -> Option<OwnedFd> {
    let process = pidfd::open(pid).ok()?;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    pidfd::wait(process.as_fd(), flags).ok().map(|_| process)
}
