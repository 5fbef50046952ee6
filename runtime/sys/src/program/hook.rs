//! Programs that a child runs before its own, and waits for: hooks.

use super::clone::{Forked, fork};
use super::descriptor::duplicate;
use super::exec::Strings;
use super::machine::{self, Machine};
use super::report::Detail;
use crate::call::syscall;
use crate::pidfd;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{Pid, getpid, pipe2};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A hook: runtime-spec's `hooks`.
#[derive(Debug)]
pub struct HookOp {
    /// The program, looked up where the child is when it comes to this step.
    pub path: CString,
    /// Arguments, the first of which names it.
    pub arguments: Strings,
    /// Environment.
    pub environment: Strings,
    /// What it reads: between the two comes the number of the process that runs the step, as that
    /// sees it itself.
    pub state: [Box<[u8]>; 2],
    /// How long it may take; `None` is for ever.
    pub timeout: Option<Duration>,
}

/// A process between its clone and its end.
struct Running {
    pid: Pid,
    process: OwnedFd,
    /// Both ends of its input, until all is written. As long as this process could read it itself,
    /// one that does not read its input ends nobody by SIGPIPE.
    input: Option<[OwnedFd; 2]>,
    errors: OwnedFd,
}

impl HookOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        let mut number = Digits::default();
        number.put(getpid().as_raw().unsigned_abs());
        let mut said = Said::default();
        let [before, after] = &self.state;
        let mut state: [&[u8]; 3] = [before, number.bytes(), after];
        let mut running = self.start()?;
        let until = self.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let in_time = running.converse(&mut state, &mut said, until)?;
        if !in_time {
            // Whatever it has started is of its group; it is not reaped yet, so the number is its.
            let _ = nix::sys::signal::killpg(running.pid, nix::sys::signal::Signal::SIGKILL);
            let _ = pidfd::send_signal(running.process.as_fd(), libc::SIGKILL);
        }
        let end = pidfd::wait(running.process.as_fd(), WaitPidFlag::WEXITED)?;
        if in_time && matches!(end, WaitStatus::Exited(_, 0)) {
            return Ok(());
        }
        machine.detail = Detail::Hook;
        let mut number = Digits::default();
        match end {
            _ if !in_time => {
                number.put(u32::try_from(self.timeout.unwrap_or_default().as_secs()).unwrap_or(0));
                machine.say_all([b"not done after ", number.bytes(), b" s, killed", &[]]);
            }
            WaitStatus::Exited(_, code) => {
                number.put(code.unsigned_abs());
                machine.say_all([b"exit status ", number.bytes(), b": ", said.bytes()]);
            }
            WaitStatus::Signaled(_, signal, _) => {
                number.put((signal as i32).unsigned_abs());
                machine.say_all([b"killed by signal ", number.bytes(), b": ", said.bytes()]);
            }
            _ => machine.say_all([b"ended", &[], &[], &[]]),
        }
        Err(Errno::ECANCELED)
    }

    fn start(&self) -> Result<Running, Errno> {
        let (stdin, input) = pipe2(OFlag::O_CLOEXEC)?;
        let (errors, stderr) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child makes system calls on what is there already, and executes or ends.
        match unsafe { fork()? } {
            Forked::Child => {
                let errno = self.execute([&stdin, &stderr]);
                let words = [b"it cannot be executed: ", errno.desc().as_bytes()];
                for words in words {
                    // SAFETY: bytes of ours with their length.
                    let _ = unsafe { syscall!(libc::SYS_write, 2, words.as_ptr(), words.len()) };
                }
                machine::exit(127)
            }
            Forked::Parent(pid, process) => {
                for fd in [&input, &errors] {
                    let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
                    nix::fcntl::fcntl(fd, flags)?;
                }
                Ok(Running { pid, process, input: Some([stdin, input]), errors })
            }
        }
    }

    /// Returns only when it cannot be executed.
    fn execute(&self, [stdin, stderr]: [&OwnedFd; 2]) -> Errno {
        let ready = || -> Result<(), Errno> {
            let null = open(c"/dev/null", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
            // A root may have none.
            let stdout = null.as_ref().map_or(stderr.as_raw_fd(), AsRawFd::as_raw_fd);
            for (from, to) in [(stdin.as_raw_fd(), 0), (stdout, 1), (stderr.as_raw_fd(), 2)] {
                duplicate(from, to)?;
            }
            machine::close_range(3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)?;
            nix::unistd::chdir(c"/")?;
            nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))
        };
        if let Err(errno) = ready() {
            return errno;
        }
        let (argv, envp) = (self.arguments.pointers(), self.environment.pointers());
        // SAFETY: a string and two null-terminated arrays of strings, all alive.
        match unsafe { syscall!(libc::SYS_execve, self.path.as_ptr(), argv, envp) } {
            Ok(_) => Errno::EIO,
            Err(errno) => errno,
        }
    }
}

