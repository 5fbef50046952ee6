//! Requests, one function each.

use crate::container::{Asker, Container, Phase, Surroundings};
use crate::exec::{self, Exec};
use crate::log::Order;
use crate::output::Copies;
use crate::pod::{self, Pod};
use crate::poll::{Key, Token};
use crate::process::{refuse, wire};
use crate::shim::Shim;
use crate::timers::Alarm;
use rrun_runtime::cgroup;
use rrun_shim_protocol::frame::{Carries, Frame};
use rrun_shim_protocol::{
    Create, Exec as ExecOrder, OLDEST, Reply, Request, Sandbox, ShimReport, VERSION, WireError,
    WireKind, exit_record,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// An answer at once, or `None` when it comes later.
type Answer = Result<Option<(Reply, Vec<OwnedFd>)>, WireError>;

const DONE: Answer = Ok(Some((Reply::Done, Vec::new())));

impl Shim {
    /// Serves one request of connection `key`.
    pub(crate) fn serve(&mut self, key: Key, frame: Frame) {
        let asker = (key, frame.number);
        let answer = match frame.message::<Request>() {
            _ if frame.carries != Carries::Request => {
                Err(refuse(WireKind::Invalid, "this shim takes nothing but requests"))
            }
            Ok(request) if self.may(key, &request) => self.dispatch(request, frame.fds, asker),
            Ok(_) => Err(refuse(WireKind::Invalid, "no version is agreed on that has this")),
            Err(error) => Err(refuse(WireKind::Invalid, error)),
        };
        match answer {
            Ok(Some((reply, fds))) => self.answer(asker, reply, fds),
            Ok(None) => {}
            Err(error) => self.answer(asker, Reply::Error(error), Vec::new()),
        }
    }

    fn may(&self, key: Key, request: &Request) -> bool {
        let version = self.connections.get(&key).map_or(0, |connection| connection.version);
        match request {
            Request::Hello { .. } => true,
            _ => version >= OLDEST,
        }
    }

    fn dispatch(&mut self, request: Request, fds: Vec<OwnedFd>, asker: Asker) -> Answer {
        match request {
            Request::Hello { oldest, newest } => self.hello(asker.0, oldest, newest),
            Request::Sandbox(sandbox) => self.sandbox(sandbox),
            Request::Create(create) => self.create(create, fds, asker),
            Request::Start { container } => self.start(&container, asker),
            Request::Stop { container, signal, grace_ms } => {
                self.stop(&container, signal, Duration::from_millis(grace_ms), asker)
            }
            Request::Delete { container } => self.delete(&container),
            Request::Exec(order) => self.exec(order, fds, asker),
            Request::KillExec { exec } => self.kill_exec(asker.0, exec),
            Request::Resize { container, rows, columns } => {
                self.container(&container)?.resize(rows, columns)?;
                DONE
            }
            Request::Attach { container, stdout, stderr, stdin } => {
                self.attach(&container, [stdout, stderr, stdin], fds)
            }
            Request::CloseStdin { container } => {
                self.container(&container)?.close_stdin();
                DONE
            }
            Request::ReopenLog { container } => self.reopen_log(&container, asker),
            Request::LogPipes { container } => self.log_pipes(&container),
            Request::State => Ok(Some((Reply::State(self.report()), Vec::new()))),
            Request::Shutdown => {
                self.shut_down();
                if let Some(connection) = self.connections.get_mut(&asker.0) {
                    connection.last = true;
                }
                DONE
            }
        }
    }

    fn hello(&mut self, key: Key, oldest: u16, newest: u16) -> Answer {
        let version = newest.min(VERSION);
        if version < oldest.max(OLDEST) {
            let words = format!("this shim speaks versions {OLDEST} to {VERSION}");
            return Err(refuse(WireKind::Invalid, words));
        }
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.version = version;
        }
        let pid = nix::unistd::getpid().as_raw();
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Some((Reply::Hello { version, pid, release }, Vec::new())))
    }

    fn sandbox(&mut self, sandbox: Sandbox) -> Answer {
        match &self.pod {
            Some(pod) if !pod.is(&sandbox) => {
                return Err(refuse(WireKind::Exists, "the sandbox was made otherwise"));
            }
            Some(_) => {}
            None => self.pod = Some(Pod::make(sandbox)?),
        }
        let reaper = self.pod.as_ref().and_then(Pod::reaper).map(nix::unistd::Pid::as_raw);
        Ok(Some((Reply::Sandbox { reaper }, Vec::new())))
    }

    fn create(&mut self, create: Create, fds: Vec<OwnedFd>, asker: Asker) -> Answer {
        if self.containers.values().any(|container| container.id == create.container) {
            return Err(refuse(WireKind::Exists, format!("container {}", create.container)));
        }
        let key = self.next_key();
        let pod = self.pod.as_ref().ok_or_else(pod::missing)?;
        let slots: Vec<BorrowedFd<'_>> = pod.slots().chain(fds.iter().map(AsFd::as_fd)).collect();
        let around = Surroundings {
            slots: &slots,
            seed: Some(pod.seed()),
            poll: &self.poll,
            log: &self.log,
            run_dir: &self.run_dir,
        };
        let container = Container::create(key, create, asker, &around)?;
        self.containers.insert(key, container);
        Ok(None)
    }

    fn start(&mut self, id: &str, asker: Asker) -> Answer {
        let container = self.container(id)?;
        match container.phase {
            Phase::Created => {
                container.start(asker)?;
                Ok(None)
            }
            Phase::Starting => {
                container.starts.push(asker);
                Ok(None)
            }
            Phase::Running(at) => Ok(Some((Reply::Started { at }, Vec::new()))),
            _ => Err(refuse(WireKind::Invalid, format!("container {id} waits for no start"))),
        }
    }

    fn stop(&mut self, id: &str, signal: i32, grace: Duration, asker: Asker) -> Answer {
        let container = self.container(id)?;
        if let Phase::Exited(exit) = &container.phase {
            return Ok(Some((Reply::Exited(exit.clone()), Vec::new())));
        }
        container.stops.push(asker);
        let runs = matches!(container.phase, Phase::Running(_));
        if !container.is_alive() {
            return Ok(None);
        }
        // An init that waits for its start has no handler to hear a signal with.
        if grace.is_zero() || !runs {
            container.kill();
            return Ok(None);
        }
        if !std::mem::replace(&mut container.signalled, true) {
            send(container, signal)?;
        }
        let alarm = Alarm::KillContainer(container.key);
        // A grace of centuries is a grace without an end.
        if let Some(at) = Instant::now().checked_add(grace) {
            self.timers.set(at, alarm);
        }
        Ok(None)
    }

    fn delete(&mut self, id: &str) -> Answer {
        let Ok(container) = self.container(id) else { return DONE };
        if !matches!(container.phase, Phase::Exited(_)) {
            return Err(refuse(WireKind::Invalid, format!("container {id} has not ended")));
        }
        let key = container.key;
        let groups = container.cgroups.clone();
        cgroup::remove(&groups.dirs).map_err(|error| wire(&error))?;
        let record = || exit_record::remove(&self.run_dir, id);
        rrun_sys::step::only("shim.delete.record", record)
            .map_err(|error| refuse(WireKind::Kernel, format!("exit record of {id}: {error}")))?;
        self.containers.remove(&key);
        DONE
    }

    fn exec(&mut self, order: ExecOrder, fds: Vec<OwnedFd>, asker: Asker) -> Answer {
        let timeout = order.timeout_ms.map(Duration::from_millis);
        let container = self.container(&order.container)?;
        if !matches!(container.phase, Phase::Running(_)) {
            let words = format!("container {} is not running", order.container);
            return Err(refuse(WireKind::Invalid, words));
        }
        let stdio = exec::stdio(&order, fds)?;
        let group = container.take_exec_group(&order.plan);
        let place = (container.key, container.pidfd());
        let started = Exec::start(order, place, (asker, group), stdio);
        let exec = match started {
            Ok(exec) => exec,
            Err(error) => {
                container.exec_groups[group] = false;
                return Err(error);
            }
        };
        let key = self.next_key();
        self.poll
            .add(exec.channel(), Token::Exec(key))
            .map_err(|e| refuse(WireKind::Kernel, format!("epoll: {e}")))?;
        if let Some(at) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            self.timers.set(at, Alarm::KillExec(key));
        }
        self.execs.insert(key, exec);
        Ok(None)
    }

    fn kill_exec(&mut self, owner: Key, number: u64) -> Answer {
        let mine = |exec: &&mut Exec| exec.owner == owner && exec.number == number;
        let exec = self.execs.values_mut().find(mine);
        let exec = exec.ok_or_else(|| refuse(WireKind::NotFound, format!("exec {number}")))?;
        exec.kill();
        DONE
    }

    fn attach(&mut self, id: &str, wanted: [bool; 3], fds: Vec<OwnedFd>) -> Answer {
        let container = self.container(id)?;
        if !container.is_alive() {
            return Err(refuse(WireKind::Invalid, format!("container {id} has ended")));
        }
        let mut fds = fds.into_iter();
        let [stdout, stderr, stdin] = wanted;
        let input = if stdin { vec![container.input()?] } else { Vec::new() };
        let copies = Copies {
            stdout: stdout.then(|| fds.next()).flatten(),
            stderr: stderr.then(|| fds.next()).flatten(),
        };
        container
            .output
            .attach(copies)
            .map_err(|e| refuse(WireKind::Kernel, format!("attach {id}: {e}")))?;
        Ok(Some((Reply::Attached, input)))
    }

    fn reopen_log(&mut self, id: &str, asker: Asker) -> Answer {
        let container = self.container(id)?;
        if !matches!(container.phase, Phase::Running(_)) {
            return Err(refuse(WireKind::Invalid, format!("container {id} is not running")));
        }
        if !container.is_logged() {
            return DONE;
        }
        container.reopens.push(asker);
        let key = container.key;
        self.log.order(Order::Reopen(key));
        Ok(None)
    }

    fn log_pipes(&mut self, id: &str) -> Answer {
        let taken = self.log.taken();
        let container = self.container(id)?;
        let failed = |error| refuse(WireKind::Kernel, format!("duplicate its pipes: {error}"));
        let [stdout, stderr] = container.output.duplicates().map_err(failed)?;
        let stdin = if container.is_terminal() { None } else { container.input().ok() };
        let reply = Reply::LogPipes {
            stdout: stdout.is_some(),
            stderr: stderr.is_some(),
            stdin: stdin.is_some(),
        };
        let fds = [Some(taken.map_err(failed)?), stdout, stderr, stdin];
        Ok(Some((reply, fds.into_iter().flatten().collect())))
    }

    fn report(&self) -> ShimReport {
        ShimReport {
            sandbox: self.pod.is_some(),
            reaper: self.pod.as_ref().and_then(Pod::reaper).map(nix::unistd::Pid::as_raw),
            containers: self.containers.values().map(Container::report).collect(),
        }
    }

    /// Kills what runs and takes away what was made for the pod. The run folder is the daemon's.
    pub(crate) fn shut_down(&mut self) {
        self.bury_all();
        for error in self.pod.take().map(Pod::remove).unwrap_or_default() {
            crate::journal::note(&self.run_dir, &format!("shut down: {error}"));
        }
        let socket = rrun_shim_protocol::Launch::socket(&self.run_dir);
        // The end of the loop comes here again after a shutdown that was asked for.
        if socket.exists() {
            let unlink = || std::fs::remove_file(&socket);
            let _ = rrun_sys::step::only("shim.shutdown.socket", unlink);
        }
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, WireError> {
        let mut all = self.containers.values_mut();
        all.find(|container| container.id == id)
            .ok_or_else(|| refuse(WireKind::NotFound, format!("container {id}")))
    }
}

fn send(container: &Container, signal: i32) -> Result<(), WireError> {
    let send = || rrun_sys::pidfd::send_signal(container.pidfd(), signal);
    rrun_sys::step::only("shim.stop.signal", send).map_err(|error| {
        let words = format!("signal {signal} to container {}: {error}", container.id);
        refuse(WireKind::Kernel, words)
    })
}
