//! Images as detached mounts: they are in nobody's mount table, and go with their descriptors.

use crate::error::{Context, Error, Result};
use crate::ports::RootfsDirs;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use rrun_images::Lower;
use rrun_sys::{in_root, mount};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The root of a container.
pub(super) fn root(dirs: &RootfsDirs) -> Result<OwnedFd> {
    let (upper, work) = (open(&dirs.upper)?, open(&dirs.work)?);
    overlay(&dirs.lower, Some((upper.as_fd(), work.as_fd())))
}

/// An image that nobody writes to, or a folder in it.
pub(super) fn view(layers: &[Lower], sub_path: &str) -> Result<OwnedFd> {
    let whole = match layers {
        // An overlay without an upper directory wants two; alone is only what is empty.
        [empty] => mount::clone_tree(open(empty)?.as_fd(), c"", false)
            .map_err(|errno| Error::internal(format!("{errno:?}")))
            .context(|| format!("mount {}", empty.display()))?,
        _ => overlay(layers, None)?,
    };
    if sub_path.is_empty() {
        return Ok(whole);
    }
    folder(whole, sub_path).context(|| format!("image_sub_path {sub_path:?}"))
}

/// A folder that is looked up inside the image.
fn folder(whole: OwnedFd, path: &str) -> Result<OwnedFd> {
    let name = CString::new(path).map_err(|_| Error::invalid("NUL in it"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let folder = in_root::open(whole.as_fd(), &name, flags).map_err(|errno| match errno {
        Errno::ENOENT => Error::not_found("not found in the image"),
        Errno::ENOTDIR => Error::invalid("it is no folder of the image"),
        // The image is such.
        Errno::ELOOP | Errno::ENAMETOOLONG => Error::invalid(format!("{errno:?}")),
        _ => Error::internal(format!("{errno:?}")),
    })?;
    mount::folder(whole, folder.as_fd())
        .map_err(|errno| Error::internal(format!("mount it: {errno:?}")))
}

fn overlay(lower: &[Lower], changes: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>) -> Result<OwnedFd> {
    let options = Lower::options(lower);
    let lower: Vec<OwnedFd> = lower.iter().map(|layer| open(layer)).collect::<Result<_>>()?;
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    mount::overlay(&lower, changes, options)
        .map_err(|refused| Error::internal(refused.to_string()).context("mount an overlay"))
}

fn open(path: &Path) -> Result<OwnedFd> {
    let folder = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path);
    folder.map(OwnedFd::from).context(|| format!("open {}", path.display()))
}
