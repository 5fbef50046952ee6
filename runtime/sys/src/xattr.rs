//! Extended attributes, xattr(7), which nix lacks.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::NixPath;

/// Sets attribute `name` of the open file or directory `fd`, fsetxattr(2).
pub fn set(fd: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated and the value is read for exactly its length, both
    // outlive the call; the descriptor is borrowed.
    let done = unsafe {
        libc::fsetxattr(
            fd.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads attribute `name` of the open file or directory `fd`, fgetxattr(2); `None` where it is
/// not set or the filesystem has no attributes.
pub fn get(fd: impl AsFd, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    // The kernel bounds a value (XATTR_SIZE_MAX).
    let mut value = vec![0u8; 64 * 1024];
    // SAFETY: the buffer is writable for its length and outlives the call, the name is
    // NUL-terminated.
    let read = unsafe {
        libc::fgetxattr(
            fd.as_fd().as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    absent(read, value)
}

/// The names of the attributes of the open file or directory `fd`, flistxattr(2); none where the
/// filesystem has no attributes.
pub fn list(fd: impl AsFd) -> io::Result<Vec<CString>> {
    // The kernel bounds a list (XATTR_LIST_MAX).
    let mut names = vec![0u8; 64 * 1024];
    // SAFETY: the buffer is writable for its length and outlives the call.
    let read =
        unsafe { libc::flistxattr(fd.as_fd().as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let names = absent(read, names)?.unwrap_or_default();
    let each = names.split_inclusive(|byte| *byte == 0);
    Ok(each.filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_owned())).collect())
}

/// Sets attribute `name` of the object at `path` without following a last symlink, lsetxattr(2).
/// For objects that cannot be opened, such as symlinks and devices.
pub fn set_path(path: &(impl NixPath + ?Sized), name: &CStr, value: &[u8]) -> io::Result<()> {
    let done = path.with_nix_path(|path| {
        // SAFETY: both strings are NUL-terminated and the value is read for exactly its length;
        // all outlive the call.
        unsafe {
            libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
        }
    })?;
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn absent(read: isize, mut value: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    match usize::try_from(read) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(_) => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENODATA)
                || e.raw_os_error() == Some(libc::ENOTSUP) =>
            {
                Ok(None)
            }
            e => Err(e),
        },
    }
}
