//! What a daemon asks: who does it, and the requests that one function answers at once.

use crate::connections::Requester;
use crate::container::{Container, Phase};
use crate::log::LogCommand;
use crate::output::Copies;
use crate::pod::Pod;
use crate::poll::Key;
use crate::process::refuse;
use crate::shim::{Answer, DONE, Shim};
use rrun_error::reason;
use rrun_shim_protocol::frame::{Frame, FrameKind};
use rrun_shim_protocol::{OLDEST, Reply, Request, Sandbox, ShimReport, VERSION, WireKind};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

impl Shim {
    /// Serves one request of connection `key`.
    pub fn serve(&mut self, key: Key, frame: Frame) {
        let asker = (key, frame.number);
        let answer = match frame.message::<Request>() {
            _ if frame.carries != FrameKind::Request => {
                Err(refuse(WireKind::Invalid, "this shim takes nothing but requests"))
            }
            Ok(request) if self.may(key, &request) => self.dispatch(request, frame.fds, asker),
            Ok(_) => Err(refuse(WireKind::Invalid, "no version is agreed on that has this")),
            Err(error) => Err(refuse(WireKind::Invalid, error)),
        };
        match answer {
            Ok(Some((reply, fds))) => self.connections.answer(asker, &reply, fds),
            Ok(None) => {}
            Err(error) => self.connections.answer(asker, &Reply::Error(error), Vec::new()),
        }
    }

    fn may(&self, key: Key, request: &Request) -> bool {
        self.connections.version(key) >= request.since()
    }

    fn dispatch(&mut self, request: Request, fds: Vec<OwnedFd>, asker: Requester) -> Answer {
        let makes = matches!(request, Request::Sandbox(_) | Request::Create(_) | Request::Exec(_));
        if makes && self.shutdown.is_some() {
            return Err(refuse(WireKind::Invalid, "this shim is about to end"));
        }
        match request {
            Request::Hello { oldest, newest } => self.hello(asker.0, oldest, newest),
            Request::Sandbox(sandbox) => self.sandbox(sandbox),
            Request::Create(create) => self.create(create, fds, asker),
            Request::Start { container } => self.start(&container, asker),
            Request::Stop { container, signal, grace_ms } => {
                self.stop(&container, signal, Duration::from_millis(grace_ms), asker)
            }
            Request::Delete { container } => self.delete(&container, asker),
            Request::Exec(exec) => self.exec(exec, fds, asker),
            Request::KillExec { exec } => self.kill_exec(asker.0, exec),
            Request::Resize { container, rows, columns } => {
                self.processes.container_of(&container)?.resize(rows, columns)?;
                DONE
            }
            Request::Attach { container, stdout, stderr, stdin } => {
                self.attach(&container, [stdout, stderr, stdin], fds)
            }
            Request::CloseStdin { container } => {
                self.processes.container_of(&container)?.close_stdin();
                DONE
            }
            Request::ReopenLog { container } => self.reopen_log(&container, asker),
            Request::LogPipes { container } => self.log_pipes(&container),
            Request::Update(update) => self.update(&update),
            Request::Answer { container, refusal } => self.answer_ask(&container, refusal),
            Request::State => Ok(Some((Reply::State(self.report()), Vec::new()))),
            Request::Shutdown => {
                self.begin_shutdown(Some(asker));
                Ok(None)
            }
        }
    }

    fn hello(&mut self, key: Key, oldest: u16, newest: u16) -> Answer {
        let version = newest.min(VERSION);
        if version < oldest.max(OLDEST) {
            let words = format!("this shim speaks versions {OLDEST} to {VERSION}");
            return Err(refuse(WireKind::Invalid, words));
        }
        self.connections.agree(key, version);
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

    fn attach(&mut self, id: &str, wanted: [bool; 3], fds: Vec<OwnedFd>) -> Answer {
        let container = self.processes.container_of(id)?;
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
            .map_err(|e| refuse(WireKind::Kernel, format!("attach {id}: {}", reason(&e))))?;
        Ok(Some((Reply::Attached, input)))
    }

    fn reopen_log(&mut self, id: &str, asker: Requester) -> Answer {
        let container = self.processes.container_of(id)?;
        if !matches!(container.phase, Phase::Running(_)) {
            return Err(refuse(WireKind::Invalid, format!("container {id} is not running")));
        }
        if !container.is_logged() {
            return DONE;
        }
        container.reopens.push(asker);
        let key = container.key;
        self.log.send(LogCommand::Reopen(key));
        Ok(None)
    }

    fn log_pipes(&mut self, id: &str) -> Answer {
        let tee = self.log.tee();
        let container = self.processes.container_of(id)?;
        let failed =
            |error| refuse(WireKind::Kernel, format!("duplicate its pipes: {}", reason(&error)));
        let [stdout, stderr] = container.output.duplicates().map_err(failed)?;
        let stdin = if container.is_terminal() { None } else { container.input().ok() };
        let reply = Reply::LogPipes {
            stdout: stdout.is_some(),
            stderr: stderr.is_some(),
            stdin: stdin.is_some(),
        };
        let fds = [Some(tee.map_err(failed)?), stdout, stderr, stdin];
        Ok(Some((reply, fds.into_iter().flatten().collect())))
    }

    fn report(&self) -> ShimReport {
        ShimReport {
            sandbox: self.pod.is_some(),
            reaper: self.pod.as_ref().and_then(Pod::reaper).map(nix::unistd::Pid::as_raw),
            containers: self.processes.containers().map(Container::report).collect(),
        }
    }

    /// The log thread has opened a log anew, or could not.
    pub fn log_reopened(&mut self, key: Key, result: io::Result<()>) {
        let Some(container) = self.processes.container(key) else { return };
        let reply = match result {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Error(refuse(WireKind::Kernel, reason(&error))),
        };
        let askers = std::mem::take(&mut container.reopens);
        self.connections.answer_all(askers, &reply);
    }
}
