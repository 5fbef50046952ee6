//! The processes of a group and of those below it.

use crate::{Context, Error, Kind, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rrun_sys::{pidfd, tree};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How many descriptors are open at a time.
const BATCH: usize = 256;

/// Their ids, seen from the caller: 0 for one in a PID namespace that the caller does not see.
/// None in a group that is gone.
pub(super) fn all(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let read = for_each_group(dir, &mut |group| {
        let Some(mut file) = open_file(group, "cgroup.procs", OFlag::O_RDONLY)? else {
            return Ok(());
        };
        let mut text = String::new();
        match file.read_to_string(&mut text) {
            // The last process has gone and somebody has removed the group meanwhile.
            Err(error) if is_gone(&error) => return Ok(()),
            done => done?,
        };
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        Ok(())
    });
    read.context(|| format!("read cgroup.procs in {}", dir.display()))?;
    Ok(pids)
}

/// Tells a group and those below it, however deep they are nested; none of one that is gone.
pub(super) fn for_each_group(
    dir: &Path,
    each: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<()> {
    match tree::visit_directories(dir, each, &mut |_, _| Ok(())) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done,
    }
}

/// A file of a group; none in one that is gone.
pub(super) fn open_file(
    group: BorrowedFd<'_>,
    name: &str,
    flags: OFlag,
) -> io::Result<Option<File>> {
    match openat(group, name, flags | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        file => Ok(Some(File::from(file?))),
    }
}

/// Sends a signal to `pids` that were read from the group a moment ago.
///
/// A number may belong to somebody else by now. So each is opened first, and is sent the signal
/// only if the group still has the number: then the descriptor is the member's.
pub(super) fn signal(dir: &Path, pids: &[i32], signal: i32) -> Result<()> {
    // kill(2) would take 0 for the caller's own process group.
    let (visible, hidden): (Vec<i32>, Vec<i32>) = pids.iter().partition(|pid| **pid > 0);
    for batch in visible.chunks(BATCH) {
        let mut opened = Vec::with_capacity(batch.len());
        for pid in batch {
            match pidfd::open(*pid) {
                Ok(process) => opened.push((*pid, process)),
                // EINVAL: the number is a thread's by now.
                Err(Errno::ESRCH | Errno::EINVAL) => {}
                Err(errno) => return Err(errno).context(|| format!("open process {pid}")),
            }
        }
        let still = all(dir)?;
        for (pid, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
            match pidfd::send_signal(process.as_fd(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).context(|| format!("signal process {pid}")),
            }
        }
    }
    if hidden.is_empty() {
        return Ok(());
    }
    let text = format!("{} has processes of a PID namespace that is not seen here", dir.display());
    Err(Error::new(Kind::Kernel, text))
}

/// The group, or the hierarchy, is not there any more.
pub(super) fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn a_number_that_the_group_has_no_more_is_somebody_elses_and_not_signalled() {
        // A folder that is read as a group is.
        let group = tempfile::tempdir().unwrap();
        let procs = group.path().join("cgroup.procs");
        let mut cat = Command::new("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = cat.id().cast_signed();
        std::fs::write(&procs, "").unwrap();
        signal(group.path(), &[pid], libc::SIGKILL).unwrap();
        // It ends with its input, and answers as long as it lives.
        let mut input = cat.stdin.take().unwrap();
        let answers = input.write_all(b"x").and_then(|()| {
            let mut answer = [0];
            cat.stdout.as_mut().unwrap().read_exact(&mut answer)
        });
        answers.expect("it was killed");
        std::fs::write(&procs, format!("{pid}\n")).unwrap();
        signal(group.path(), &[pid], libc::SIGKILL).unwrap();
        assert!(!cat.wait().unwrap().success());
    }
}