impl Running {
    /// Gives it its input and hears what it has to say, until it ends: whether it did in time.
    fn converse(
        &mut self,
        state: &mut [&[u8]; 3],
        said: &mut Said,
        until: Option<Instant>,
    ) -> Result<bool, Errno> {
        loop {
            let left = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => PollTimeout::NONE,
                Some(Duration::ZERO) => return Ok(false),
                // Rounded up, lest the last millisecond is spent by asking again and again.
                Some(left) => PollTimeout::try_from(left + Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX),
            };
            let process = (self.process.as_fd(), PollFlags::POLLIN);
            let input = self.input.as_ref().map(|[_, writer]| (writer.as_fd(), PollFlags::POLLOUT));
            let errors = (!said.is_over).then(|| (self.errors.as_fd(), PollFlags::POLLIN));
            // What is done with is not asked for any more; the process may be asked for twice.
            let asked = [Some(process), errors, input].map(|asked| asked.unwrap_or(process));
            let mut fds = asked.map(|(fd, events)| PollFd::new(fd, events));
            match poll(&mut fds, left) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            let [ended, heard, room] =
                fds.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            if heard {
                said.hear(self.errors.as_fd());
            }
            if ended {
                return Ok(true);
            }
            if room && let Some([_, writer]) = &self.input {
                write_some(writer.as_fd(), state)?;
                if state.iter().all(|part| part.is_empty()) {
                    self.input = None;
                }
            }
        }
    }
}

/// Writes what there is room for.
fn write_some(fd: BorrowedFd<'_>, parts: &mut [&[u8]; 3]) -> Result<(), Errno> {
    for part in parts {
        while !part.is_empty() {
            // SAFETY: bytes of ours with their length.
            match unsafe { syscall!(libc::SYS_write, fd, part.as_ptr(), part.len()) } {
                Ok(count) => *part = part.get(count as usize..).unwrap_or_default(),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// The beginning of what a hook writes to its standard error; the rest is read and dropped.
struct Said {
    buffer: [u8; 256],
    length: usize,
    is_over: bool,
}

impl Default for Said {
    fn default() -> Said {
        Said { buffer: [0; 256], length: 0, is_over: false }
    }
}

impl Said {
    fn hear(&mut self, from: BorrowedFd<'_>) {
        let mut piece = [0_u8; 4096];
        loop {
            let (pointer, room) = (piece.as_mut_ptr(), piece.len());
            // SAFETY: a buffer of ours with its length.
            match unsafe { syscall!(libc::SYS_read, from, pointer, room) } {
                Ok(0) => return self.is_over = true,
                Ok(count) => self.keep(piece.get(..count as usize).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&mut self, heard: &[u8]) {
        for byte in heard {
            if let Some(at) = self.buffer.get_mut(self.length) {
                *at = *byte;
                self.length += 1;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default().trim_ascii()
    }
}

/// A number in decimal.
#[derive(Default)]
struct Digits {
    buffer: [u8; 10],
    length: usize,
}

impl Digits {
    fn put(&mut self, mut number: u32) {
        loop {
            self.length += 1;
            if let Some(at) = self.buffer.len().checked_sub(self.length)
                && let Some(digit) = self.buffer.get_mut(at)
            {
                *digit = b'0' + (number % 10) as u8;
            }
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.buffer.len().saturating_sub(self.length)..).unwrap_or_default()
    }
}
