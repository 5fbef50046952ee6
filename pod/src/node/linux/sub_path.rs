//! `subPath`: a part of a volume, found without trusting what the pod put there.
//!
//! The pod can write the volume and so can swap any part of the path for a symlink while it is
//! looked up (CVE-2017-1002101, CVE-2021-25741). Hence: look up by descriptor, inside the volume
//! only, then bind that very descriptor to a place the pod cannot reach.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use rrun_sys::in_root::open_beneath;

use super::{files, mounts};
use crate::error::{Context, Error, Kind, Result};

/// Binds `path` inside `root` to `target` and answers `target`.
pub fn bind(root: &Path, path: &str, target: &Path) -> Result<std::path::PathBuf> {
    let base = open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .context(|| format!("open {}", root.display()))?;
    let found = match look_up(&base, path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => make(&base, root, path)?,
        other => other.map_err(|e| refusal(path, e))?,
    };
    let kind = fstat(&found).context(|| format!("stat {path}"))?.st_mode & SFlag::S_IFMT.bits();
    if mounts::is_mount_point(target)? {
        umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .context(|| format!("unmount {}", target.display()))?;
    }
    place(target, kind == SFlag::S_IFDIR.bits())?;
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    mount(
        Some(source.as_str()),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .context(|| format!("bind to {}", target.display()))?;
    Ok(target.to_owned())
}

/// A lookup that cannot leave the volume: no `..` above it, no absolute symlink, no magic link.
fn look_up(base: impl AsFd, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    open_beneath(base.as_fd(), &path, flags)
}

fn refusal(path: &str, errno: Errno) -> Error {
    match errno {
        Errno::EXDEV | Errno::ELOOP => {
            Error::new(Kind::Denied, format!("{path:?} leads out of the volume"))
        }
        other => Error::errno(format!("look up {path:?}"), other),
    }
}

/// Makes the missing folders with the volume's own mode.
fn make(base: &OwnedFd, root: &Path, path: &str) -> Result<OwnedFd> {
    let mode = fs::metadata(root).context(|| format!("stat {}", root.display()))?.mode() & 0o7777;
    let mut at = look_up(base, ".", OFlag::O_DIRECTORY).map_err(|e| refusal(path, e))?;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let next = match look_up(&at, part, OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => {
                let bits = Mode::from_bits_truncate(mode);
                match mkdirat(&at, part, bits) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(e) => return Err(Error::errno(format!("mkdir {path:?}"), e)),
                }
                let made = look_up(&at, part, OFlag::O_DIRECTORY).map_err(|e| refusal(path, e))?;
                // mkdir is subject to the umask; the descriptor is the folder just made.
                fchmod(&made, bits).context(|| format!("chmod {path:?}"))?;
                made
            }
            other => other.map_err(|e| refusal(path, e))?,
        };
        at = next;
    }
    Ok(at)
}

fn place(target: &Path, folder: bool) -> Result<()> {
    if let Some(parent) = target.parent() {
        files::make_dirs(parent, 0o750)?;
    }
    // What was there may be of the other kind; nothing is mounted on it now.
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() && !folder => {
            fs::remove_dir(target).context(|| format!("rmdir {}", target.display()))?;
        }
        Ok(found) if !found.is_dir() && folder => {
            fs::remove_file(target).context(|| format!("remove {}", target.display()))?;
        }
        _ => {}
    }
    if folder { files::make_dirs(target, 0o750) } else { files::overwrite(target, b"", 0o640) }
}
