//! Files in memory: memfd_create(2).

use crate::call::{fresh, syscall};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// `MFD_EXEC`, since Linux 6.3: without it a host may refuse to execute such files.
const MFD_EXEC: u32 = 0x10;

/// A file in memory with `bytes`, sealed: nobody can change it any more.
///
/// # Errors
/// What the kernel says.
pub fn sealed(name: &CStr, bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = match create(name, flags | MFD_EXEC) {
        Err(Errno::EINVAL) => create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    let written = file.write_all(bytes);
    written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// A sealed copy of a program; `None` where it is one already.
///
/// # Errors
/// What the kernel says.
pub fn sealed_program(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let mut file = File::open(path).map_err(errno)?;
    // EINVAL for what is no file in memory.
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or(0);
    if SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(errno)?;
    sealed(c"rrun", &bytes).map(Some)
}

fn create(name: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: a valid string and an integer; returns a fresh descriptor.
    unsafe { Ok(fresh(syscall!(libc::SYS_memfd_create, name.as_ptr(), flags)?)) }
}
