//! The limit of open descriptors. Its soft part is 1024 on most hosts, for the sake of programs
//! that use select(2): whoever needs more raises it to the hard part, and hands it down as it was.

use crate::call::syscall;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// What this process was called with, since it has raised its own.
static CALLERS: OnceLock<Files> = OnceLock::new();

/// A limit of open descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// What a process may open.
    pub soft: u64,
    /// What it may raise that to.
    pub hard: u64,
}

/// Raises this process's soft limit to its hard one, for its own work. Whoever plans a container's
/// process asks [`callers_files`], and commands are prepared by [`hand_down`].
///
/// Where the kernel refuses, as it does when the hard limit is above `fs.nr_open`, all stays as it is.
pub fn raise_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        let _ = CALLERS.set(Files { soft, hard });
    }
}

/// What this process was called with; `None` where the kernel does not tell.
pub fn callers_files() -> Option<Files> {
    let own = || getrlimit(Resource::RLIMIT_NOFILE).ok();
    CALLERS.get().copied().or_else(|| own().map(|(soft, hard)| Files { soft, hard }))
}

/// Has a command start with the limit that this process was called with.
pub fn hand_down(command: &mut Command) {
    let Some(files) = CALLERS.get() else { return };
    let limit = [files.soft, files.hard];
    // SAFETY: in the child of a fork: one system call on its own memory, which allocates nothing.
    unsafe {
        command.pre_exec(move || {
            let none = std::ptr::null::<u64>();
            syscall!(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, limit.as_ptr(), none)?;
            Ok(())
        });
    }
}
