//! The folders of one pod, the files in them, and the lock that says who works on the pod.

use crate::config::Config;
use crate::error::{Context, Result};
use crate::id::{ContainerId, PodId};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the name of a folder ends with from its removal until it is deleted.
const REMOVED: &str = ".removed";
/// Between two tries to take a lock.
const PAUSE: Duration = Duration::from_millis(10);

/// The folders of one pod: state that survives a reboot, and state of this boot.
#[derive(Clone, Debug)]
pub(crate) struct Dirs {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
}

impl Dirs {
    pub(crate) fn new(config: &Config, pod: &PodId) -> Dirs {
        Dirs::below(&config.root, &config.run, pod)
    }

    pub(crate) fn below(root: &Path, run: &Path, pod: &PodId) -> Dirs {
        let below = |folder: &Path| folder.join("pods").join(pod.as_str());
        Dirs { state: below(root), run: below(run) }
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.state.join("pod.json")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(format!("{id}.json"))
    }

    /// The OCI configuration of a container, as it was planned.
    pub(crate) fn spec(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(format!("{id}.spec"))
    }

    /// What the hooks of a container are told: a folder with `config.json` and a place for the root.
    pub(crate) fn bundle(&self, id: &ContainerId) -> PathBuf {
        self.run.join("bundles").join(id.as_str())
    }

    /// The checkpoints that are being made, each in a folder with its container's id.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.state.join("checkpoints")
    }

    /// The image of the processes of a container that is restored, until they are there.
    pub(crate) fn restored(&self, id: &ContainerId) -> PathBuf {
        self.state.join("restored").join(id.as_str())
    }

    /// Where other runtimes keep their records of containers.
    pub(crate) fn programs(&self) -> PathBuf {
        self.run.join("programs")
    }

    /// hosts, hostname and resolv.conf.
    pub(crate) fn files(&self) -> PathBuf {
        self.state.join("files")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Removes the run folder of a pod whose lock we hold. A maker that waits for the lock may make
    /// another one as soon as this one has no name: then the folder is its own.
    pub(crate) fn remove_run(&self) -> Result<()> {
        let lock = self.lock();
        let read = || format!("read {}", self.run.display());
        for entry in fs::read_dir(&self.run).context(read)? {
            let path = entry.context(read)?.path();
            match path.is_dir() && !path.is_symlink() {
                true => remove_all(&path)?,
                false if path != lock => remove_file(&path)?,
                false => {}
            }
        }
        remove_file(&lock)?;
        match fs::remove_dir(&self.run) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.context(|| format!("remove {}", self.run.display())),
        }
    }
}

/// A kernel lock on a pod: who holds it works on the pod. Death releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

/// What became of one try for a lock.
enum Try {
    Taken(Lock),
    Held,
    /// Whoever held it has removed it meanwhile.
    Removed,
}

impl Lock {
    /// Takes the lock at `path`; `None` when another process has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Lock>> {
        loop {
            let tried = Self::attempt(path, FlockArg::LockExclusiveNonblock);
            match tried.context(|| format!("lock {}", path.display()))? {
                Try::Taken(lock) => return Ok(Some(lock)),
                Try::Held => return Ok(None),
                Try::Removed => {}
            }
        }
    }

    /// As [`Lock::take`], of a pod whose record says no other owner, with the daemon's lock of the run
    /// folder held. What stands there and no program of ours can lock (a folder, a FIFO, a link) says
    /// nothing of an owner and would keep the pod from everybody: it is removed.
    pub(crate) fn take_in_any_case(path: &Path) -> Result<Option<Lock>> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            tracing::warn!(path = %path.display(), "removed: it stands where a lock belongs");
            remove_any(path)?;
        }
        Self::take(path)
    }

    /// Takes the lock at `path` from a process that is about to end: it has given up its record of the
    /// pod, or told that it is done. `None` when it still has the lock after `limit`. Blocks.
    pub(crate) fn take_over(path: &Path, limit: Duration) -> Result<Option<Lock>> {
        let end = Instant::now() + limit;
        loop {
            match Self::take(path)? {
                None if Instant::now() < end => sleep(PAUSE),
                taken => return Ok(taken),
            }
        }
    }

    /// Makes the folder of a new pod and takes the lock at `path` in it.
    ///
    /// A process that starts at this moment takes a folder without a record for one that was left
    /// behind, and removes it under its lock: it is waited for, and the folder is made again.
    pub(crate) fn begin(path: &Path) -> Result<Lock> {
        loop {
            if let Some(folder) = path.parent() {
                make(folder)?;
            }
            match Self::attempt(path, FlockArg::LockExclusive) {
                Ok(Try::Taken(lock)) => return Ok(lock),
                Ok(Try::Held | Try::Removed) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(|| format!("lock {}", path.display())),
            }
        }
    }

    fn attempt(path: &Path, how: FlockArg) -> io::Result<Try> {
        let file = match Flock::lock(rrun_sys::record::open_lock(path)?, how) {
            Ok(file) => file,
            Err((_, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => {
                return Ok(Try::Held);
            }
            Err((_, errno)) => return Err(errno.into()),
        };
        // A lock on a file that nobody else finds is none.
        match (file.metadata(), fs::symlink_metadata(path)) {
            (Ok(held), Ok(now)) if held.ino() == now.ino() => Ok(Try::Taken(Lock { _file: file })),
            _ => Ok(Try::Removed),
        }
    }
}

/// Makes a folder and those above it; one that is there is taken.
pub(crate) fn make(path: &Path) -> Result<()> {
    loop {
        match fs::create_dir_all(path) {
            // It was there when it was to be made, and gone when it was looked at.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_gone(path) => {}
            made => return made.context(|| format!("make {}", path.display())),
        }
    }
}

/// Makes a folder that nobody but us may look into, before anything is in it.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    if let Some(above) = path.parent() {
        make(above)?;
    }
    let made = match fs::DirBuilder::new().mode(0o700).create(path) {
        // Of an earlier try.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        }
        made => made,
    };
    made.context(|| format!("make {}", path.display()))
}

