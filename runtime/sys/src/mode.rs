//! Permission bits of a file that somebody may exchange meanwhile.

use crate::call::syscall;
use nix::errno::Errno;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// Sets the permission bits of the object `name` in `directory`, which is not followed when it is
/// a symbolic link. An empty name means the descriptor itself, which may be an `O_PATH` one.
///
/// # Errors
/// `EOPNOTSUPP` for a symbolic link. Before kernel 6.6 the descriptor itself cannot be changed:
/// `ENOENT`.
pub fn set_at(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<(), Errno> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    let bits = mode.bits();
    // SAFETY: a valid string and integers.
    match unsafe { syscall!(FCHMODAT2, directory, name.as_ptr(), bits, flags) } {
        // The C library's way before kernel 6.6: an `O_PATH` descriptor, and chmod of its link.
        Err(Errno::ENOSYS) => fchmodat(directory, name, mode, FchmodatFlags::NoFollowSymlink),
        other => other.map(drop),
    }
}

/// Its number is the same for every architecture.
const FCHMODAT2: libc::c_long = 452;
