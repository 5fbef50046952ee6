//! Which namespaces of a process are entered.

use super::{CLONE_NEWTIME, NEWUSER};
use crate::{Context, Result};
use nix::sched::CloneFlags;
use rrun_sys::pidfd;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

/// The kinds to try one after the other for who may enter any, also those that he is in.
pub(super) fn all() -> [CloneFlags; 4] {
    let always = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    // Most containers share our user namespace.
    let maybe = [CLONE_NEWTIME | NEWUSER, CLONE_NEWTIME, NEWUSER, CloneFlags::empty()];
    maybe.map(|kinds| always | kinds)
}

/// The kinds in which a process is elsewhere: for who may not enter those that are the host's.
pub(super) fn others(process: BorrowedFd<'_>) -> Result<CloneFlags> {
    let pid = pidfd::number(process)?;
    let mut others = CloneFlags::empty();
    for (name, kind) in [
        ("user", NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("time", CLONE_NEWTIME),
    ] {
        let of = |process: &str| {
            let path = format!("/proc/{process}/ns/{name}");
            let found = std::fs::metadata(&path).context(|| path)?;
            Ok::<_, crate::Error>((found.dev(), found.ino()))
        };
        if of("self")? != of(&pid.to_string())? {
            others |= kind;
        }
    }
    Ok(others)
}
