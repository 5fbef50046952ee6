//! renameat2(2), which not every C library has.

use crate::call::syscall;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// Renames `name` in the directory `from` to `place` in `to`, where nothing may be.
pub(crate) fn to_free_place(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    place: &str,
) -> Result<(), Errno> {
    let place = CString::new(place).map_err(|_| Errno::EINVAL)?;
    let (name, place, flags) = (name.as_ptr(), place.as_ptr(), libc::RENAME_NOREPLACE);
    // SAFETY: the descriptors are open, and both names end with a zero and outlive the call.
    unsafe { syscall!(libc::SYS_renameat2, from, name, to, place, flags)? };
    Ok(())
}
