//! One container: its init, from the plan to the exit record.

use crate::log::{LogThread, Order};
use crate::output::{Output, now};
use crate::poll::{Key, Poll, Token};
use crate::process::{refuse, wire};
use nix::unistd::Pid;
use rrun_runtime::cgroup;
use rrun_runtime::plan::{Cgroups, ExecPlan, Namespace, Plan};
use rrun_runtime::run::{self, Child, State, Stdio};
use rrun_shim_protocol::cri_log::Stream;
use rrun_shim_protocol::{
    ContainerReport, ContainerState, Create, Exit, ExitReason, WireError, WireKind, exit_record,
    log_journal,
};
use rrun_sys::step;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Who waits for an answer: connection and number of the request.
pub type Asker = (Key, u32);

/// Where a container stands.
#[derive(Debug)]
pub enum Phase {
    /// The init is being made; the creator waits, for the log to be opened too.
    Preparing(Asker),
    /// The init waits for its start.
    Created,
    /// The init executes its program; who has asked for it waits.
    Starting,
    /// The program runs, since this time.
    Running(i64),
    /// The init is gone and recorded; its last output is on its way to the log.
    Draining(Exit),
    /// It has ended.
    Exited(Exit),
}

/// A container of this pod.
pub struct Container {
    /// Its number in this shim.
    pub key: Key,
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    /// Its output.
    pub output: Output,
    /// Its groups, for kill, removal and execs.
    pub cgroups: Cgroups,
    /// Who waits for its start.
    pub starts: Vec<Asker>,
    /// Who waits for its end.
    pub stops: Vec<Asker>,
    /// Who waits for its log to be opened anew.
    pub reopens: Vec<Asker>,
    /// The stop signal has been sent.
    pub signalled: bool,
    /// Groups of execs in use, by number.
    pub exec_groups: Vec<bool>,
    child: Child,
    started_at: i64,
    own_pid_namespace: bool,
    log_pending: bool,
    logged: bool,
    closing: bool,
    stdin: Option<OwnedFd>,
    console: Option<OwnedFd>,
    terminal: bool,
}

/// What a container's init is made from, beside its plan.
pub struct Surroundings<'a> {
    /// The pod's namespaces, then the descriptors that came with the plan.
    pub slots: &'a [BorrowedFd<'a>],
    /// The pod's seed mount namespace.
    pub seed: Option<BorrowedFd<'a>>,
    /// The loop's sources.
    pub poll: &'a Poll,
    /// The log thread.
    pub log: &'a LogThread,
    /// The pod's run folder.
    pub run_dir: &'a Path,
}

impl Container {
    /// Begins to make the init; `asker` is answered when it waits.
    pub fn create(
        key: Key,
        create: Create,
        asker: Asker,
        around: &Surroundings<'_>,
    ) -> Result<Container, WireError> {
        let Create { container: id, plan, log, stdin, .. } = create;
        let terminal = plan.process.terminal;
        let mut output = Output::new(key, log.is_some(), terminal);
        let (stdio, stdin) = if terminal {
            (None, None)
        } else {
            let (stdio, input) = pipes(stdin, &mut output, around.poll)
                .map_err(|e| refuse(WireKind::Kernel, format!("pipe: {e}")))?;
            (Some(stdio), input)
        };
        let child = spawn(&plan, around, stdio)?;
        around
            .poll
            .add(child.channel(), Token::Init(key))
            .map_err(|e| refuse(WireKind::Kernel, format!("epoll: {e}")))?;
        let logged = log.is_some();
        if let Some(log) = log {
            let journal = log_journal::path(around.run_dir, &id);
            around.log.order(Order::Open(key, log.path, journal));
        }
        Ok(Container {
            key,
            id,
            phase: Phase::Preparing(asker),
            output,
            own_pid_namespace: plan.namespaces.pid == Namespace::New,
            cgroups: plan.cgroups,
            starts: Vec::new(),
            stops: Vec::new(),
            reopens: Vec::new(),
            signalled: false,
            exec_groups: Vec::new(),
            child,
            started_at: 0,
            log_pending: logged,
            logged,
            closing: false,
            stdin,
            console: None,
            terminal,
        })
    }

