//! The terminal of a process.

use super::Reg;
use super::descriptor::duplicate;
use super::machine::Machine;
use super::report::{self, MessageKind};
use crate::call::{fresh, syscall};
use crate::in_root::{self, Leaf, is};
use crate::mount;
use crate::procfs;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::unistd::Uid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Steps on the terminal.
#[derive(Debug)]
pub enum TerminalOp {
    /// Make a pseudo terminal in the container's own devpts, send its master to the parent, and
    /// make the other side descriptors 0, 1 and 2.
    Open {
        /// The container's root; without one the current root is.
        root: Option<Reg>,
        /// Who owns it.
        uid: u32,
        /// Rows and columns.
        size: Option<(u16, u16)>,
        /// Bind it to `/dev/console`.
        console: bool,
    },
    /// Begin a session; with a terminal, descriptor 0 becomes the controlling one.
    Session {
        /// There is one.
        terminal: bool,
    },
}

impl TerminalOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            TerminalOp::Open { root, uid, size, console } => {
                let (master, peer) = open(machine, *root)?;
                if let Some((rows, columns)) = *size {
                    crate::pty::set_size(master.as_fd(), rows, columns)?;
                }
                nix::unistd::fchown(&peer, Some(Uid::from_raw(*uid)), None)?;
                if let (true, Some(root)) = (*console, *root) {
                    bind_console(machine, root, peer.as_fd())?;
                }
                (0..3).try_for_each(|to| duplicate(peer.as_raw_fd(), to))?;
                report::send_fd(machine.channel, MessageKind::Console, 0, master.as_raw_fd())
            }
            TerminalOp::Session { terminal } => {
                match nix::unistd::setsid() {
                    // A leader already, which is as good.
                    Ok(_) | Err(Errno::EPERM) => {}
                    Err(errno) => return Err(errno),
                }
                if *terminal {
                    // SAFETY: integers only.
                    unsafe { syscall!(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0)? };
                }
                Ok(())
            }
        }
    }
}

/// A link of the image at `/dev/console` would have the terminal bound over a file that it chose,
/// such as one of procfs that is about to be masked (CVE-2025-52565).
fn bind_console(machine: &mut Machine<'_>, root: Reg, peer: BorrowedFd<'_>) -> Result<(), Errno> {
    let target = in_root::ensure_real(machine.fd(root)?, c"/dev/console", Leaf::File)?;
    if procfs::is_inside(target.as_fd())? {
        machine.say(b"/dev/console is a file of procfs");
        return Err(Errno::EPERM);
    }
    mount::attach(mount::clone_tree(peer, c"", false)?.as_fd(), target.as_fd())
}

fn open(machine: &Machine<'_>, root: Option<Reg>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let outer;
    let root = match root {
        Some(reg) => machine.fd(reg)?,
        None => {
            outer = nix::fcntl::openat(
                AT_FDCWD,
                c"/",
                OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
                nix::sys::stat::Mode::empty(),
            )?;
            outer.as_fd()
        }
    };
    // O_NONBLOCK: what is there may be a FIFO that somebody has put in the way.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let master = match in_root::open(root, c"/dev/pts/ptmx", flags) {
        Err(Errno::ENOENT) => in_root::open(root, c"/dev/ptmx", flags)?,
        other => other?,
    };
    let stat = fstat(&master)?;
    if !is(&stat, SFlag::S_IFCHR) || stat.st_rdev != makedev(5, 2) {
        return Err(Errno::ENOTTY);
    }
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR))?;
    let unlocked = 0_i32;
    let pointer = std::ptr::from_ref(&unlocked);
    // SAFETY: TIOCSPTLCK reads an int.
    unsafe { syscall!(libc::SYS_ioctl, master.as_fd(), libc::TIOCSPTLCK, pointer)? };
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // TIOCGPTPEER opens the other side of this very terminal; its path could be anything by now.
    // SAFETY: integers only; returns a fresh descriptor.
    let peer =
        unsafe { fresh(syscall!(libc::SYS_ioctl, master.as_fd(), libc::TIOCGPTPEER, flags)?) };
    Ok((master, peer))
}
