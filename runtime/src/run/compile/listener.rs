//! The listener of a filter: whoever answers the calls that the filter leaves to somebody. The process
//! sends it the descriptor itself, as soon as it has one, by a connection that is made before all else.

use super::Compiler;
use crate::plan::{Listener, Process, Seccomp};
use crate::seccomp::WAIT_KILLABLE_RECV;
use crate::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use rrun_sys::pidfd;
use rrun_sys::program::{ChannelOp, CredentialOp, DescriptorOp, Reg};
use serde_json::json;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A connection to a listener, and what is sent there.
pub(super) struct Connected {
    to: Reg,
    path: String,
    text: [Box<[u8]>; 3],
}

impl Compiler<'_> {
    /// Connects where the filter of the process has a listener. `init` is the first process of a
    /// container that runs, `None` where this one is to be that.
    pub(super) fn connect_listener(
        &mut self,
        process: &Process,
        init: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let listener = process.seccomp.as_ref().and_then(|seccomp| seccomp.listener.as_ref());
        let Some(listener) = listener else { return Ok(()) };
        let init = init.map(pidfd::number).transpose().context(|| "the container's process")?;
        let stream = stream(&listener.path).context(|| format!("connect {}", listener.path))?;
        let to = self.program.own(stream);
        let (path, text) = (listener.path.clone(), text(listener, init));
        self.listener = Some(Connected { to, path, text });
        Ok(())
    }

    /// While the one at the other end of the channel knows it.
    pub(super) fn learn_pid(&mut self) {
        if self.listener.is_some() {
            self.program.step("learn the process id", ChannelOp::LearnPid);
        }
    }

    /// Between the filter and its being sent stands nothing that the filter could be asked about.
    pub(super) fn load_filter(&mut self, seccomp: &Seccomp) {
        let mut op = CredentialOp::Seccomp {
            filter: seccomp.filter.as_slice().into(),
            flags: seccomp.flags,
            listener: None,
        };
        let label = match seccomp.flags & WAIT_KILLABLE_RECV {
            0 => "load the seccomp filter",
            _ => "load the seccomp filter (WAIT_KILLABLE_RECV needs Linux 5.19)",
        };
        let Some(Connected { to, path, text }) = self.listener.take() else {
            return self.program.step(label, op);
        };
        let fd = self.program.empty();
        if let CredentialOp::Seccomp { listener, .. } = &mut op {
            *listener = Some(fd);
        }
        self.program.step(label, op);
        let label = format!("send the listener of the seccomp filter to {path}");
        self.program.step(label, DescriptorOp::Send { fd, to, text });
        // As long as this process has it, too, a call waits for an answer though the listener is gone.
        for fd in [fd, to] {
            self.program.step("close", DescriptorOp::Close(fd));
        }
    }
}

/// Whoever makes processes for others does not wait for a listener that accepts nobody.
fn stream(path: &str) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    fcntl(&stream, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(stream)
}

/// <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#containerprocessstate>,
/// parted where the process's id belongs.
fn text(listener: &Listener, init: Option<i32>) -> [Box<[u8]>; 3] {
    let Listener { metadata, oci_version, state, .. } = listener;
    let metadata =
        metadata.as_ref().map_or(String::new(), |m| format!(r#""metadata":{},"#, json!(m)));
    let start =
        format!(r#"{{"ociVersion":{},"fds":["seccompFd"],{metadata}"pid":"#, json!(oci_version));
    let state = format!(r#","state":{state},"status":"#);
    let parts = match init {
        None => [start, format!(r#"{state}"created","pid":"#), "}}".to_owned()],
        Some(init) => [start, format!(r#"{state}"running","pid":{init}}}}}"#), String::new()],
    };
    parts.map(|part| part.into_bytes().into_boxed_slice())
}
