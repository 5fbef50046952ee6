//! The loop: one thread, one epoll set, and two calls that wait for the kernel. The making of the pod
//! itself is one: there is nothing else to serve then, and its daemon stops waiting after 10 s. The
//! other is the change of a running container's limits: with a memory limit below what is in use the
//! kernel takes memory back before it answers, and kills what does not fit.

use crate::connections::{Connections, Requester};
use crate::log::{Done, LogThread};
use crate::oom::PodKills;
use crate::pod::Pod;
use crate::poll::{Key, Poll, Ready, Token};
use crate::processes::Processes;
use crate::removals::{Removal, Removals};
use crate::timers::{Alarm, Timers};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rrun_shim_protocol::{Reply, WireError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a shim without a pod waits for somebody to speak to it: its daemon may have died in
/// the moment in which it launched it, before the next one can know of it.
const UNASKED: Duration = Duration::from_secs(30);

/// An answer at once, or `None` when it comes later.
pub type Answer = Result<Option<(Reply, Vec<OwnedFd>)>, WireError>;

/// Nothing to add.
pub const DONE: Answer = Ok(Some((Reply::Done, Vec::new())));

/// A shutdown that has begun.
pub struct Shutdown {
    /// Who has asked for it.
    pub askers: Vec<Requester>,
    /// How long what was killed is waited for.
    pub until: Instant,
    /// Everything that can die is dead, and the groups are being removed.
    pub is_removing: bool,
}

/// The tables of a shim, each with its own rules; the verbs, one module each, work on them.
pub struct Shim {
    /// The pod's run folder.
    pub run_dir: PathBuf,
    /// What the loop waits for.
    pub poll: Rc<Poll>,
    /// The log thread.
    pub log: LogThread,
    /// Deadlines.
    pub timers: Timers,
    /// What was made for the pod.
    pub pod: Option<Pod>,
    /// Containers and execs.
    pub processes: Processes,
    /// What the kernel has killed in them.
    pub kills: PodKills,
    /// Daemons.
    pub connections: Connections,
    /// Containers that could not be made and whose logs are being closed, and their groups.
    pub discarded: Vec<(Key, Removal)>,
    /// Control groups on their way out.
    pub removals: Removals,
    /// The end, once it has begun.
    pub shutdown: Option<Shutdown>,
    listener: UnixListener,
    signals: SignalFd,
    last_key: Key,
}

impl Shim {
    /// A shim that listens and has nothing to look after yet.
    pub fn new(listener: UnixListener, signals: SignalFd, run_dir: PathBuf) -> io::Result<Shim> {
        let poll = Rc::new(Poll::new()?);
        let log = LogThread::start()?;
        listener.set_nonblocking(true)?;
        poll.add(&listener, Token::Listener)?;
        poll.add(&signals, Token::Signals)?;
        poll.add(log.wake(), Token::Log)?;
        Ok(Shim {
            run_dir,
            connections: Connections::new(Rc::clone(&poll)),
            removals: Removals::new(Rc::clone(&poll)),
            poll,
            log,
            timers: Timers::default(),
            pod: None,
            processes: Processes::default(),
            kills: PodKills::default(),
            discarded: Vec::new(),
            shutdown: None,
            listener,
            signals,
            last_key: 0,
        })
    }

    /// Serves until it is told to end.
    pub fn run(mut self) -> io::Result<()> {
        self.timers.set(Instant::now() + UNASKED, Alarm::GiveUp);
        while !self.connections.are_over() {
            let next = [self.timers.next(), self.removals.next()].into_iter().flatten().min();
            for ready in self.poll.wait(next)? {
                self.handle(ready);
            }
            for alarm in self.timers.due(Instant::now()) {
                self.ring(alarm);
            }
            for removed in self.removals.due(Instant::now()) {
                self.groups_removed(removed);
            }
            for connection in self.connections.take_closed() {
                self.kill_execs_of(connection);
                self.refuse_asks_of(connection);
            }
            self.go_on_with_shutdown();
        }
        Ok(())
    }

    /// A number that was not used yet.
    pub fn next_key(&mut self) -> Key {
        self.last_key += 1;
        self.last_key
    }

    fn handle(&mut self, ready: Ready) {
        match ready.token {
            Token::Listener => self.accept(),
            Token::Signals => self.signals(),
            Token::Log => self.log_reports(),
            Token::Connection(key) => self.converse(key, ready.writable),
            Token::Init(key) => self.init_reports(key),
            Token::Exec(key) => self.exec_reports(key),
            Token::Removal => {
                if let Some(removed) = self.removals.thread_ended(Instant::now()) {
                    self.groups_removed(removed);
                }
            }
            Token::Output(key, stream) => {
                if let Some(container) = self.processes.container(key) {
                    container.output.read(stream, &self.poll, &self.log);
                    self.drain(key);
                }
            }
        }
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept() {
            let key = self.next_key();
            self.connections.add(key, stream);
        }
    }

    fn signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                // Only a person sends this; the daemon asks for a shutdown over the socket.
                self.begin_shutdown(None);
            }
        }
        self.reap_children();
    }

    fn converse(&mut self, key: Key, writable: bool) {
        let Some(received) = self.connections.read(key) else { return };
        for frame in received.frames {
            self.serve(key, frame);
        }
        if received.is_over {
            self.connections.close(key);
        } else if writable {
            self.connections.flush(key);
        }
    }

    fn log_reports(&mut self) {
        for done in self.log.done() {
            match done {
                Done::Opened(key, result) => self.log_opened(key, result),
                Done::Written(key, stream, not_taken) => {
                    if let Some(container) = self.processes.container(key) {
                        container.not_logged(&not_taken, &self.run_dir);
                        container.output.written(stream, &self.poll);
                    }
                }
                Done::Reopened(key, result) => self.log_reopened(key, result),
                Done::Closed(key, not_taken) => {
                    if let Some(container) = self.processes.container(key) {
                        container.not_logged(&not_taken, &self.run_dir);
                    }
                    self.log_closed(key);
                }
            }
        }
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::KillContainer(key) => {
                if let Some(container) = self.processes.container(key).filter(|c| c.is_alive()) {
                    container.kill();
                }
            }
            Alarm::KillExec(key) => self.exec_times_out(key),
            Alarm::EndCall(key) => self.watch_call(key),
            Alarm::GiveUp if self.pod.is_none() => match self.connections.is_empty() {
                true => self.begin_shutdown(None),
                false => self.timers.set(Instant::now() + UNASKED, Alarm::GiveUp),
            },
            Alarm::GiveUp => {}
            Alarm::Drain(key) => self.drain(key),
            Alarm::FinishDiscard(key) => self.finish_discard(key),
            Alarm::ShutDown => self.go_on_with_shutdown(),
            Alarm::Trim => rrun_sys::heap::trim(),
        }
    }
}
