//! The loop: one thread, one epoll set, nothing that blocks.

use crate::connection::Connection;
use crate::container::{Asker, Container, Phase};
use crate::exec::Exec;
use crate::log::{Done, LogThread};
use crate::pod::Pod;
use crate::poll::{Key, Poll, Ready, Token};
use crate::process::{Ended, is_reaped, refuse};
use crate::timers::{Alarm, Timers};
use nix::sys::signalfd::SignalFd;
use rrun_runtime::plan::Cgroups;
use rrun_runtime::run::State;
use rrun_shim_protocol::{Event, Reply, WireError, WireKind};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the output of a container that has ended may still come: its pipes can be in hands
/// outside of it, and the next step of its life must not wait for those.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// How long a shim without a pod waits for somebody to speak to it: its daemon may have died in
/// the moment in which it launched it, before the next one can know of it.
const UNASKED: Duration = Duration::from_secs(30);

/// Everything the shim holds. The parts have their own modules; here they meet.
pub struct Shim {
    pub(crate) run_dir: PathBuf,
    pub(crate) poll: Poll,
    pub(crate) log: LogThread,
    pub(crate) timers: Timers,
    pub(crate) pod: Option<Pod>,
    pub(crate) containers: BTreeMap<Key, Container>,
    pub(crate) execs: BTreeMap<Key, Exec>,
    pub(crate) connections: BTreeMap<Key, Connection>,
    pub(crate) doomed: BTreeMap<i32, Doomed>,
    pub(crate) unclaimed: BTreeMap<i32, Ended>,
    listener: UnixListener,
    pub(crate) signals: SignalFd,
    last_key: Key,
    pub(crate) over: bool,
}

/// An init that was given up and is not yet reaped.
pub(crate) struct Doomed {
    pub(crate) cgroups: Cgroups,
    pub(crate) asker: Asker,
    pub(crate) error: WireError,
}

impl Shim {
    /// A shim that listens and has nothing to look after yet.
    pub fn new(listener: UnixListener, signals: SignalFd, run_dir: PathBuf) -> io::Result<Shim> {
        let poll = Poll::new()?;
        let log = LogThread::start()?;
        listener.set_nonblocking(true)?;
        poll.add(&listener, Token::Listener)?;
        poll.add(&signals, Token::Signals)?;
        poll.add(log.wake(), Token::Log)?;
        Ok(Shim {
            run_dir,
            poll,
            log,
            timers: Timers::default(),
            pod: None,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            connections: BTreeMap::new(),
            doomed: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            listener,
            signals,
            last_key: 0,
            over: false,
        })
    }

    /// Serves until it is told to end.
    pub fn run(mut self) -> io::Result<()> {
        self.timers.set(Instant::now() + UNASKED, Alarm::GiveUp);
        while !self.over {
            for ready in self.poll.wait(self.timers.next())? {
                self.handle(ready);
            }
            for alarm in self.timers.due(Instant::now()) {
                self.ring(alarm);
            }
        }
        self.shut_down();
        Ok(())
    }

    pub(crate) fn next_key(&mut self) -> Key {
        self.last_key += 1;
        self.last_key
    }

