//! Directories that a layer implies and a lower layer describes.
//!
//! Layers are unpacked by themselves, so `etc/x` without an entry for `etc` makes an `etc` with
//! default owner and mode, and overlayfs shows the attributes of the topmost one. Where a lower
//! layer describes it otherwise, the image gets one more layer on top, of such directories alone:
//! a seam. Most images need none.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use nix::sys::stat::{FileStat, Mode, SFlag};
use rrun_sys::root::{RelPath, RootDir, Rule};
use rrun_sys::xattr;

use super::Facts;
use super::unpack::{DIR_MODE, OVERLAY_OPAQUE};
use crate::error::{Context, Result};

/// One layer of the image to look into.
pub(crate) struct Below {
    root: RootDir,
    implied: HashSet<RelPath>,
    is_opaque: bool,
}

impl Below {
    pub(crate) fn open(dir: PathBuf, facts: &Facts) -> Result<Below> {
        let implied = facts.implied.iter().filter_map(|path| RelPath::parse(path).ok()).collect();
        let root = RootDir::open(&dir, Rule::Beneath).context(dir.display())?;
        Ok(Below { root, implied, is_opaque: facts.is_opaque })
    }
}

/// A directory of a seam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stitch {
    path: RelPath,
    mode: u32,
    owner: (u32, u32),
}

/// What a layer says of a directory.
enum Word {
    Described(FileStat),
    Implied,
    Absent,
    /// Here and below there is nothing to see.
    Hidden,
}

/// The directories that the seam over `layers` (top first) needs; parents come before children.
pub(crate) fn plan(layers: &[Below]) -> Result<Vec<Stitch>> {
    let mut wanted = BTreeSet::new();
    for path in layers.iter().flat_map(|layer| &layer.implied) {
        if let Some((stitch, true)) = visible(layers, path)? {
            let is_default = stitch.mode == DIR_MODE.bits() && stitch.owner == (0, 0);
            if !is_default {
                let mut at = Some(path.clone());
                while let Some(path) = at {
                    at = path.split().map(|(parent, _)| parent);
                    wanted.insert(path);
                }
            }
        }
    }
    let stitches: Result<Vec<Option<_>>> =
        wanted.iter().map(|path| visible(layers, path)).collect();
    Ok(stitches?.into_iter().flatten().map(|(stitch, _)| stitch).collect())
}

/// How the image shows a directory, and whether an implied one covers the described one.
fn visible(layers: &[Below], path: &RelPath) -> Result<Option<(Stitch, bool)>> {
    let mut is_covered = false;
    for layer in layers {
        match word(layer, path)? {
            Word::Described(stat) => {
                let owner = (stat.st_uid, stat.st_gid);
                let mode = stat.st_mode & 0o7777;
                return Ok(Some((Stitch { path: path.clone(), mode, owner }, is_covered)));
            }
            Word::Implied => is_covered = true,
            Word::Absent => {}
            Word::Hidden => break,
        }
        if layer.is_opaque || hides(layer, path)? {
            break;
        }
    }
    let stitch = Stitch { path: path.clone(), mode: DIR_MODE.bits(), owner: (0, 0) };
    Ok(is_covered.then_some((stitch, false)))
}

fn word(layer: &Below, path: &RelPath) -> Result<Word> {
    let stat = match path.split() {
        None => Some(nix::sys::stat::fstat(layer.root.fd())?),
        Some(_) => match layer.root.place(path) {
            Ok(place) => place.stat()?,
            Err(e) if e.raw_os_error() == Some(nix::libc::ENOENT) => None,
            // A file, whiteout or symlink on the way.
            Err(_) => return Ok(Word::Hidden),
        },
    };
    let Some(stat) = stat else { return Ok(Word::Absent) };
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
        return Ok(Word::Hidden);
    }
    Ok(if layer.implied.contains(path) { Word::Implied } else { Word::Described(stat) })
}

/// Whether a directory on the way hides what lower layers have in it.
fn hides(layer: &Below, path: &RelPath) -> Result<bool> {
    let mut at = path.clone();
    while let Some((parent, _)) = at.split() {
        if let Ok(dir) = layer.root.dir(&at)
            && xattr::get(dir.fd(), OVERLAY_OPAQUE)?.is_some()
        {
            return Ok(true);
        }
        at = parent;
    }
    Ok(false)
}

/// Makes the directories in an empty one.
pub(crate) fn make(root: &RootDir, stitches: &[Stitch]) -> Result<Facts> {
    for stitch in stitches {
        let mode = Mode::from_bits_truncate(stitch.mode);
        if stitch.path.is_root() {
            nix::unistd::fchown(
                root.fd(),
                Some(stitch.owner.0.into()),
                Some(stitch.owner.1.into()),
            )?;
            nix::sys::stat::fchmod(root.fd(), mode)?;
            continue;
        }
        let place = root.place(&stitch.path).context(&stitch.path)?;
        place.mkdir(DIR_MODE).context(&stitch.path)?;
        place.set_owner(stitch.owner.0, stitch.owner.1).context(&stitch.path)?;
        place.set_mode(mode).context(&stitch.path)?;
    }
    let inodes = stitches.len() as u64;
    Ok(Facts { bytes: inodes * 4096, inodes, implied: Vec::new(), is_opaque: false })
}
