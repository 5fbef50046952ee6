//! Directories that a layer implies and a lower layer describes.
//!
//! Layers are unpacked by themselves, so `etc/x` without an entry for `etc` makes an `etc` with
//! default owner and mode, and overlayfs shows the attributes of the topmost one. Where a lower
//! layer describes it otherwise, the image gets one more layer on top, of such directories alone.
//! Most images need none.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nix::dir::Dir;
use nix::libc;
use nix::sys::stat::Mode;
use rrun_sys::root::{RelPath, RootDir};
use rrun_sys::xattr;

use super::entries::OVERLAY_OPAQUE;
use super::facts::{DIR_MODE, Facts, HELD, path_of_text};
use crate::error::{Context, Error, Result};

/// What is held in memory of an image's implied directories: in bytes, as for one layer.
const MOST_IMPLIED: usize = 64 << 20;

/// The layers of an image to look into, top first.
#[derive(Default)]
pub(crate) struct OpenLayers {
    layers: Vec<OpenLayer>,
    held: usize,
}

struct OpenLayer {
    root: RootDir,
    implied: HashSet<RelPath>,
    is_opaque: bool,
}

/// A directory of the layer on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    path: RelPath,
    attributes: Attributes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attributes {
    mode: u32,
    owner: (u32, u32),
}

/// Of a directory that no entry describes.
const DEFAULT: Attributes = Attributes { mode: DIR_MODE.bits(), owner: (0, 0) };

impl OpenLayers {
    /// Adds the layer below those that are there.
    pub(crate) fn add(&mut self, root: RootDir, facts: &Facts) -> Result<()> {
        self.held += facts.implied.iter().map(|path| path.len() + HELD).sum::<usize>();
        if self.held > MOST_IMPLIED {
            return Err(too_many());
        }
        let implied = facts.implied.iter().filter_map(|path| path_of_text(path)).collect();
        self.layers.push(OpenLayer { root, implied, is_opaque: facts.is_opaque });
        Ok(())
    }

    /// The directories that are to go on top; parents come before children.
    pub(crate) fn plan(&self) -> Result<Vec<Directory>> {
        let mut tree = Implied::default();
        // Nothing lies below the bottom one.
        let above = self.layers.split_last().map_or(&self.layers[..], |(_, above)| above);
        for path in above.iter().flat_map(|layer| &layer.implied) {
            tree.add(path)?;
        }
        for layer in &self.layers {
            tree.look_into(layer)?;
        }
        Ok(tree.directories())
    }
}

fn too_many() -> Error {
    Error::invalid("its layers have too many directories without an entry")
}

/// The directories that layers imply, and those on the way to them.
///
/// A layer is looked into by reading what its directories have, and not by looking up each of
/// these paths: the time goes with the size of the layers, however many paths and layers there are.
#[derive(Default)]
struct Implied {
    nodes: BTreeMap<RelPath, Known>,
    held: usize,
}

/// A directory, as far as the layers tell that were looked into.
#[derive(Default)]
struct Known {
    /// Names in it that are of the tree too.
    children: HashSet<Vec<u8>>,
    /// By the topmost layer that describes it.
    described: Option<Attributes>,
    /// A layer above that one implies it.
    is_covered: bool,
    /// Layers further down are hidden, here and below.
    is_closed: bool,
}

impl Implied {
    fn add(&mut self, path: &RelPath) -> Result<()> {
        let mut at = path.clone();
        let mut child = None;
        loop {
            let is_known = self.nodes.contains_key(&at);
            let node = self.nodes.entry(at.clone()).or_default();
            node.children.extend(child.take());
            let (false, Some((parent, name))) = (is_known, at.split()) else { return Ok(()) };
            self.held += at.as_bytes().len() + HELD;
            if self.held > MOST_IMPLIED {
                return Err(too_many());
            }
            child = Some(name.to_vec());
            at = parent;
        }
    }

