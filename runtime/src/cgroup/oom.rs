//! How many processes the kernel has killed in a container for want of memory, asked when it has
//! ended: its groups may be gone by then, since systemd removes those of a scope as soon as nobody
//! is left in them.

use super::stats;
use crate::plan::Cgroups;
use crate::{Context, Kind, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// Counts the kills in a container's groups. They must be there when it is made.
#[derive(Debug)]
pub struct OomKills {
    /// Where the memory controller is.
    dir: PathBuf,
    version: Version,
}

#[derive(Debug)]
enum Version {
    /// With what hears of a want of memory: it is there when the group is gone.
    V1(Option<EventFd>),
    /// The group above counts the same kills.
    V2,
}

impl OomKills {
    /// Looks for the memory controller of the groups; `None` where nothing limits memory.
    pub fn of(groups: &Cgroups) -> Option<OomKills> {
        // v1 first: on a hybrid host that is where the controllers are.
        let v1 = groups.dirs.iter().find(|dir| !dir.unified && has(&dir.path, V1));
        if let Some(dir) = v1 {
            // Without it the kills are counted for as long as the group is there.
            let heard = listen(&dir.path).ok();
            return Some(OomKills { dir: dir.path.clone(), version: Version::V1(heard) });
        }
        let v2 = groups.dirs.iter().find(|dir| dir.unified && has(&dir.path, V2))?;
        Some(OomKills { dir: v2.path.clone(), version: Version::V2 })
    }

    /// The kills so far; `None` when the group is gone.
    ///
    /// # Errors
    /// What the kernel says to the group's file.
    pub fn count(&self) -> Result<Option<u64>> {
        match &self.version {
            Version::V1(_) => kills(&self.dir, V1),
            Version::V2 => kills(&self.dir, V2),
        }
    }

    /// On v2, the kills in the group above, in all that is below it now and in all that was: the
    /// kernel counts each in every group above it. `None` where there is no such group, or v1.
    pub fn count_above(&self) -> Option<u64> {
        match &self.version {
            Version::V1(_) => None,
            Version::V2 => kills(self.dir.parent()?, V2).ok().flatten(),
        }
    }

    /// On v1, whether memory has run out in a group that is gone. The kernel counts the end of the
    /// group in the same way, but not before the processors have all passed on since.
    pub fn was_heard_of(&self) -> bool {
        match &self.version {
            Version::V1(Some(heard)) => heard.read().is_ok_and(|count| count > 0),
            _ => false,
        }
    }
}

const V1: &str = "memory.oom_control";
const V2: &str = "memory.events";

fn has(dir: &Path, file: &str) -> bool {
    dir.join(file).exists()
}

fn kills(dir: &Path, file: &str) -> Result<Option<u64>> {
    match stats::field_of(dir, file, "oom_kill") {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for a notification whenever memory runs out in a group of v1.
fn listen(dir: &Path) -> Result<EventFd> {
    let path = dir.join(V1);
    let context = || format!("listen to {}", path.display());
    let heard = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let heard = heard.context(context)?;
    let control = File::open(&path).context(context)?;
    let request = format!("{} {}", heard.as_fd().as_raw_fd(), control.as_raw_fd());
    std::fs::write(dir.join("cgroup.event_control"), request).context(context)?;
    Ok(heard)
}
