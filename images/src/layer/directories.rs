//! Directories that a layer implies and a lower layer describes.
//!
//! Layers are unpacked by themselves, so `etc/x` without an entry for `etc` makes an `etc` with
//! default owner and mode, and overlayfs shows the attributes of the topmost one. Where a lower
//! layer describes it otherwise, the image gets one more layer on top, of such directories alone.
//! Most images need none.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use nix::sys::stat::{FileStat, Mode, SFlag};
use rrun_sys::root::{RelPath, RootDir, Rule};
use rrun_sys::xattr;

use super::Facts;
use super::unpack::{DIR_MODE, OVERLAY_OPAQUE};
use crate::error::{Context, Result};

/// One layer of the image to look into.
pub(crate) struct OpenLayer {
    root: RootDir,
    implied: HashSet<RelPath>,
    is_opaque: bool,
    /// What [`hides`] found already, so that a deep path is not looked at again for each of those
    /// below it.
    hiding: RefCell<HashMap<RelPath, bool>>,
}

impl OpenLayer {
    pub(crate) fn open(dir: PathBuf, facts: &Facts) -> Result<OpenLayer> {
        let implied = facts.implied.iter().filter_map(|path| RelPath::parse(path).ok()).collect();
        let root = RootDir::open(&dir, Rule::Beneath).context(dir.display())?;
        let hiding = RefCell::default();
        Ok(OpenLayer { root, implied, is_opaque: facts.is_opaque, hiding })
    }
}

/// A directory of the layer on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    path: RelPath,
    mode: u32,
    owner: (u32, u32),
}

/// What a layer says of a directory.
enum InLayer {
    Described(FileStat),
    Implied,
    Absent,
    /// Here and below there is nothing to see.
    Hidden,
}

/// The directories that are to go on top of `layers` (top first); parents come before children.
pub(crate) fn plan(layers: &[OpenLayer]) -> Result<Vec<Directory>> {
    let mut wanted = BTreeSet::new();
    // Nothing lies below the bottom one.
    let above = layers.split_last().map_or(layers, |(_, above)| above);
    for path in above.iter().flat_map(|layer| &layer.implied) {
        if let Some((directory, true)) = visible(layers, path)? {
            let is_default = directory.mode == DIR_MODE.bits() && directory.owner == (0, 0);
            if !is_default {
                let mut at = Some(path.clone());
                while let Some(path) = at.filter(|path| !wanted.contains(path)) {
                    at = path.split().map(|(parent, _)| parent);
                    wanted.insert(path);
                }
            }
        }
    }
    let directories: Result<Vec<Option<_>>> =
        wanted.iter().map(|path| visible(layers, path)).collect();
    Ok(directories?.into_iter().flatten().map(|(directory, _)| directory).collect())
}

/// How the image shows a directory, and whether an implied one covers the described one.
fn visible(layers: &[OpenLayer], path: &RelPath) -> Result<Option<(Directory, bool)>> {
    let mut is_covered = false;
    for layer in layers {
        match look_up(layer, path)? {
            InLayer::Described(stat) => {
                let owner = (stat.st_uid, stat.st_gid);
                let mode = stat.st_mode & 0o7777;
                return Ok(Some((Directory { path: path.clone(), mode, owner }, is_covered)));
            }
            InLayer::Implied => is_covered = true,
            InLayer::Absent => {}
            InLayer::Hidden => break,
        }
        if layer.is_opaque || hides(layer, path)? {
            break;
        }
    }
    let directory = Directory { path: path.clone(), mode: DIR_MODE.bits(), owner: (0, 0) };
    Ok(is_covered.then_some((directory, false)))
}

fn look_up(layer: &OpenLayer, path: &RelPath) -> Result<InLayer> {
    let stat = match path.split() {
        None => Some(nix::sys::stat::fstat(layer.root.fd())?),
        Some(_) => match layer.root.place(path) {
            Ok(place) => place.stat()?,
            Err(e) if e.raw_os_error() == Some(nix::libc::ENOENT) => None,
            // A file, whiteout or symlink on the way.
            Err(_) => return Ok(InLayer::Hidden),
        },
    };
    let Some(stat) = stat else { return Ok(InLayer::Absent) };
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
        return Ok(InLayer::Hidden);
    }
    Ok(if layer.implied.contains(path) { InLayer::Implied } else { InLayer::Described(stat) })
}

/// Whether a directory on the way hides what lower layers have in it.
fn hides(layer: &OpenLayer, path: &RelPath) -> Result<bool> {
    let mut known = layer.hiding.borrow_mut();
    let mut asked = Vec::new();
    let mut at = path.clone();
    let hides = loop {
        if let Some(hides) = known.get(&at) {
            break *hides;
        }
        let Some((parent, _)) = at.split() else { break false };
        let is_opaque = match layer.root.dir(&at) {
            Ok(dir) => xattr::get(dir.fd(), OVERLAY_OPAQUE)?.is_some(),
            Err(_) => false,
        };
        asked.push(std::mem::replace(&mut at, parent));
        if is_opaque {
            break true;
        }
    };
    known.extend(asked.into_iter().map(|path| (path, hides)));
    Ok(hides)
}

/// Makes the layer in an empty directory.
pub(crate) fn make(root: &RootDir, directories: &[Directory]) -> Result<Facts> {
    for directory in directories {
        let mode = Mode::from_bits_truncate(directory.mode);
        if directory.path.is_root() {
            nix::unistd::fchown(
                root.fd(),
                Some(directory.owner.0.into()),
                Some(directory.owner.1.into()),
            )?;
            nix::sys::stat::fchmod(root.fd(), mode)?;
            continue;
        }
        let place = root.place(&directory.path).context(&directory.path)?;
        place.mkdir(DIR_MODE).context(&directory.path)?;
        place.set_owner(directory.owner.0, directory.owner.1).context(&directory.path)?;
        place.set_mode(mode).context(&directory.path)?;
    }
    let inodes = directories.len() as u64;
    Ok(Facts { bytes: inodes * 4096, inodes, implied: Vec::new(), is_opaque: false })
}
