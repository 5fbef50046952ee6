//! An init that criu makes of an image, by a helper ([`crate::restoring`]): up to the start it stands
//! still, and then it goes on where it was.

use crate::call;
use crate::log::set_nonblocking;
use crate::process::{kill_family, refuse};
use crate::restoring::{Answer, FLAG, MESSAGE, Task, Told};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use rrun_error::reason;
use rrun_runtime::plan::Plan;
use rrun_runtime::run::{ParentTask, Refusal, State, Stdio};
use rrun_shim_protocol::{AskRefusal, Restore, WireError, WireKind};
use rrun_sys::{fdpass, pidfd, record, step};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;

/// A process that is restored.
pub struct Restored {
    channel: OwnedFd,
    helper: (Pid, OwnedFd),
    /// The init, once it is there.
    init: Option<(Pid, OwnedFd)>,
    /// Whom the helper asks something for.
    asks: Option<(ParentTask, Pid)>,
    console: Option<OwnedFd>,
    state: State,
    failure: Option<WireError>,
}

impl Restored {
    /// Has an init restored.
    pub fn create(
        plan: &Plan,
        restore: Restore,
        stdio: Option<Stdio>,
        slots: &[BorrowedFd<'_>],
        pod_mounts: Option<BorrowedFd<'_>>,
    ) -> Result<Restored, WireError> {
        let failed = |error: io::Error| WireError {
            kind: WireKind::Kernel,
            chain: vec!["restore".to_owned(), format!("start: {}", reason(&error))],
        };
        let (helper, channel) = spawn(plan, restore, stdio, (slots, pod_mounts)).map_err(failed)?;
        Ok(Restored {
            channel,
            helper,
            init: None,
            asks: None,
            console: None,
            state: State::Preparing,
            failure: None,
        })
    }

    /// The init's process id; before it is there that of whom something is asked for, or of the helper.
    pub fn pid(&self) -> Pid {
        let asked = self.asks.map(|(_, pid)| pid);
        self.init.as_ref().map(|(pid, _)| *pid).or(asked).unwrap_or(self.helper.0)
    }

    /// The init's pidfd, or the helper's.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.init.as_ref().unwrap_or(&self.helper).1.as_fd()
    }

    /// Where the helper reports.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Whether this is the helper.
    pub fn is_helper(&self, pid: Pid) -> bool {
        self.helper.0 == pid && self.state != State::Running
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// What is asked.
    pub fn asks(&self) -> Option<ParentTask> {
        self.asks.map(|(task, _)| task)
    }

    /// Its terminal's master, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Hears what is new; an error is the same at every later call.
    pub fn advance(&mut self) -> Result<State, WireError> {
        while self.failure.is_none() && self.state != State::Running {
            match self.hear() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.failure = Some(error),
            }
        }
        self.failure.clone().map_or(Ok(self.state), Err)
    }

    /// One message, if there is one.
    fn hear(&mut self) -> Result<bool, WireError> {
        let kernel = |words: String| refuse(WireKind::Kernel, words);
        let (mut buffer, mut fds) = (vec![0; MESSAGE], Vec::new());
        let length = match fdpass::receive(self.channel.as_fd(), &mut buffer, &mut fds) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(Errno::ECONNRESET) | Ok(0) => {
                return Err(kernel("who restores it has ended".to_owned()));
            }
            other => other.map_err(|errno| kernel(format!("hear who restores it: {errno}")))?,
        };
        let told = minicbor::decode::<Told>(buffer.get(..length).unwrap_or_default());
        match told.map_err(|error| kernel(format!("hear who restores it: {error}")))? {
            Told::Place(pid) => self.asked(ParentTask::Place, pid),
            Told::Hooks(pid) => self.asked(ParentTask::RunHooks, pid),
            Told::Ready(pid) => {
                let mut fds = fds.into_iter();
                let process = fds.next().ok_or_else(|| kernel("no process is told".to_owned()))?;
                self.init = Some((Pid::from_raw(pid), process));
                self.console = fds.next();
                self.state = State::Waiting;
            }
            Told::Running => self.state = State::Running,
            Told::Failed(error) => return Err(error),
        }
        Ok(true)
    }

    fn asked(&mut self, task: ParentTask, pid: i32) {
        self.asks = Some((task, Pid::from_raw(pid)));
        self.state = State::Asking;
    }

    /// Answers what is asked.
    pub fn answer(&mut self, answer: &Result<(), Refusal>) -> Result<(), WireError> {
        let refusal = answer.as_ref().err();
        let refusal = refusal.map(|r| AskRefusal { errno: r.errno as i32, words: r.words.clone() });
        self.asks = None;
        self.state = State::Preparing;
        self.send(&Answer { refusal })
    }

    /// Lets it go on.
    pub fn release(&mut self) -> Result<(), WireError> {
        self.state = State::Executing;
        self.send(&Answer { refusal: None })
    }

    fn send(&self, answer: &Answer) -> Result<(), WireError> {
        let sent = minicbor::to_vec(answer).map_err(|error| error.to_string()).and_then(|bytes| {
            let sent = fdpass::send(self.channel.as_fd(), &bytes, &[]);
            sent.map_err(|errno| errno.to_string())
        });
        sent.map(drop)
            .map_err(|why| refuse(WireKind::Kernel, format!("answer who restores it: {why}")))
    }

    /// SIGKILL to the init, and to all that make it.
    pub fn kill(&self) {
        if let Some((_, process)) = &self.init {
            let _ = pidfd::send_signal(process.as_fd(), nix::libc::SIGKILL);
        }
        if self.state != State::Running {
            kill_family(self.helper.0, self.helper.1.as_fd());
        }
    }
}

/// The helper, and our end of its channel.
fn spawn(
    plan: &Plan,
    restore: Restore,
    stdio: Option<Stdio>,
    (slots, pod_mounts): (&[BorrowedFd<'_>], Option<BorrowedFd<'_>>),
) -> io::Result<((Pid, OwnedFd), OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    set_nonblocking(&ours)?;
    let mut handed = Vec::new();
    let mut hand = |fd: BorrowedFd<'_>| -> io::Result<i32> {
        let copy = fd.try_clone_to_owned()?;
        let number = copy.as_raw_fd();
        handed.push(copy);
        Ok(number)
    };
    let slots = slots.iter().map(|slot| hand(*slot)).collect::<io::Result<_>>()?;
    let pod_mounts = pod_mounts.map(&mut hand).transpose()?;
    let path = restore.bundle.join("task");
    let task = Task { plan: plan.clone(), restore, slots, pod_mounts };
    let bytes = minicbor::to_vec(&task).map_err(|error| io::Error::other(error.to_string()))?;
    record::create(&path, 0o600)?.write_all(&bytes)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(FLAG).arg(std::process::id().to_string());
    command.arg(theirs.as_raw_fd().to_string()).arg(path);
    command.env_clear().env("PATH", rrun_shim_protocol::program::PATH).current_dir("/");
    call::give(&mut command, stdio);
    handed.push(theirs);
    rrun_sys::command::hand_on(&mut command, handed);
    let mut child = step::run("shim.restore.start", || command.spawn())?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // It is not reaped before the loop hears of its end.
    let process = pidfd::open(pid).inspect_err(|_| drop(child.kill()))?;
    Ok(((Pid::from_raw(pid), process), ours))
}