    fn handle(&mut self, ready: Ready) {
        match ready.token {
            Token::Listener => self.accept(),
            Token::Signals => self.signals(),
            Token::Log => self.logged(),
            Token::Connection(key) => self.converse(key, ready.writable),
            Token::Init(key) => self.init_reports(key),
            Token::Exec(key) => self.exec_reports(key),
            Token::Output(key, stream) => {
                if let Some(container) = self.containers.get_mut(&key) {
                    container.output.read(stream, &self.poll, &self.log);
                    self.drained(key);
                }
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let Ok(connection) = Connection::new(stream) else { return };
        let key = self.next_key();
        if self.poll.add(&connection, Token::Connection(key)).is_ok() {
            self.connections.insert(key, connection);
        }
    }

    fn converse(&mut self, key: Key, writable: bool) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let frames = connection.read();
        let is_gone = frames.is_none();
        for frame in frames.into_iter().flatten() {
            self.serve(key, frame);
        }
        if is_gone {
            self.hang_up(key);
        } else if writable {
            self.flush(key);
        }
    }

    /// Sends what waits for this connection, and hears when there is room for more.
    pub(crate) fn flush(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        match connection.flush() {
            Some(more) => {
                self.over |= connection.last && !more;
                let connection = &*connection;
                self.poll.watch_writable(
                    std::os::fd::AsFd::as_fd(connection),
                    Token::Connection(key),
                    more,
                );
            }
            None => self.hang_up(key),
        }
    }

    /// Ends a connection and the execs that lived by it.
    fn hang_up(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(&key) {
            self.over |= connection.last;
            self.poll.remove(&connection);
        }
        for exec in self.execs.values_mut().filter(|exec| exec.owner == key) {
            exec.kill();
        }
    }

    /// Answers a request; a daemon that is gone needs none.
    pub(crate) fn answer(&mut self, (key, number): Asker, reply: Reply, fds: Vec<OwnedFd>) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.reply(number, &reply, fds);
            self.flush(key);
        }
    }

    fn answer_all(&mut self, askers: Vec<Asker>, reply: &Reply) {
        for asker in askers {
            self.answer(asker, reply.clone(), Vec::new());
        }
    }

    fn tell(&mut self, keys: Vec<Key>, event: &Event) {
        for key in keys {
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.event(event);
                self.flush(key);
            }
        }
    }

    fn init_reports(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        match container.advance(&self.poll) {
            Ok(State::Waiting) => {
                self.prepared(key);
                self.claim_init(key);
            }
            Ok(State::Running) => {
                if matches!(container.phase, Phase::Starting) {
                    let (at, askers) = container.started();
                    self.answer_all(askers, &Reply::Started { at });
                }
            }
            Ok(_) => {}
            Err(error) => self.init_failed(key, error),
        }
    }

    /// Tells the creator once the init waits and the log is open.
    fn prepared(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let Phase::Preparing(asker) = container.phase else { return };
        let waits = matches!(container.advance(&self.poll), Ok(State::Waiting));
        if container.log_is_pending() || !waits {
            return;
        }
        container.phase = Phase::Created;
        let pid = container.pid().as_raw();
        match container.pidfd().try_clone_to_owned() {
            Ok(pidfd) => self.answer(asker, Reply::Created { pid }, vec![pidfd]),
            Err(error) => self.discard(key, asker, refuse(WireKind::Kernel, error)),
        }
    }

    fn init_failed(&mut self, key: Key, error: WireError) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        match container.phase {
            Phase::Preparing(asker) => self.discard(key, asker, error),
            Phase::Starting => {
                // It has reported why it cannot execute and is about to exit, if it has not.
                container.kill();
                container.ended(128, Some(error.to_string()), &self.run_dir);
                let askers = std::mem::take(&mut container.starts);
                self.answer_all(askers, &Reply::Error(error));
                self.begin_drain(key);
            }
            _ => container.give_up(&self.poll),
        }
    }

    /// A container that could not be made leaves nothing; its creator hears of it when that is
    /// so. An init that hangs on a dead file system is waited for by the daemon, not by the loop.
    fn discard(&mut self, key: Key, asker: Asker, error: WireError) {
        if let Some(mut container) = self.containers.remove(&key) {
            container.kill();
            container.output.give_up(&self.poll);
            container.drained(&self.log);
            let pid = container.pid().as_raw();
            for stop in std::mem::take(&mut container.stops) {
                let gone = refuse(WireKind::NotFound, format!("container {}", container.id));
                self.answer(stop, Reply::Error(gone), Vec::new());
            }
            let is_gone = is_reaped(container.pid());
            self.doomed.insert(pid, Doomed { cgroups: container.cgroups, asker, error });
            if is_gone {
                self.buried(pid);
            }
        }
    }

    pub(crate) fn init_ended(&mut self, key: Key, Ended { pid, code }: Ended) {
        // Its last report may say more than its exit code: also that it was only the one that
        // joined the namespaces and has handed over to the init proper.
        self.init_reports(key);
        let Some(container) = self.containers.get_mut(&key) else { return };
        if container.pid() != pid {
            return;
        }
        match container.phase {
            Phase::Preparing(asker) => {
                let words = format!("the init ended with {code} before it was ready");
                self.discard(key, asker, refuse(WireKind::Kernel, words));
            }
            Phase::Starting => {
                let words = format!("the init ended with {code} before its program ran");
                container.ended(128, Some(words.clone()), &self.run_dir);
                let askers = std::mem::take(&mut container.starts);
                self.answer_all(askers, &Reply::Error(refuse(WireKind::Kernel, words)));
                self.begin_drain(key);
            }
            Phase::Created | Phase::Running(_) => {
                container.ended(code, None, &self.run_dir);
                self.begin_drain(key);
            }
            Phase::Draining(_) | Phase::Exited(_) => {}
        }
    }

    fn begin_drain(&mut self, key: Key) {
        self.timers.set(Instant::now() + DRAIN, Alarm::StopDraining(key));
        self.drained(key);
    }

    /// Goes on with a container that has ended when its output is all read.
    fn drained(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        if matches!(container.phase, Phase::Draining(_))
            && container.output.is_over()
            && container.drained(&self.log)
        {
            self.finish(key);
        }
    }

    /// Everything of an ended container is where it belongs: now it may be told.
    fn finish(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let Some(exit) = container.finish() else { return };
        let stops = std::mem::take(&mut container.stops);
        // What a client does next may be to remove the pod's group, with this one in it.
        let removed = rrun_runtime::cgroup::remove(&container.cgroups.dirs);
        if let Err(left) = removed {
            crate::journal::note(&self.run_dir, &format!("remove groups: {left}"));
        }
        let event = Event::Exited { container: container.id.clone(), exit: exit.clone() };
        self.answer_all(stops, &Reply::Exited(exit));
        self.tell(self.connections.keys().copied().collect(), &event);
    }

    fn exec_reports(&mut self, key: Key) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        let asker = exec.asker;
        match exec.advance() {
            Ok((State::Running, console)) => {
                self.poll.remove(exec.channel());
                exec.asker = None;
                let pid = exec.pid().as_raw();
                if let Some(asker) = asker {
                    self.answer(asker, Reply::ExecStarted { pid }, console.into_iter().collect());
                }
                self.claim_exec(key);
            }
            Ok(_) => {}
            Err(error) => {
                exec.kill();
                exec.asker = None;
                self.poll.remove(exec.channel());
                if is_reaped(exec.pid())
                    && let Some(exec) = self.execs.remove(&key)
                {
                    self.give_back_group(&exec);
                }
                if let Some(asker) = asker {
                    self.answer(asker, Reply::Error(error), Vec::new());
                }
            }
        }
    }

    fn give_back_group(&mut self, exec: &Exec) {
        if let Some(container) = self.containers.get_mut(&exec.container)
            && let Some(used) = container.exec_groups.get_mut(exec.group)
            && exec.give_back_group()
        {
            *used = false;
        }
    }

    pub(crate) fn exec_ended(&mut self, key: Key, Ended { pid, code }: Ended) {
        if self.execs.get(&key).is_some_and(|exec| exec.asker.is_some()) {
            self.exec_reports(key);
        }
        // As with an init, it may be the one that has handed over.
        if self.execs.get(&key).is_none_or(|exec| exec.pid() != pid) {
            return;
        }
        let Some(exec) = self.execs.remove(&key) else { return };
        self.give_back_group(&exec);
        match exec.asker {
            Some(asker) => {
                self.poll.remove(exec.channel());
                let words = format!("the process ended with {code} before its program ran");
                self.answer(asker, Reply::Error(refuse(WireKind::Kernel, words)), Vec::new());
            }
            None => {
                let event = Event::ExecExited { exec: exec.number, exit: exec.exit(code) };
                self.tell(vec![exec.owner], &event);
            }
        }
    }

    fn logged(&mut self) {
        for done in self.log.done() {
            match done {
                Done::Opened(key, result) => self.log_opened(key, result),
                Done::Written(key, stream) => {
                    if let Some(container) = self.containers.get_mut(&key) {
                        container.output.written(stream, &self.poll);
                    }
                }
                Done::Reopened(key, result) => self.log_reopened(key, result),
                Done::Closed(key) => self.finish(key),
            }
        }
    }

    fn log_opened(&mut self, key: Key, result: io::Result<()>) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        container.log_opened();
        match (result, &container.phase) {
            (Err(error), &Phase::Preparing(asker)) => {
                self.discard(key, asker, refuse(WireKind::Kernel, error));
            }
            _ => self.prepared(key),
        }
    }

    fn log_reopened(&mut self, key: Key, result: io::Result<()>) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let reply = match result {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Error(refuse(WireKind::Kernel, error)),
        };
        let askers = std::mem::take(&mut container.reopens);
        self.answer_all(askers, &reply);
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::KillContainer(key) => {
                if let Some(container) = self.containers.get(&key).filter(|c| c.is_alive()) {
                    container.kill();
                }
            }
            Alarm::KillExec(key) => {
                if let Some(exec) = self.execs.get_mut(&key) {
                    exec.timed_out = true;
                    exec.kill();
                }
            }
            Alarm::GiveUp if self.pod.is_none() => match self.connections.is_empty() {
                true => self.over = true,
                false => self.timers.set(Instant::now() + UNASKED, Alarm::GiveUp),
            },
            Alarm::GiveUp => {}
            Alarm::StopDraining(key) => {
                if let Some(container) = self.containers.get_mut(&key)
                    && matches!(container.phase, Phase::Draining(_))
                {
                    // A slow log disk is waited for.
                    if container.output.is_stuck(DRAIN / 2) {
                        return self.timers.set(Instant::now() + DRAIN, alarm);
                    }
                    container.output.give_up(&self.poll);
                    self.drained(key);
                }
            }
        }
    }
}
