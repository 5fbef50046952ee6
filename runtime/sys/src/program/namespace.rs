//! Namespaces.

use super::Reg;
use super::clone::{Forked, clone3};
use super::machine::{self, Machine};
use super::report::{self, MessageKind};
use crate::call::syscall;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

/// Steps on namespaces.
#[derive(Debug)]
pub enum NamespaceOp {
    /// unshare(2).
    Unshare(CloneFlags),
    /// setns(2) with an nsfs descriptor or a pidfd.
    Enter {
        /// The namespace, or the process.
        fd: Reg,
        /// Which kinds.
        kinds: CloneFlags,
    },
    /// setns(2) with a pidfd: the namespaces of that process.
    EnterProcess {
        /// The process.
        fd: Reg,
        /// Which kinds, in the order in which they are tried: `EINVAL` is a kind that this kernel
        /// was built without, or a user namespace that one is in already.
        tries: Box<[CloneFlags]>,
    },
    /// setns(2) with the file at a path on the host.
    EnterPath {
        /// Where.
        path: CString,
        /// Which kind.
        kind: CloneFlags,
    },
    /// Clone the process that goes on with the next step, and end. It is a child of the same
    /// parent, which hears of it by [`super::report::Message::Handover`].
    ///
    /// A joined PID namespace holds only for children. And it must be joined late: the processes
    /// in it see the child from then on, and one with CAP_SYS_PTRACE reads the host through its
    /// root, its working directory and its descriptors, so these must be the container's by then.
    Handover,
    /// Host name.
    Hostname(Box<[u8]>),
    /// NIS domain name.
    Domainname(Box<[u8]>),
}

impl NamespaceOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            NamespaceOp::Unshare(kinds) => nix::sched::unshare(*kinds),
            NamespaceOp::Enter { fd, kinds } => nix::sched::setns(machine.fd(*fd)?, *kinds),
            NamespaceOp::EnterProcess { fd, tries } => {
                let process = machine.fd(*fd)?;
                let mut last = Err(Errno::EINVAL);
                for kinds in tries {
                    last = nix::sched::setns(process, *kinds);
                    if last != Err(Errno::EINVAL) {
                        break;
                    }
                }
                last
            }
            NamespaceOp::EnterPath { path, kind } => {
                let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
                let fd = openat(AT_FDCWD, path.as_c_str(), flags, Mode::empty())?;
                nix::sched::setns(&fd, *kind)
            }
            NamespaceOp::Handover => hand_over(machine),
            NamespaceOp::Hostname(name) => set_name(libc::SYS_sethostname, name),
            NamespaceOp::Domainname(name) => set_name(libc::SYS_setdomainname, name),
        }
    }
}

/// The clone waits until this process has told of it and closed its end of the channel: the end of
/// the channel means the clone's execve from then on, however short its program is.
fn hand_over(machine: &mut Machine<'_>) -> Result<(), Errno> {
    let (told, telling) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // With CLONE_PARENT the exit signal is that of the process that clones.
    // SAFETY: the child goes on in the same machine.
    match unsafe { clone3(libc::CLONE_PARENT as u64, 0, 0)? } {
        Forked::Child => {
            drop(telling);
            let mut byte = [0];
            while nix::unistd::read(&told, &mut byte) == Err(Errno::EINTR) {}
            Ok(())
        }
        Forked::Parent(pid, pidfd) => {
            let sent = report::send_fd(
                machine.channel,
                MessageKind::Handover,
                pid.as_raw(),
                pidfd.as_raw_fd(),
            );
            if sent.is_err() {
                // Nobody would know of it.
                let _ = crate::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
                machine::exit(125);
            }
            // SAFETY: the channel is ours, and this process ends.
            let _ = unsafe { syscall!(libc::SYS_close, machine.channel) };
            // Not by the end of this process, which takes as long again as its clone did.
            drop(telling);
            machine::exit(0)
        }
    }
}

fn set_name(number: libc::c_long, name: &[u8]) -> Result<(), Errno> {
    // SAFETY: bytes of ours with their length.
    unsafe { syscall!(number, name.as_ptr(), name.len())? };
    Ok(())
}