    /// The init's process id.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// The init's pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// The init is not yet known to be dead.
    pub fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Draining(_) | Phase::Exited(_))
    }

    /// Hears what the init reports.
    pub fn advance(&mut self, poll: &Poll) -> Result<State, WireError> {
        let mut state = self.child.advance().map_err(|error| wire(&error))?;
        if state == State::Asking {
            self.child.refuse().map_err(|error| wire(&error))?;
            state = self.child.state();
        }
        if let Some(console) = self.child.take_console() {
            let copy = console.try_clone().map_err(|e| refuse(WireKind::Kernel, e))?;
            self.output
                .watch(Stream::Stdout, copy, poll)
                .map_err(|e| refuse(WireKind::Kernel, format!("console: {e}")))?;
            self.console = Some(console);
        }
        if matches!(state, State::Running) {
            poll.remove(self.child.channel());
        }
        Ok(state)
    }

    /// The init is there as far as the creator may be told.
    pub fn log_opened(&mut self) {
        self.log_pending = false;
    }

    /// The log is still being opened.
    pub fn log_is_pending(&self) -> bool {
        self.log_pending
    }

    /// Lets the init go on to its program.
    pub fn start(&mut self, asker: Asker) -> Result<(), WireError> {
        step::only("shim.start.release", || self.child.release()).map_err(|error| wire(&error))?;
        self.phase = Phase::Starting;
        self.starts.push(asker);
        Ok(())
    }

    /// The program runs: since when, and who has asked for it.
    pub fn started(&mut self) -> (i64, Vec<Asker>) {
        self.started_at = now();
        self.phase = Phase::Running(self.started_at);
        (self.started_at, std::mem::take(&mut self.starts))
    }

    /// Kills everything in it, and hears no more of its init but its end.
    pub fn give_up(&self, poll: &Poll) {
        poll.remove(self.child.channel());
        self.kill();
    }

    /// Kills everything in it.
    pub fn kill(&self) {
        let _ = step::only("shim.stop.kill", || {
            let _ = self.child.signal(nix::libc::SIGKILL);
            cgroup::kill(&self.cgroups)
        });
    }

    /// The init has ended with `code` and is still a zombie: writes the record, kills what it
    /// has left behind where no PID namespace of its own does that.
    pub fn ended(&mut self, code: i32, start_error: Option<String>, run_dir: &Path) {
        let exit = self.exit(code, start_error);
        let record = || exit_record::write(run_dir, &self.id, self.started_at, &exit);
        if let Err(error) = step::only("shim.exit.record", record) {
            crate::journal::note(run_dir, &format!("exit record of {}: {error}", self.id));
        }
        if !self.own_pid_namespace {
            let _ = cgroup::kill(&self.cgroups);
        }
        self.stdin = None;
        self.phase = Phase::Draining(exit);
    }

    fn exit(&self, code: i32, start_error: Option<String>) -> Exit {
        if let Some(message) = start_error {
            return Exit { code: 128, at: now(), reason: ExitReason::StartError, message };
        }
        let out_of_memory =
            code != 0 && cgroup::stats::oom_kills(&self.cgroups).is_ok_and(|kills| kills > 0);
        let reason = if out_of_memory { ExitReason::OutOfMemory } else { ExitReason::Ended };
        Exit { code, at: now(), reason, message: String::new() }
    }

    /// All output is read: the log can be closed. True when there is no log to wait for; said
    /// once.
    pub fn drained(&mut self, log: &LogThread) -> bool {
        if std::mem::replace(&mut self.closing, true) {
            return false;
        }
        self.console = None;
        if self.logged {
            log.order(Order::Close(self.key, now()));
        }
        !self.logged
    }

    /// The end is complete.
    pub fn finish(&mut self) -> Option<Exit> {
        self.output.detach();
        let Phase::Draining(exit) = &self.phase else { return None };
        let exit = exit.clone();
        self.phase = Phase::Exited(exit.clone());
        Some(exit)
    }

    /// The write end of its stdin, or its terminal.
    pub fn input(&self) -> Result<OwnedFd, WireError> {
        let fd = if self.terminal { &self.console } else { &self.stdin };
        let fd = fd.as_ref().ok_or_else(|| refuse(WireKind::Invalid, "stdin is not open"))?;
        fd.try_clone().map_err(|e| refuse(WireKind::Kernel, e))
    }

    /// It has a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Its output goes to a file.
    pub fn is_logged(&self) -> bool {
        self.logged
    }

    /// Takes the first group for execs that is free: unused, and without a process that an
    /// earlier exec has left running.
    pub fn take_exec_group(&mut self, plan: &ExecPlan) -> usize {
        let mut groups = 0..self.exec_groups.len();
        let free = groups.find(|&n| !self.exec_groups[n] && !is_populated(plan, n));
        let group = free.unwrap_or(self.exec_groups.len());
        match self.exec_groups.get_mut(group) {
            Some(used) => *used = true,
            None => self.exec_groups.push(true),
        }
        group
    }

    /// Closes stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Gives the terminal a size.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), WireError> {
        let console = self.console.as_ref();
        let console = console.ok_or_else(|| refuse(WireKind::Invalid, "it has no terminal"))?;
        rrun_sys::pty::set_size(console.as_fd(), rows, columns)
            .map_err(|e| refuse(WireKind::Kernel, format!("resize: {e}")))
    }

    /// For the daemon.
    pub fn report(&self) -> ContainerReport {
        let (pid, state) = match &self.phase {
            Phase::Preparing(_) | Phase::Created | Phase::Starting => {
                (Some(self.pid()), ContainerState::Created)
            }
            Phase::Running(started_at) => {
                (Some(self.pid()), ContainerState::Running { started_at: *started_at })
            }
            // Its log may be incomplete for some milliseconds more, but it has ended.
            Phase::Draining(exit) | Phase::Exited(exit) => {
                let started_at = self.started_at;
                (None, ContainerState::Exited { started_at, exit: exit.clone() })
            }
        };
        ContainerReport { id: self.id.clone(), pid: pid.map(Pid::as_raw), state }
    }
}

