//! What the entries of a layer's archive mean, whatever the layer becomes.
//!
//! The last entry of a path wins, in all that it says. A path may lead through symlinks of its own
//! layer, absolute and dangling ones too: they are resolved as in a chroot.

use std::io::BufRead;

use rrun_sys::root::RelPath;

use super::lookup::clean;
use crate::error::{Context, Error, Result};
use crate::tar::{Archive, Entry, EntryKind};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs' own files, which very old images have.
const AUFS: &[u8] = b".wh..wh.";
/// Where aufs kept files that have several names. The names in other directories are links to them.
pub(super) const AUFS_LINKS: &[u8] = b".wh..wh.plnk";
/// What overlayfs reads in a directory that hides the ones below it.
pub(crate) const OVERLAY_OPAQUE: &std::ffi::CStr = c"trusted.overlay.opaque";

/// What a layer becomes. Paths of parents are real ones: no symlink is on the way.
pub(super) trait Target {
    /// Where `path` leads within this layer. What is not there yet stays as it is.
    fn real(&mut self, path: &RelPath) -> Result<RelPath>;

    /// The directory hides what the layers below have in it.
    fn opaque(&mut self, path: &RelPath) -> Result<()>;

    /// Hides what the layers below have under this name, never what this one has, in whatever
    /// order both come.
    fn whiteout(&mut self, parent: &RelPath, hidden: &[u8]) -> Result<()>;

    /// Makes or describes a directory, the root too.
    fn directory(&mut self, path: RelPath, entry: &Entry) -> Result<()>;

    /// Makes a regular file of the data that come next in the archive.
    fn file<R: BufRead>(
        &mut self,
        parent: &RelPath,
        name: &[u8],
        entry: &Entry,
        data: &mut Archive<R>,
    ) -> Result<()>;

    /// Makes a symlink, a device or a pipe.
    fn special(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()>;

    /// Gives a file of this layer another name. What the entry says counts for all of its names.
    fn hard_link(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()>;
}

/// Makes what `entry` says, its data taken from the archive: into the file that is told.
pub(super) fn apply<R: BufRead>(
    target: &mut impl Target,
    entry: &Entry,
    data: &mut Archive<R>,
) -> Result<Option<RelPath>> {
    make(target, entry, data).context(format_args!("entry \"{}\"", entry.path.escape_ascii()))
}

fn make<R: BufRead>(
    target: &mut impl Target,
    entry: &Entry,
    data: &mut Archive<R>,
) -> Result<Option<RelPath>> {
    let path = clean(&entry.path)?;
    let Some((parent, name)) = path.split() else {
        if entry.kind != EntryKind::Directory {
            return Err(Error::invalid("the root is not a directory"));
        }
        return target.directory(path, entry).map(|()| None);
    };
    if is_of_aufs(&path) && !(is_aufs_link(&path) && entry.kind == EntryKind::File) {
        return Ok(None);
    }
    let parent = target.real(&parent)?;
    if entry.kind == EntryKind::File && !name.starts_with(WHITEOUT) {
        target.file(&parent, name, entry, data)?;
        return Ok(Some(parent.join(name)?));
    }
    without_data(target, &parent, name, entry).map(|()| None)
}

fn without_data(
    target: &mut impl Target,
    parent: &RelPath,
    name: &[u8],
    entry: &Entry,
) -> Result<()> {
    if name == OPAQUE {
        return target.opaque(parent);
    }
    if name.starts_with(AUFS) {
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("a whiteout of no name"));
        }
        return target.whiteout(parent, hidden);
    }
    match entry.kind {
        EntryKind::Directory => target.directory(parent.join(name)?, entry),
        EntryKind::HardLink => target.hard_link(parent, name, entry),
        _ => target.special(parent, name, entry),
    }
}

/// What a hard link's entry names, in this layer.
pub(super) fn link_target(target: &mut impl Target, entry: &Entry) -> Result<RelPath> {
    let shown = entry.link.escape_ascii();
    let path = clean(&entry.link).context(format_args!("hard link to \"{shown}\""))?;
    match path.split() {
        Some((parent, name)) => Ok(target.real(&parent)?.join(name)?),
        None => Err(Error::invalid("hard link to \"/\", a directory")),
    }
}

/// Whether the path is in one of aufs' own directories.
fn is_of_aufs(path: &RelPath) -> bool {
    path.as_bytes().starts_with(AUFS) && path.as_bytes() != OPAQUE
}

fn is_aufs_link(path: &RelPath) -> bool {
    path.as_bytes().strip_prefix(AUFS_LINKS).is_some_and(|rest| rest.starts_with(b"/"))
}
