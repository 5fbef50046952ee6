//! One process of criu that answers one request: `criu swrk`.

use super::message::{Notice, Request, Response, Type, Wanted};
use super::options::Folders;
use crate::{Context, Error, Kind, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use prost::Message;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The longest answer that is read.
const ANSWER_MAX: usize = 64 << 10;

/// How many lines of the log an error has.
const LINES: usize = 3;

/// A process that waits for a request, or works on one.
pub(super) struct Worker {
    child: Child,
    socket: Option<OwnedFd>,
}

impl Worker {
    /// Starts it. `prepare` says what it gets beside the socket; by default all its standard
    /// descriptors are `/dev/null`.
    pub(super) fn start(criu: &Path, prepare: impl FnOnce(&mut Command)) -> Result<Worker> {
        let context = || format!("start {}", criu.display());
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (ours, theirs) = pair.context(context)?;
        let mut command = Command::new(criu);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        rrun_sys::command::hand_on(&mut command, vec![theirs]);
        prepare(&mut command);
        let child = command.spawn().context(context)?;
        // The command has its end of the socket, which closes when the command ends.
        drop(command);
        Ok(Worker { child, socket: Some(ours) })
    }

    /// The process.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Asks, and answers each notice by `notice`, which gets the descriptor that came along. Blocks
    /// until all is done and the process has ended.
    pub(super) fn ask(
        mut self,
        (kind, options): (Type, Wanted),
        folders: &Folders,
        mut notice: impl FnMut(&Notice, Option<OwnedFd>) -> Result<()>,
    ) -> Result<()> {
        let request = Request { kind: kind.into(), options: Some(options), notify_success: None };
        self.send(&request)?;
        let mut refused: Option<Error> = None;
        let response = loop {
            // Who has refused knows more of its end.
            let heard = self.receive().map_err(|gone| refused.take().unwrap_or(gone));
            let (response, fd) = heard?;
            let Some(told) = response.notice.as_ref().filter(|_| response.kind() == Type::Notify)
            else {
                break response;
            };
            let done = notice(told, fd);
            let success = done.is_ok();
            refused = refused.or(done.err());
            let kind = Type::Notify.into();
            let answer = Request { kind, options: None, notify_success: Some(success) };
            self.send(&answer).map_err(|gone| refused.take().unwrap_or(gone))?;
        };
        self.end();
        match refused {
            Some(error) => Err(error),
            None if response.success => Ok(()),
            None => Err(failed(&response, folders)),
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        let Some(socket) = &self.socket else { return Err(gone()) };
        rrun_sys::fdpass::send(socket.as_fd(), &request.encode_to_vec(), &[]).map(drop).map_err(
            |errno| match errno {
                Errno::EPIPE | Errno::ECONNRESET => gone(),
                errno => Error::from(errno).context("ask criu"),
            },
        )
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let Some(socket) = &self.socket else { return Err(gone()) };
        let (mut buffer, mut fds) = (vec![0; ANSWER_MAX], Vec::new());
        let length = loop {
            match rrun_sys::fdpass::receive(socket.as_fd(), &mut buffer, &mut fds) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Err(gone()),
                other => break other.context(|| "hear criu")?,
            }
        };
        if length == 0 {
            return Err(gone());
        }
        let response = Response::decode(buffer.get(..length).unwrap_or_default());
        let response = response.map_err(|error| {
            Error::new(Kind::Invalid, error.to_string()).context("read criu's answer")
        })?;
        Ok((response, fds.into_iter().next()))
    }

    /// It ends when nobody asks any more.
    fn end(&mut self) {
        self.socket = None;
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

fn gone() -> Error {
    Error::new(Kind::Ended, "criu has ended without an answer")
}

/// What its log says, and where that is.
fn failed(response: &Response, folders: &Folders) -> Error {
    let log = &folders.log;
    let text = rrun_sys::record::read(log).unwrap_or_default();
    let mut why = errors(&String::from_utf8_lossy(&text)).join("; ");
    if why.is_empty() {
        why = match (&response.error, response.errno) {
            (Some(text), _) => text.trim().to_owned(),
            (None, Some(errno)) => nix::errno::Errno::from_raw(errno).to_string(),
            (None, None) => "it does not say why".to_owned(),
        };
    }
    if folders.log_stays {
        why += &format!(" (log: {})", log.display());
    }
    Error::new(Kind::Kernel, why).context("criu")
}

/// The last errors of a log, without the one that says no more than that there were some.
fn errors(log: &str) -> Vec<&str> {
    let of = |line: &'_ str| -> Option<std::ops::Range<usize>> {
        let at = line.find("Error (")?;
        let end = line.get(at..)?.find("): ")?;
        Some(at + end + "): ".len()..line.len())
    };
    let lines = log.lines().filter_map(|line| line.get(of(line)?));
    let lines = lines.filter(|text| {
        !text.ends_with("FAILED.") && !text.contains("RLIMIT_NOFILE") && !text.is_empty()
    });
    let mut all: Vec<&str> = lines.collect();
    all.drain(..all.len().saturating_sub(LINES));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_of_a_log_are_told_without_what_says_nothing() {
        let log = "\
(00.04) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: EPERM
(00.05) Error (a.c:1): one
(00.05) Error (a.c:2): two
Error (criu/util.c:641): execvp(\"x\"): no
(00.06) Warn  (a.c:3): not this
(00.06)      1: Error (a.c:4): three
(00.06) Error (criu/cr-dump.c:2111): Dumping FAILED.
";
        assert_eq!(errors(log), ["two", "execvp(\"x\"): no", "three"]);
        assert!(errors("").is_empty());
    }
}