/// A group of the pool still has processes: cgroup.events of cgroup v2.
fn is_populated(plan: &ExecPlan, group: usize) -> bool {
    plan.groups(&exec_group(group)).dirs.iter().filter(|dir| dir.unified).any(|dir| {
        std::fs::read_to_string(dir.path.join("cgroup.events"))
            .is_ok_and(|events| events.contains("populated 1"))
    })
}

/// The name of a group for execs.
pub fn exec_group(group: usize) -> String {
    format!("exec-{group}")
}

fn spawn(plan: &Plan, around: &Surroundings<'_>, stdio: Option<Stdio>) -> Result<Child, WireError> {
    run::spawn(plan, around.slots, around.seed, stdio).map_err(|error| wire(&error))
}

/// The ends that the container gets, and the write end of its stdin.
fn pipes(
    stdin: bool,
    output: &mut Output,
    poll: &Poll,
) -> std::io::Result<(Stdio, Option<OwnedFd>)> {
    let (stdout, container_stdout) = std::io::pipe()?;
    let (stderr, container_stderr) = std::io::pipe()?;
    output.watch(Stream::Stdout, stdout.into(), poll)?;
    output.watch(Stream::Stderr, stderr.into(), poll)?;
    let (container_stdin, input) = if stdin {
        let (reader, writer) = std::io::pipe()?;
        (reader.into(), Some(writer.into()))
    } else {
        (OwnedFd::from(std::fs::File::open("/dev/null")?), None)
    };
    let stdio = Stdio {
        stdin: container_stdin,
        stdout: container_stdout.into(),
        stderr: container_stderr.into(),
    };
    Ok((stdio, input))
}
