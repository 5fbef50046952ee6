//! Copying what a directory has into a new file system that will cover it (`tmpcopyup`).
//!
//! On the stack, as everything in the child. Data, types, modes and owners are copied; times and
//! extended attributes are not.

use crate::call::syscall;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

/// How deep the tree may be: each level takes stack.
const DEPTH: usize = 64;

const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Copies what is in `from` into `to`.
pub(super) fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth == DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut buffer = [0_u8; 2048];
    loop {
        let (pointer, room) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: a buffer of ours with its length.
        let length = unsafe { syscall!(libc::SYS_getdents64, from, pointer, room)? } as usize;
        let mut records = buffer.get(..length).unwrap_or_default();
        if records.is_empty() {
            return Ok(());
        }
        // d_ino, d_off: 8 bytes each; d_reclen: 2; d_type: 1; d_name.
        while let Some((record, rest)) = next_record(records) {
            records = rest;
            let name = CStr::from_bytes_until_nul(record.get(19..).unwrap_or_default());
            let name = name.map_err(|_| Errno::EIO)?;
            if name != c"." && name != c".." {
                entry(from, to, name, depth)?;
            }
        }
    }
}

fn next_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = records.get(16..18)?.try_into().ok().map(u16::from_ne_bytes)?;
    if length == 0 { None } else { records.split_at_checked(usize::from(length)) }
}

fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let source = openat(from, name, READ | OFlag::O_DIRECTORY, Mode::empty())?;
            let target = openat(to, name, READ | OFlag::O_DIRECTORY, Mode::empty())?;
            tree(source.as_fd(), target.as_fd(), depth + 1)?;
            attributes(target.as_fd(), &stat)
        }
        SFlag::S_IFREG => file(from, to, name, &stat),
        SFlag::S_IFLNK => link(from, to, name, &stat),
        // A socket without its listener is of no use.
        SFlag::S_IFSOCK => Ok(()),
        kind => {
            mknodat(to, name, kind, Mode::from_bits_truncate(stat.st_mode), stat.st_rdev)?;
            own(to, name, &stat)
        }
    }
}

/// Of a directory. Owner first: a change of it takes the set-id bits from the mode.
pub(super) fn attributes(to: BorrowedFd<'_>, stat: &FileStat) -> Result<(), Errno> {
    // By `.` and not by the descriptor: that of a detached mount is an `O_PATH` one.
    own(to, c".", stat)?;
    crate::mode::set_at(to, c".", Mode::from_bits_truncate(stat.st_mode))
}

fn own(to: BorrowedFd<'_>, name: &CStr, stat: &FileStat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
) -> Result<(), Errno> {
    let source = openat(from, name, READ | OFlag::O_NONBLOCK, Mode::empty())?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let target = openat(to, name, flags, Mode::S_IRUSR)?;
    let none = std::ptr::null::<i64>();
    let (out, source) = (target.as_fd(), source.as_fd());
    // SAFETY: integers, and no offset.
    while unsafe { syscall!(libc::SYS_sendfile, out, source, none, 1 << 20)? } > 0 {}
    fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&target, Mode::from_bits_truncate(stat.st_mode))
}

fn link(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
) -> Result<(), Errno> {
    let mut target = [0_u8; libc::PATH_MAX as usize];
    let (pointer, room) = (target.as_mut_ptr(), target.len() - 1);
    // SAFETY: a valid string, and `room` bytes of our buffer, so that the last stays zero.
    unsafe { syscall!(libc::SYS_readlinkat, from, name.as_ptr(), pointer, room)? };
    let target = CStr::from_bytes_until_nul(&target).map_err(|_| Errno::ENAMETOOLONG)?;
    symlinkat(target, to, name)?;
    own(to, name, stat)
}