/// As [`make`], of the run folder of a pod that is recovered: what stands in its place and leads to
/// no folder is removed, as a folder that is gone is made.
pub(crate) fn make_in_any_case(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() && !path.is_dir() {
        tracing::warn!(path = %path.display(), "removed: it stands where a folder belongs");
        remove_any(path)?;
    }
    make(path)
}

/// Nothing is there that would always be in the way of a folder: by now it may be one again.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(true, |found| found.is_dir())
}

/// Removes what stands at `path`, whatever it is. Of a mount point it says EBUSY: what is mounted
/// there is not ours.
fn remove_any(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => remove_all(path),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.context(|| format!("remove {}", path.display())),
    }
}

/// Removes a folder at once: it gets a name by which no pod is found, and [`delete`] does the rest,
/// for which nobody need wait. A missing one is removed.
pub(crate) fn remove_at_once(path: &Path) -> Result<()> {
    let removed = removed(path);
    let rename = || match fs::rename(path, &removed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    };
    let renamed = rename().or_else(|error| match error.kind() {
        // Of a process that has died between the two.
        io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(&removed).and_then(|()| rename()),
        _ => Err(error),
    });
    renamed.context(|| format!("remove {}", path.display()))
}

/// Deletes what [`remove_at_once`] has removed. What cannot be deleted is told in the log, and tried
/// again when an engine is opened.
pub(crate) fn delete(path: &Path) {
    delete_removed(&removed(path));
}

/// The same of all pods of which the remover has died, in a folder of pods.
pub(crate) fn delete_all_removed(pods: &Path) {
    // What has no pod's name is not ours to touch.
    let is_ours =
        |name: &str| name.strip_suffix(REMOVED).is_some_and(|id| id.parse::<PodId>().is_ok());
    let entries = fs::read_dir(pods).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        delete_removed(&entry.path());
    }
}

fn removed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(REMOVED);
    PathBuf::from(name)
}

fn delete_removed(path: &Path) {
    if let Err(error) = remove_all(path) {
        tracing::warn!(%error, "left behind");
    }
}

/// Removes a folder with all it holds, or what stands in its place; a missing one is removed.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a file; a missing one is removed.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_one_from_its_beginning_and_one_that_was_not_becomes_one() {
        let folder = tempfile::tempdir().unwrap();
        let [new, old] = ["a/new", "a/old"].map(|name| folder.path().join(name));
        make(&old).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_ne!(mode(&old), 0o700);
        for path in [new, old] {
            make_private(&path).unwrap();
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        }
    }

    #[test]
    fn a_folder_is_removed_at_once_though_an_earlier_one_of_its_name_is_not_deleted_yet() {
        let pods = tempfile::tempdir().unwrap();
        let pod = pods.path().join(PodId::random().unwrap().as_str());
        let not_ours = pods.path().join("backup.removed");
        fs::create_dir(&not_ours).unwrap();
        let make = || {
            fs::create_dir(&pod).unwrap();
            fs::write(pod.join("record"), "").unwrap();
        };
        remove_at_once(&pod).unwrap();
        for _ in 0..2 {
            make();
            remove_at_once(&pod).unwrap();
            assert!(!pod.exists());
        }
        let left = || fs::read_dir(&pods).unwrap().count();
        assert_eq!(left(), 2);
        make();
        delete_all_removed(pods.path());
        assert!(left() == 2 && pod.exists() && not_ours.exists());
        remove_at_once(&pod).unwrap();
        delete(&pod);
        assert!(left() == 1 && not_ours.exists());
    }

    #[test]
    fn a_lock_of_a_process_that_is_about_to_end_is_waited_for_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take_over(&path, Duration::from_millis(30)).unwrap().is_none());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| Lock::take_over(&path, Duration::from_secs(60)));
            drop(held);
            assert!(waits.join().unwrap().unwrap().is_some());
        });
    }

    #[test]
    fn a_lock_is_held_by_one_and_given_back_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_folder_is_made_whoever_removes_it_meanwhile_and_a_file_in_its_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let theirs = path.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let remover = std::thread::spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let _ = fs::remove_dir(&theirs);
            }
        });
        let made: Result<Vec<()>> = (0..20_000).map(|_| make(&path)).collect();
        drop(stop);
        remover.join().unwrap();
        made.unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(make(&file).is_err());
    }

    #[test]
    fn a_new_pod_gets_its_lock_though_a_starting_process_removes_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dirs = Dirs { state: folder.path().join("state"), run: folder.path().join("run") };
        // Many rounds, as the two meet at another place in each.
        for _ in 0..200 {
            let theirs = dirs.clone();
            make(&dirs.run).unwrap();
            let recovery = std::thread::spawn(move || {
                // It may find the folder gone, or the maker's lock on it.
                if let Ok(Some(_lock)) = Lock::take(&theirs.lock()) {
                    theirs.remove_run().unwrap();
                }
            });
            let _held = Lock::begin(&dirs.lock()).unwrap();
            recovery.join().unwrap();
            assert!(Lock::take(&dirs.lock()).unwrap().is_none());
        }
    }
}
