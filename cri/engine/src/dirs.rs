//! Where the things of one pod are.

use crate::config::Config;
use crate::error::{Context, Result};
use crate::id::{ContainerId, PodId};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folders of one pod: state that survives a reboot, and state of this boot.
#[derive(Clone, Debug)]
pub(crate) struct Dirs {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
}

impl Dirs {
    pub(crate) fn new(config: &Config, pod: &PodId) -> Dirs {
        let below = |folder: &Path| folder.join("pods").join(pod.as_str());
        Dirs { state: below(&config.root), run: below(&config.run) }
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

    /// hosts, hostname and resolv.conf.
    pub(crate) fn files(&self) -> PathBuf {
        self.state.join("files")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }
}

/// A kernel lock on a pod: who holds it works on the pod. Death releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock at `path`; `None` when another process has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Lock>> {
        loop {
            let file = File::create(path).context(|| format!("make {}", path.display()))?;
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => {
                    return Err(io::Error::from(errno))
                        .context(|| format!("lock {}", path.display()));
                }
            };
            // Whoever held it may have removed it in between: a lock on a file that nobody else
            // finds is none.
            let held = file.metadata().map(|m| m.ino());
            match (held, fs::metadata(path)) {
                (Ok(held), Ok(now)) if held == now.ino() => return Ok(Some(Lock { _file: file })),
                _ => {}
            }
        }
    }
}

/// Makes a folder and those above it; one that is there is taken.
pub(crate) fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("make {}", path.display()))
}

/// Removes a folder with all it holds; a missing one is removed.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
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
    fn a_lock_is_held_by_one_and_given_back_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
