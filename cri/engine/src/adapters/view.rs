//! Images as detached mounts: they are in nobody's mount table, and go with their descriptors.

use crate::error::{Context, Error, Result};
use crate::ports::RootfsDirs;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use rrun_images::Lower;
use rrun_runtime::plan::{IdMaps, IdRange};
use rrun_runtime::run::namespace::{self, NamespaceKind, Setup};
use rrun_sys::{in_root, mount};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The root of a container.
pub(super) fn root(dirs: &RootfsDirs, ids: Option<&IdMaps>) -> Result<OwnedFd> {
    let (upper, work) = (open(&dirs.upper)?, open(&dirs.work)?);
    overlay(&dirs.lower, Some((upper.as_fd(), work.as_fd())), ids)
}

/// An image that nobody writes to, or a folder in it.
pub(super) fn view(layers: &[Lower], sub_path: &str, ids: Option<&IdMaps>) -> Result<OwnedFd> {
    let whole = match layers {
        // An overlay without an upper directory wants two; alone is only what is empty.
        [empty] => {
            let user = ids.map(user_namespace).transpose()?;
            copy(empty, opened(empty)?.as_fd(), user.as_ref())?
        }
        _ => overlay(layers, None, ids)?,
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

/// Whether layers can be mounted with their ids mapped, tried on these.
pub(super) fn try_mapped(layers: &[Lower]) -> Result<()> {
    const OUTSIDE: u32 = 65_536;
    let all = vec![IdRange { inside: 0, outside: OUTSIDE, count: 65_536 }];
    let made = overlay(layers, None, Some(&IdMaps { users: all.clone(), groups: all }))?;
    let root = nix::sys::stat::fstat(&made).map_err(std::io::Error::from).context(|| "stat")?;
    match (root.st_uid, root.st_gid) {
        (OUTSIDE, OUTSIDE) => Ok(()),
        (uid, gid) => Err(Error::internal(format!("the root of an overlay is {uid}:{gid}'s"))),
    }
}

fn overlay(
    lower: &[Lower],
    changes: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    ids: Option<&IdMaps>,
) -> Result<OwnedFd> {
    let user = ids.map(user_namespace).transpose()?;
    let options = Lower::options(lower);
    let layer = |layer: &Lower| match &user {
        None => opened(layer),
        Some(_) => copy(layer, opened(layer)?.as_fd(), user.as_ref()),
    };
    let lower: Vec<OwnedFd> = lower.iter().map(layer).collect::<Result<_>>()?;
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let way = if user.is_some() { mount::overlay_of_mounts } else { mount::overlay };
    way(&lower, changes, options)
        .map_err(|refused| Error::internal(refused.to_string()).context("mount an overlay"))
}

/// A user namespace that only maps ids: whoever is mapped alike has the same ids there.
fn user_namespace(ids: &IdMaps) -> Result<OwnedFd> {
    let setup = Setup { id_maps: Some(ids), ..Setup::default() };
    let made = namespace::make(&[NamespaceKind::User], &setup)?;
    made.into_iter().next().ok_or_else(|| Error::internal("no user namespace"))
}

/// A folder as a mount of its own, with its ids mapped by a user namespace.
fn copy(path: &Path, folder: BorrowedFd<'_>, user: Option<&OwnedFd>) -> Result<OwnedFd> {
    let failed = |what: &str, errno: Errno| {
        Error::internal(format!("{errno:?}")).context(format!("{what} {}", path.display()))
    };
    let made = mount::clone_tree(folder, c"", false).map_err(|errno| failed("mount", errno))?;
    if let Some(user) = user {
        mount::map_ids(made.as_fd(), user.as_fd(), false)
            .map_err(|errno| failed("map the ids of", errno))?;
    }
    Ok(made)
}

fn opened(layer: &Lower) -> Result<OwnedFd> {
    layer.open().context(|| format!("open {layer:?}"))
}

fn open(path: &Path) -> Result<OwnedFd> {
    let folder = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path);
    folder.map(OwnedFd::from).context(|| format!("open {}", path.display()))
}
