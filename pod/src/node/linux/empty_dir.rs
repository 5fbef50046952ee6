//! `emptyDir`, on disk or in memory.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;

use super::{files, mounts};
use crate::error::{Context, Result};
use crate::model::{EmptyDir, Medium};

/// Makes the folder `dir`, 0777, on tmpfs if it is to be in memory. `cap` bounds what memory may
/// be used beside the volume's own limit: the pod's limit and the node's size.
pub fn prepare(dir: &Path, volume: &EmptyDir, group: Option<i64>, cap: i64) -> Result<()> {
    if dir.exists() && (volume.medium == Medium::Disk || mounts::is_mount_point(dir)?) {
        return Ok(());
    }
    files::make_dirs(dir, 0o777)?;
    if volume.medium == Medium::Memory {
        let limit = volume.size_limit.map(|q| q.value()).filter(|n| *n > 0);
        tmpfs(dir, limit.map_or(cap, |limit| limit.min(cap)))?;
    }
    own(dir, group)
}

/// Lets mounts in the folder travel between it and containers: a mount of its own, which is shared
/// even where that of the folder above is not. It goes with the volume.
pub fn share(dir: &Path) -> Result<()> {
    let none = None::<&str>;
    if !mounts::is_mount_point(dir)? {
        mount(Some(dir), dir, none, MsFlags::MS_BIND, none)
            .context(|| format!("bind {} onto itself", dir.display()))?;
    }
    mount(none, dir, none, MsFlags::MS_SHARED, none)
        .context(|| format!("share the mount of {}", dir.display()))
}

/// Mounts a tmpfs of at most `size` bytes.
pub fn tmpfs(dir: &Path, size: i64) -> Result<()> {
    let flags = MsFlags::empty();
    let options = |more: &str| format!("mode=1777,size={size}{more}");
    // A secret must not reach the swap device; kernels before 6.4 do not know the option.
    let quiet = mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(options(",noswap").as_str()));
    quiet
        .or_else(|_| mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(options("").as_str())))
        .context(|| format!("mount tmpfs on {}", dir.display()))
}

/// Lets a tmpfs hold `size` bytes, if it cannot yet.
pub fn grow(dir: &Path, size: i64) -> Result<()> {
    let found = statvfs(dir).context(|| format!("stat {}", dir.display()))?;
    let has = found.blocks().saturating_mul(found.fragment_size());
    if i64::try_from(has).is_ok_and(|has| has < size) {
        let option = format!("size={size}");
        let (flags, none) = (MsFlags::MS_REMOUNT, None::<&str>);
        mount(none, dir, none, flags, Some(option.as_str()))
            .context(|| format!("resize the tmpfs on {}", dir.display()))?;
    }
    Ok(())
}

/// Gives a folder to the pod's fsGroup: group-writable, and new files inherit the group.
pub fn own(dir: &Path, group: Option<i64>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let Some(gid) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    std::os::unix::fs::lchown(dir, None, Some(gid))
        .context(|| format!("chgrp {gid} {}", dir.display()))?;
    let found = std::fs::metadata(dir).context(|| format!("stat {}", dir.display()))?;
    files::set_mode(dir, found.permissions().mode() & 0o7777 | 0o2770)
}
