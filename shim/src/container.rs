//! One container: its init, from the plan to the exit record.

use crate::by_program::{ByProgram, Place};
use crate::child::Child;
use crate::connections::Requester;
use crate::drain::{Drain, Drained, SILENCE};
use crate::exit;
use crate::log::{LogCommand, LogThread, NotTaken};
use crate::output::{Missing, Output};
use crate::own_log;
use crate::poll::{Key, Poll, Token};
use crate::process::{refuse, to_wire};
use crate::restored::Restored;
use nix::unistd::Pid;
use rrun_error::reason;
use rrun_runtime::cgroup::{self, OomKills};
use rrun_runtime::plan::{Cgroups, ExecPlan, Namespace, Plan};
use rrun_runtime::run::{self, ParentTask, Refusal, State, Stdio};
use rrun_shim_protocol::cri_log::Stream;
use rrun_shim_protocol::{
    ContainerReport, ContainerState, Create, Exit, LogSpec, WireError, WireKind, log_journal,
};
use rrun_sys::step;
use rrun_sys::time::now;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

/// Where a container stands.
#[derive(Debug)]
pub enum Phase {
    /// The init is being made; the creator waits, for the log to be opened too.
    Preparing(Requester),
    /// The init waits for its start.
    Created,
    /// The init executes its program; who has asked for it waits.
    Starting,
    /// The program runs, since this time.
    Running(i64),
    /// The init is gone and recorded; its last output is on its way to the log.
    Draining(Exit, Drain),
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
    pub starts: Vec<Requester>,
    /// Who waits for its end.
    pub stops: Vec<Requester>,
    /// Who waits for its log to be opened anew.
    pub reopens: Vec<Requester>,
    /// What its start could not set as asked.
    pub clamped: Vec<String>,
    /// The stop signal has been sent.
    pub signalled: bool,
    /// Counts the kills in its groups, once these are there.
    pub kills: Option<OomKills>,
    /// Groups of execs in use, by number.
    pub exec_groups: Vec<bool>,
    /// Its init.
    pub child: Child,
    /// What the init asks has been passed on.
    asked: bool,
    started_at: i64,
    own_pid_namespace: bool,
    log_pending: bool,
    log: Option<LogSpec>,
    closing: bool,
    /// Bytes of its output that are not in the log.
    not_in_log: u64,
    stdin: Option<OwnedFd>,
    console: Option<OwnedFd>,
    terminal: bool,
}

