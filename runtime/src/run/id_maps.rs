//! The ids of a new user namespace, written by the parent of the process that made it.

use crate::plan::{IdMaps, IdRange};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, getegid, geteuid};
use rrun_sys::procfs;
use rrun_sys::program::report::Refusal;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// Writes both maps. The process waits for the answer, so its number is its own. Who is not root maps
/// itself alone, and more by newuidmap(1) and newgidmap(1), which know what it may.
pub(super) fn write(process: Pid, maps: &IdMaps) -> Result<(), Refusal> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    for (file, ranges, own) in [("uid_map", &maps.users, uid), ("gid_map", &maps.groups, gid)] {
        let alone = matches!(ranges.as_slice(), [one] if one.outside == own && one.count == 1);
        if uid != 0 && !alone {
            by_helper(process, if file == "uid_map" { "newuidmap" } else { "newgidmap" }, ranges)?;
            continue;
        }
        if uid != 0 && file == "gid_map" {
            // Without that it could leave a group that is refused something.
            put(process, "setgroups", "deny")?;
        }
        let line =
            |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
        put(process, file, &ranges.iter().map(line).collect::<String>())?;
    }
    Ok(())
}

fn put(process: Pid, file: &str, text: &str) -> Result<(), Refusal> {
    let write = || -> Result<(), Errno> {
        let path = CString::new(format!("{process}/{file}")).map_err(|_| Errno::EINVAL)?;
        let proc = procfs::open()?;
        let file = procfs::open_file(proc.as_fd(), &path, OFlag::O_WRONLY)?;
        // One write: the kernel takes a map once and whole.
        let written = nix::unistd::write(&file, text.as_bytes())?;
        if written == text.len() { Ok(()) } else { Err(Errno::EIO) }
    };
    write().map_err(|errno| Refusal { errno, words: format!("write {file}") })
}

fn by_helper(process: Pid, helper: &str, ranges: &[IdRange]) -> Result<(), Refusal> {
    let numbers = |range: &IdRange| [range.inside, range.outside, range.count];
    let mut command = Command::new(helper);
    command.arg(process.to_string());
    command.args(ranges.iter().flat_map(numbers).map(|number| number.to_string()));
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Refusal { errno, words: format!("execute {helper}") }
    })?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Refusal { errno: Errno::EPERM, words: said.trim().replace('\n', "; ") })
        }
    }
}
