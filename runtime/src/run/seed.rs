//! The seed: a tiny mount namespace that containers unshare theirs from.
//!
//! Each new mount namespace copies every mount of the one it is unshared from (3.2 ms at 2,500
//! mounts, and 2.1 ms to drop them); a seed has two or three.

use crate::{Error, Kind, Result};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Makes a mount namespace whose root is an empty tmpfs, with `/shm` (tmpfs, 1777, of so many
/// bytes) when asked. Nothing of the host is in it.
///
/// # Errors
/// What the kernel says.
pub fn make(shm_size: Option<u64>) -> Result<OwnedFd> {
    make_from(None, shm_size)
}

/// As [`make`], unshared from `base` (another seed) instead of the caller's namespace, which
/// spares copying the host's mounts.
///
/// # Errors
/// What the kernel says.
pub fn make_from(base: Option<BorrowedFd<'_>>, shm_size: Option<u64>) -> Result<OwnedFd> {
    let _ = (base, shm_size);
    Err(Error::new(Kind::Kernel, "not there yet"))
}
