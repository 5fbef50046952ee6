//! The verb `delete`.

use crate::first_process::ProcessStart;
use crate::id::Id;
use crate::invalid;
use crate::record::{Folder, Record};
use crate::status::Status;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use rrun_sys::{pidfd, step};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How long a killed process may take to die, milliseconds.
const PATIENCE: u16 = 10_000;

/// Removes a stopped container, and one that never started. With `force` a running one is killed
/// first, and one that is not there is no error.
pub fn delete(root: &Path, id: &Id, force: bool) -> Result<()> {
    match remove(root, id, force).context(|| format!("delete {id}")) {
        Err(error) if force && error.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

fn remove(root: &Path, id: &Id, force: bool) -> Result<()> {
    let folder = Folder::open(root, id)?;
    let record = match folder.read() {
        Ok(record) => record,
        // Made by somebody who died before he wrote anything: nothing else was made then.
        Err(error) if force && error.kind() == Kind::NotFound => {
            return step::run("oci.delete.folder", || Folder::remove(folder.path()));
        }
        Err(error) => return Err(error),
    };
    match Status::of(&folder, &record) {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        _ if force => end(&record)?,
        status => return Err(invalid(format!("cannot delete a container that is {status}"))),
    }
    release(&folder, &record)
}

/// Gives back what a container holds whose first process has ended: groups, then the folder, so
/// that a delete that was cut off can be done again.
pub fn release(folder: &Folder, record: &Record) -> Result<()> {
    if !record.own_pids && record.scope.is_none() {
        step::run("oci.delete.processes", || cgroup::kill(&record.own_groups()))?;
    }
    record.release_groups()?;
    step::run("oci.delete.folder", || Folder::remove(folder.path()))
}

/// Kills all of it, and waits for the first process to be gone.
fn end(record: &Record) -> Result<()> {
    let init = record.init.and_then(ProcessStart::open);
    // What is in a scope is killed when it is known to be the container's.
    if record.scope.is_none() {
        step::run("oci.delete.processes", || cgroup::kill(&record.own_groups()))?;
    }
    let Some(init) = init else { return Ok(()) };
    // One that v1 has frozen dies when it is thawed.
    let _ = step::run("oci.delete.process", || pidfd::send_signal(init.as_fd(), libc::SIGKILL));
    cgroup::thaw(&record.groups)?;
    wait_for_end(init.as_fd())
}

/// Kills one process, and waits until it is gone.
pub fn end_process(process: BorrowedFd<'_>) -> Result<()> {
    let _ = step::run("oci.delete.process", || pidfd::send_signal(process, libc::SIGKILL));
    wait_for_end(process)
}

fn wait_for_end(process: BorrowedFd<'_>) -> Result<()> {
    let mut fds = [PollFd::new(process, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(PATIENCE)).context(|| "wait for its end")? {
        0 => Err(Error::new(Kind::Kernel, "the first process does not die")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::fs;
    use std::path::PathBuf;

    /// A container that was never started.
    fn made(root: &Path, id: &str) -> Id {
        let id = id.parse().unwrap();
        let folder = Folder::make(root, &id).unwrap();
        folder.write(&Record::new(&id, PathBuf::from("/bundle"))).unwrap();
        id
    }

    #[test]
    fn the_state_of_another_container_is_refused_by_both_names() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (made(root.path(), "a"), made(root.path(), "b"));
        let state = |id: &str| root.path().join(id).join("state.json");
        fs::copy(state("a"), state("b")).unwrap();
        let error = delete(root.path(), &b, true).unwrap_err().to_string();
        assert_eq!(error, "delete b: state of b: it is the state of a");
        assert!(state("b").exists());
        delete(root.path(), &a, true).unwrap();
        assert!(!state("a").exists());
    }

    #[test]
    fn a_state_that_is_no_file_is_refused_by_its_name_and_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let a = made(root.path(), "a");
        let path = root.path().join("a/state.json");
        fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let error = delete(root.path(), &a, true).unwrap_err().to_string();
        assert_eq!(error, format!("delete a: read {}: not a regular file", path.display()));
    }
}
