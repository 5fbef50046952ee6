//! What a process sets about itself: prctl(2).

use crate::call::syscall;
use nix::errno::Errno;

fn set(option: i32, value: u64) -> Result<(), Errno> {
    // SAFETY: the options used here take integers.
    unsafe { syscall!(libc::SYS_prctl, option, value, 0, 0, 0)? };
    Ok(())
}

/// Orphans below the caller become its children.
///
/// # Errors
/// None that is known.
pub fn set_subreaper() -> Result<(), Errno> {
    set(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Without: no core dump, and no ptrace or `/proc` access for those without CAP_SYS_PTRACE.
/// Children inherit it up to their execve.
///
/// # Errors
/// None that is known.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    set(libc::PR_SET_DUMPABLE, u64::from(dumpable))
}

/// The signal that the caller gets when its parent (the thread that made it) ends; it is lost
/// when the caller's ids change. A parent may have ended before: compare getppid(2).
///
/// # Errors
/// `EINVAL` for no signal.
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    set(libc::PR_SET_PDEATHSIG, signal as u64)
}
