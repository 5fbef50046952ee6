//! The verb `delete`.

use crate::cli::Delete;
use crate::first_process::ProcessStart;
use crate::hooks;
use crate::id::Id;
use crate::invalid;
use crate::log::Log;
use crate::record::{Folder, Locked, Record};
use crate::several;
use crate::status::Status;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rrun_runtime::plan::{CgroupDir, Cgroups};
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use rrun_sys::{pidfd, step};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a killed process may take to die, and who makes a container to be done, milliseconds.
const PATIENCE: u16 = 10_000;

/// The verb: one container, or all that match.
pub fn command(root: &Path, options: &Delete, log: &Log) -> Result<()> {
    let delete = |id: &Id| {
        delete(root, id, options.force)
            .map(|gone| gone.iter().for_each(|record| hooks::stopped(record, log)))
    };
    several::each(root, &options.id, options.regex, log, delete)
}

/// Removes a stopped container, and one that never started. With `force` a running one is killed
/// first, and one that is not there is no error. What was on record of it is returned: its hooks are
/// still to run.
pub fn delete(root: &Path, id: &Id, force: bool) -> Result<Option<Record>> {
    match remove(root, id, force).context(|| format!("delete {id}")) {
        Err(error) if force && error.kind() == Kind::NotFound => Ok(None),
        other => other,
    }
}

fn remove(root: &Path, id: &Id, force: bool) -> Result<Option<Record>> {
    let folder = claim(root, id, force)?;
    let record = match folder.read() {
        Ok(record) => record,
        // Made by somebody who died before he wrote anything: nothing else was made then.
        Err(error) if force && error.kind() == Kind::NotFound => {
            step::run("oci.delete.folder", || Folder::remove(folder.path()))?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match Status::of(&folder, &record) {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        _ if force => end(&record)?,
        status => return Err(invalid(format!("cannot delete a container that is {status}"))),
    }
    if record.init.is_none() {
        nobody_left(&record)?;
    }
    release(&folder, &record)?;
    Ok(Some(record))
}

/// Without `state.json` nobody knows the first process, and in groups that were there before nobody
/// can tell whose a process is: it is not killed, and not passed over.
fn nobody_left(record: &Record) -> Result<()> {
    let made = |dir: &CgroupDir| record.made.contains(dir);
    let others = record.groups.dirs.iter().filter(|dir| !made(dir)).cloned().collect();
    let others = Cgroups { dirs: others, ..Cgroups::default() };
    // Those that were killed in groups that it made may be dying.
    let end = Instant::now() + Duration::from_secs(1);
    let mut left = cgroup::processes(&others)?;
    while !left.is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(5));
        left = cgroup::processes(&others)?;
    }
    let Some(first) = left.first() else { return Ok(()) };
    Err(invalid(format!(
        "process {first} and {} more are in its group, which it did not make, and its state.json, by \
         which its own would be told, is gone",
        left.len() - 1
    )))
}

/// Opens and locks the folder of a container that nobody makes or removes any more. With `force`
/// whatever a maker has made so far is killed: it gives up then, and takes the container back.
pub fn claim(root: &Path, id: &Id, force: bool) -> Result<Folder> {
    let end = Instant::now() + Duration::from_millis(PATIENCE.into());
    loop {
        let folder = Folder::open(root, id)?;
        match folder.lock()? {
            Locked::Here => return Ok(folder),
            Locked::Gone => continue,
            Locked::Elsewhere if Instant::now() > end => {
                let text = "another process makes or removes it, and does not end";
                return Err(Error::new(Kind::Kernel, text));
            }
            Locked::Elsewhere => {}
        }
        if force
            && let Ok(record) = folder.read()
            && record.init.is_none()
        {
            cgroup::kill(&record.own_groups())?;
        }
        sleep(Duration::from_millis(5));
    }
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

/// Waits until a process that is about to end is gone.
pub fn wait_for_end(process: BorrowedFd<'_>) -> Result<()> {
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
    fn a_container_that_is_being_made_is_deleted_once_it_is_made_and_not_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        let id: Id = "a".parse().unwrap();
        let maker = Folder::make(root.path(), &id).unwrap();
        std::thread::scope(|threads| {
            let delete = threads.spawn(|| delete(root.path(), &id, true));
            sleep(Duration::from_millis(50));
            maker.write(&Record::new(&id, PathBuf::from("/bundle"))).unwrap();
            assert!(!delete.is_finished());
            drop(maker);
            delete.join().unwrap().unwrap();
        });
        assert!(!root.path().join("a").exists());
    }

    #[test]
    fn the_folder_of_a_later_container_with_the_same_id_is_not_taken_for_its_own() {
        let root = tempfile::tempdir().unwrap();
        let id = made(root.path(), "a");
        let earlier = Folder::open(root.path(), &id).unwrap();
        delete(root.path(), &id, true).unwrap();
        assert_eq!(earlier.lock().unwrap(), Locked::Gone);
        let later = made(root.path(), "a");
        assert_eq!(earlier.lock().unwrap(), Locked::Gone);
        let folder = claim(root.path(), &later, false).unwrap();
        let again = Folder::open(root.path(), &later).unwrap();
        assert_eq!(again.lock().unwrap(), Locked::Elsewhere);
        drop(folder);
        assert_eq!(again.lock().unwrap(), Locked::Here);
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