/// What a container's init is made with, beside its plan.
pub struct CreateContext<'a> {
    /// The pod's namespaces, then the descriptors that came with the plan.
    pub slots: &'a [BorrowedFd<'a>],
    /// The pod's own mount namespace.
    pub pod_mounts: Option<BorrowedFd<'a>>,
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
        asker: Requester,
        context: &CreateContext<'_>,
    ) -> Result<Container, WireError> {
        let Create { container: id, plan, log, stdin, program, restore, .. } = create;
        let terminal = plan.process.terminal;
        let mut output = Output::new(key, log.is_some(), terminal);
        let (stdio, stdin) = if terminal {
            (None, None)
        } else {
            let (stdio, input) = pipes(stdin, &mut output, context.poll)
                .map_err(|e| refuse(WireKind::Kernel, format!("pipe: {}", reason(&e))))?;
            (Some(stdio), input)
        };
        let child = match (program, restore) {
            (None, None) => spawn(&plan, context, stdio)?,
            (None, Some(restore)) => {
                let (slots, pod_mounts) = (context.slots, context.pod_mounts);
                let made = Restored::create(&plan, restore, stdio, slots, pod_mounts)?;
                Child::Restored(Box::new(made))
            }
            (Some(program), _) => {
                let place = Place { program, container: &id, run_dir: context.run_dir, key };
                let made = ByProgram::create(place, stdio, context.slots, context.pod_mounts)?;
                Child::ByProgram(Box::new(made))
            }
        };
        if let Some(channel) = child.channel() {
            context
                .poll
                .add(channel, Token::Init(key))
                .map_err(|e| refuse(WireKind::Kernel, format!("epoll: {}", reason(&e))))?;
        }
        if let Some(log) = &log {
            let journal = log_journal::path(context.run_dir, &id);
            context.log.send(LogCommand::Open(key, log.path.clone(), journal));
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
            clamped: Vec::new(),
            signalled: false,
            kills: None,
            exec_groups: Vec::new(),
            child,
            asked: false,
            started_at: 0,
            log_pending: log.is_some(),
            log,
            closing: false,
            not_in_log: 0,
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
        !matches!(self.phase, Phase::Draining(..) | Phase::Exited(_))
    }

    /// It has ended, and its last output or its groups are waited for.
    pub fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining(..))
    }

    /// Its init is being made.
    pub fn is_preparing(&self) -> bool {
        matches!(self.phase, Phase::Preparing(_))
    }

    /// Its init has said that it waits for its start.
    pub fn is_waiting(&self) -> bool {
        self.child.state() == State::Waiting
    }

    /// Its init waits for [`Container::answer`].
    pub fn is_asking(&self) -> bool {
        self.child.asks().is_some()
    }

    /// What the init asks, if it has not been passed on yet.
    pub fn new_question(&mut self) -> Option<ParentTask> {
        let question = self.child.asks()?;
        (!std::mem::replace(&mut self.asked, true)).then_some(question)
    }

    /// Answers what the init asks.
    pub fn answer(&mut self, answer: &Result<(), Refusal>) -> Result<(), WireError> {
        self.asked = false;
        self.child.answer(answer)
    }

    /// What the init could not set as asked since the last call. It stays in the shim's own log.
    pub fn take_clamped(&mut self, run_dir: &Path) -> Vec<String> {
        let clamped = self.child.take_clamped();
        for what in &clamped {
            own_log::note(run_dir, &format!("{what} of {}: as far as it is allowed", self.id));
        }
        clamped
    }

    /// Hears what the init reports; an error is that of the init, the same at every later call.
    pub fn advance(&mut self, poll: &Poll) -> Result<State, WireError> {
        let state = self.child.advance()?;
        if let Some(console) = self.child.take_console() {
            let copy = console.try_clone().map_err(|e| refuse(WireKind::Kernel, reason(&e)))?;
            self.output
                .watch(Stream::Stdout, copy, poll)
                .map_err(|e| refuse(WireKind::Kernel, format!("console: {}", reason(&e))))?;
            self.console = Some(console);
        }
        if matches!(state, State::Running) {
            self.hear_no_more(poll);
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
    pub fn start(&mut self, asker: Requester) -> Result<(), WireError> {
        step::run("shim.start.release", || self.child.release())?;
        self.phase = Phase::Starting;
        self.starts.push(asker);
        Ok(())
    }

    /// The program runs: since when, and who has asked for it.
    pub fn started(&mut self) -> (i64, Vec<Requester>) {
        self.started_at = now();
        self.phase = Phase::Running(self.started_at);
        (self.started_at, std::mem::take(&mut self.starts))
    }

    /// Kills everything in it, and hears no more of its init but its end.
    pub fn give_up(&self, poll: &Poll) {
        self.hear_no_more(poll);
        self.kill();
    }

    fn hear_no_more(&self, poll: &Poll) {
        if let Some(channel) = self.child.channel() {
            poll.remove(channel);
        }
    }

    /// Kills everything in it.
    pub fn kill(&self) {
        let _ = step::run("shim.stop.kill", || {
            self.child.kill();
            cgroup::kill(&self.cgroups)
        });
    }

    /// The init has ended and is still a zombie: writes the record, kills what it has left behind
    /// where no PID namespace of its own does that.
    pub fn ended(&mut self, exit: Exit, run_dir: &Path) {
        self.record(&exit, run_dir);
        if !self.own_pid_namespace {
            let _ = cgroup::kill(&self.cgroups);
        }
        self.stdin = None;
        self.phase = Phase::Draining(exit, Drain::begin(self.output.count()));
    }

    fn record(&self, exit: &Exit, run_dir: &Path) {
        exit::record(run_dir, &self.id, self.started_at, exit);
    }

    /// Looks whether the last output of a container that has ended is all there, or is not waited
    /// for any more.
    pub fn drain(&mut self, poll: &Poll, log: &LogThread, run_dir: &Path) -> Drained {
        let Phase::Draining(_, drain) = &self.phase else { return Drained::No(None) };
        let (end, is_late) = drain.limits(self.log.as_ref(), self.output.count());
        if !self.output.is_over() && (is_late || self.output.is_silent(SILENCE)) {
            let missing = self.output.missing();
            self.output.give_up(poll);
            if missing != Missing::default() && self.log.is_some() {
                self.tell_missing_output(missing, log, run_dir);
                return Drained::Yes;
            }
        }
        if self.output.is_over() && self.close(log, None) {
            return Drained::Yes;
        }
        if is_late {
            // The log's disk does not even take its last line.
            own_log::note(run_dir, &format!("the log of {} is not closed yet", self.id));
            return Drained::Yes;
        }
        Drained::No(Some(end.min(Instant::now() + SILENCE)))
    }

    /// Says in the log that output is missing. What the log thread has in hand may get there yet,
    /// before its last line does.
    fn tell_missing_output(&mut self, missing: Missing, log: &LogThread, run_dir: &Path) {
        let Missing { in_flight, unread } = missing;
        let lost = in_flight + unread;
        own_log::note(run_dir, &format!("{lost} bytes of the log of {} are missing", self.id));
        let words = || format!("rrun: {unread} bytes are missing here, as the log was too slow");
        self.close(log, (unread > 0).then(words));
        self.not_in_log += lost;
    }

    /// Output that the log's file has not taken. The first reason stays in the shim's own log.
    pub fn not_logged(&mut self, not_taken: &NotTaken, run_dir: &Path) {
        let NotTaken { bytes, why } = not_taken;
        if *bytes > 0 && self.not_in_log == 0 {
            own_log::note(run_dir, &format!("the log of {} lacks output: {why}", self.id));
        }
        self.not_in_log += bytes;
    }

    /// Puts on record how much of the output is not in the log.
    pub fn record_lost_output(&mut self, run_dir: &Path) {
        let lost = self.not_in_log;
        if let Phase::Draining(exit, _) = &mut self.phase
            && exit.output_lost != lost
        {
            exit.output_lost = lost;
            let exit = exit.clone();
            self.record(&exit, run_dir);
        }
    }

    /// Closes the log when all output is read, once. True when there is none to wait for.
    fn close(&mut self, log: &LogThread, words: Option<String>) -> bool {
        if std::mem::replace(&mut self.closing, true) {
            return false;
        }
        self.console = None;
        if self.log.is_some() {
            log.send(LogCommand::Close(self.key, now(), words));
        }
        self.log.is_none()
    }

    /// Stops reading and logging, for one that could not be made; see [`Container::close`].
    pub fn abandon(&mut self, poll: &Poll, log: &LogThread) -> bool {
        self.output.give_up(poll);
        self.close(log, None)
    }

    /// The end is complete.
    pub fn finish(&mut self) -> Option<Exit> {
        self.output.detach();
        let Phase::Draining(exit, _) = &self.phase else { return None };
        let exit = exit.clone();
        self.phase = Phase::Exited(exit.clone());
        Some(exit)
    }

    /// The write end of its stdin, or its terminal.
    pub fn input(&self) -> Result<OwnedFd, WireError> {
        let fd = if self.terminal { &self.console } else { &self.stdin };
        let fd = fd.as_ref().ok_or_else(|| refuse(WireKind::Invalid, "stdin is not open"))?;
        fd.try_clone().map_err(|e| refuse(WireKind::Kernel, reason(&e)))
    }

    /// It has a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Its output goes to a file.
    pub fn is_logged(&self) -> bool {
        self.log.is_some()
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
            .map_err(|e| refuse(WireKind::Kernel, format!("resize: {}", reason(&e))))
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
            Phase::Draining(exit, _) | Phase::Exited(exit) => {
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

fn spawn(plan: &Plan, with: &CreateContext<'_>, stdio: Option<Stdio>) -> Result<Child, WireError> {
    let child = run::spawn(plan, with.slots, with.pod_mounts, stdio);
    child.map(Child::Own).map_err(|error| to_wire(&error))
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