    /// Learns what a layer says, which lies below all that were looked into before.
    fn look_into(&mut self, layer: &OpenLayer) -> Result<()> {
        let mut paths = vec![RelPath::default()];
        while let Some(path) = paths.pop() {
            let Some(node) = self.nodes.get_mut(&path).filter(|node| !node.is_closed) else {
                continue;
            };
            let dir = match layer.root.dir_without_links(&path) {
                Ok(dir) => dir,
                // A file, whiteout or symlink.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                    node.is_closed = true;
                    continue;
                }
                // Gone again already: the commit will tell.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(e) => return Err(e).context(&path),
            };
            node.learn(layer.implied.contains(&path), &dir).context(&path)?;
            node.is_closed = match path.is_root() {
                true => layer.is_opaque,
                false => xattr::get(dir.fd(), OVERLAY_OPAQUE).context(&path)?.is_some(),
            };
            for name in node.children_in(&dir).context(&path)? {
                paths.push(path.join(&name)?);
            }
        }
        Ok(())
    }

    /// Those that an implied one covers and that are not what it made of them, and all on the way
    /// to them.
    fn directories(&self) -> Vec<Directory> {
        let mut wanted = BTreeSet::new();
        for (path, node) in &self.nodes {
            if node.is_covered && node.described.is_some_and(|described| described != DEFAULT) {
                let mut at = Some(path.clone());
                while let Some(path) = at.filter(|path| !wanted.contains(path)) {
                    at = path.split().map(|(parent, _)| parent);
                    wanted.insert(path);
                }
            }
        }
        let directory = |path: RelPath| {
            let node = self.nodes.get(&path)?;
            let attributes = node.described.or(node.is_covered.then_some(DEFAULT))?;
            Some(Directory { path, attributes })
        };
        wanted.into_iter().filter_map(directory).collect()
    }
}

impl Known {
    /// Learns what the next layer says of it. What is described already, no lower layer changes.
    fn learn(&mut self, is_implied: bool, dir: &RootDir) -> Result<()> {
        if self.described.is_some() {
            return Ok(());
        }
        if is_implied {
            self.is_covered = true;
            return Ok(());
        }
        let stat = nix::sys::stat::fstat(dir.fd())?;
        let (mode, owner) = (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid));
        self.described = Some(Attributes { mode, owner });
        Ok(())
    }

    /// Those of its children that a layer has.
    fn children_in(&self, dir: &RootDir) -> Result<Vec<Vec<u8>>> {
        if self.children.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in Dir::from_fd(dir.fd().try_clone_to_owned()?)?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if self.children.contains(&name) {
                found.push(name);
            }
        }
        Ok(found)
    }
}

/// Makes the layer in an empty directory.
pub(crate) fn make(root: &RootDir, directories: &[Directory]) -> Result<Facts> {
    for directory in directories {
        let Attributes { mode, owner: (uid, gid) } = directory.attributes;
        let mode = Mode::from_bits_truncate(mode);
        if directory.path.is_root() {
            nix::unistd::fchown(root.fd(), Some(uid.into()), Some(gid.into()))?;
            nix::sys::stat::fchmod(root.fd(), mode)?;
            continue;
        }
        let place = root.place(&directory.path).context(&directory.path)?;
        place.mkdir(DIR_MODE).context(&directory.path)?;
        place.set_owner(uid, gid).context(&directory.path)?;
        place.set_mode(mode).context(&directory.path)?;
    }
    let inodes = directories.len() as u64;
    Ok(Facts { bytes: inodes * 4096, inodes, ..Facts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_sys::root::Rule;

    #[test]
    fn implied_directories_of_all_layers_and_those_on_the_way_to_them_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let root = || RootDir::open(dir.path(), Rule::Beneath).unwrap();
        let deep = "d/".repeat(2000);
        let implying = |implied: Vec<String>| Facts { implied, ..Facts::default() };
        let long = format!("{}/", "d".repeat(255)).repeat(15);
        let many = implying((0..5000).map(|n| format!("{long}{n}")).collect());
        let mut layers = OpenLayers::default();
        (0..3).for_each(|_| layers.add(root(), &many).unwrap());
        let refused = layers.add(root(), &many).unwrap_err().to_string();
        assert_eq!(refused, "its layers have too many directories without an entry");

        let apart = implying((0..40).map(|n| format!("{n}/{deep}")).collect());
        let mut layers = OpenLayers::default();
        (0..2).for_each(|_| layers.add(root(), &apart).unwrap());
        assert_eq!(layers.plan().unwrap_err().to_string(), refused);
    }
}
