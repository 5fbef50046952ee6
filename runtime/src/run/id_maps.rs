//! The ids of a new user namespace, written by the parent of the process that made it.

use crate::plan::{IdMaps, IdRange};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;
use rrun_sys::procfs;
use rrun_sys::program::report::Refusal;
use std::ffi::CString;
use std::os::fd::AsFd;

/// Writes both maps. The process waits for the answer, so its number is its own.
pub(super) fn write(process: Pid, maps: &IdMaps) -> Result<(), Refusal> {
    for (file, ranges) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        write_map(process, file, ranges)
            .map_err(|errno| Refusal { errno, words: format!("write {file}") })?;
    }
    Ok(())
}

fn write_map(process: Pid, file: &str, ranges: &[IdRange]) -> Result<(), Errno> {
    let line = |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
    let text: String = ranges.iter().map(line).collect();
    let path = CString::new(format!("{process}/{file}")).map_err(|_| Errno::EINVAL)?;
    let proc = procfs::open()?;
    let file = procfs::open_file(proc.as_fd(), &path, OFlag::O_WRONLY)?;
    // One write: the kernel takes a map once and whole.
    let written = nix::unistd::write(&file, text.as_bytes())?;
    if written == text.len() { Ok(()) } else { Err(Errno::EIO) }
}
