//! Working directory, search and execve.

use super::Reg;
use super::machine::Machine;
use super::report::Detail;
use crate::call::syscall;
use libc::c_char;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{SFlag, fstatat};
use std::ffi::{CStr, CString};

/// Strings with the null-terminated array of pointers that execve(2) takes.
#[derive(Debug)]
pub struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl From<Vec<CString>> for Strings {
    fn from(owned: Vec<CString>) -> Strings {
        let mut pointers: Vec<_> = owned.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Strings { owned, pointers }
    }
}

impl Strings {
    pub(super) fn pointers(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// The strings.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.owned.iter().map(CString::as_c_str)
    }
}

/// Steps that lead to the program.
#[derive(Debug)]
pub enum ExecOp {
    /// Enter a directory as root; if that is not allowed, [`ExecOp::EnterAgain`] tries.
    Enter(CString),
    /// Enter it as the user, if it could not be entered as root.
    EnterAgain(CString),
    /// Check that the working directory lies inside the root: a path such as `/proc/self/fd/7`
    /// enters one outside, if a descriptor was left open (CVE-2024-21626).
    CheckDirectory,
    /// Find the program among the candidates.
    Find {
        /// Its path, or one for each directory of `PATH`.
        candidates: Vec<CString>,
        /// The candidates come from `PATH`.
        search: bool,
    },
    /// Fail if none of the candidates is there, whoever looks. What is there may still be nothing
    /// that the user can execute: [`ExecOp::Find`] tells.
    Expect {
        /// As for [`ExecOp::Find`].
        candidates: Vec<CString>,
        /// The candidates come from `PATH`.
        search: bool,
    },
    /// ExecOp what was found.
    Run {
        /// As given to [`ExecOp::Find`].
        candidates: Vec<CString>,
        /// Arguments.
        arguments: Strings,
        /// Environment.
        environment: Strings,
    },
    /// ExecOp an open file.
    RunFd {
        /// The file.
        file: Reg,
        /// Arguments.
        arguments: Strings,
        /// Environment.
        environment: Strings,
    },
}

impl ExecOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            ExecOp::Enter(path) => match nix::unistd::chdir(path.as_c_str()) {
                Err(Errno::EACCES) => {
                    machine.cwd_failed = true;
                    Ok(())
                }
                other => other,
            },
            ExecOp::EnterAgain(path) if machine.cwd_failed => nix::unistd::chdir(path.as_c_str()),
            ExecOp::EnterAgain(_) => Ok(()),
            ExecOp::CheckDirectory => check_directory(),
            ExecOp::Expect { candidates, search } => expect(machine, candidates, *search),
            ExecOp::Find { candidates, search } => find(machine, candidates, *search),
            ExecOp::Run { candidates, arguments, environment } => {
                machine.detail = Detail::Execve;
                let path = candidates.get(machine.chosen).ok_or(Errno::ENOENT)?.as_ptr();
                let (argv, envp) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
                // SAFETY: a string and two null-terminated arrays of strings, all alive.
                unsafe { syscall!(libc::SYS_execve, path, argv, envp)? };
                Ok(())
            }
            ExecOp::RunFd { file, arguments, environment } => {
                machine.detail = Detail::Execve;
                let (argv, envp) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
                let (file, empty) = (machine.fd(*file)?, c"".as_ptr());
                let flags = libc::AT_EMPTY_PATH;
                // SAFETY: as above.
                unsafe { syscall!(libc::SYS_execveat, file, empty, argv, envp, flags)? };
                Ok(())
            }
        }
    }
}

fn check_directory() -> Result<(), Errno> {
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // The system call itself: the C library walks the tree where this says `(unreachable)`.
    // SAFETY: a buffer of ours with its length.
    match unsafe { syscall!(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) } {
        // A path longer than the buffer is still a path from the root.
        Ok(_) | Err(Errno::ENAMETOOLONG) if path[0] == b'/' || path[0] == 0 => Ok(()),
        Ok(_) => Err(Errno::EXDEV),
        Err(errno) => Err(errno),
    }
}

fn expect(machine: &mut Machine<'_>, candidates: &[CString], search: bool) -> Result<(), Errno> {
    for path in candidates {
        match fstatat(AT_FDCWD, path.as_c_str(), AtFlags::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            _ => return Ok(()),
        }
    }
    machine.detail = if search { Detail::NotInPath } else { Detail::Stat };
    Err(Errno::ENOENT)
}

/// As the user, inside the container: what a shell there would find.
fn find(machine: &mut Machine<'_>, candidates: &[CString], search: bool) -> Result<(), Errno> {
    for (at, path) in candidates.iter().enumerate() {
        match look(machine, path) {
            Ok(()) => {
                machine.chosen = at;
                machine.detail = Detail::Plain;
                return Ok(());
            }
            Err(_) if search => {}
            Err(errno) => return Err(errno),
        }
    }
    machine.detail = Detail::NotInPath;
    Err(Errno::ENOENT)
}

fn look(machine: &mut Machine<'_>, path: &CStr) -> Result<(), Errno> {
    machine.detail = Detail::Stat;
    let stat = match fstatat(AT_FDCWD, path, AtFlags::empty()) {
        // A filter that is already loaded may forbid looking; execve has the last word then.
        Err(Errno::ENOSYS | Errno::EPERM) => return Ok(()),
        other => other?,
    };
    machine.detail = Detail::Access;
    if crate::in_root::is(&stat, SFlag::S_IFDIR) {
        return Err(Errno::EISDIR);
    }
    let (mode, flags) = (libc::X_OK, libc::AT_EACCESS);
    // SAFETY: a valid string and integers.
    match unsafe { syscall!(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), mode, flags) } {
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        other => other.map(drop),
    }
}
