//! Names of layers and holders on disk.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// The directory name of a layer: the hex of its diffID, short because overlayfs paths are
/// counted; other hashes and layers of directories carry a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LayerKey(String);

impl LayerKey {
    /// The layer with this uncompressed content.
    pub(crate) fn of(diff_id: &Digest) -> LayerKey {
        LayerKey(match diff_id.algorithm() {
            Algorithm::Sha256 => diff_id.hex().to_owned(),
            Algorithm::Sha512 => format!("sha512-{}", diff_id.hex()),
        })
    }

    /// The layers of an image, bottom first, each once: two equal layers are one directory, and
    /// overlayfs refuses it twice. The upper one counts: it hides everything that the lower one has.
    pub(crate) fn of_image(diff_ids: impl DoubleEndedIterator<Item = Digest>) -> Vec<LayerKey> {
        let mut keys: Vec<LayerKey> = Vec::new();
        for key in diff_ids.rev().map(|diff_id| LayerKey::of(&diff_id)) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.reverse();
        keys
    }

    /// The layer of directories on top of the layers `of`: see [`crate::layer::directories`].
    pub(crate) fn directories(of: &[LayerKey]) -> LayerKey {
        let names: Vec<&str> = of.iter().map(LayerKey::as_str).collect();
        LayerKey(format!("dirs-{}", Digest::of(names.join("\n").as_bytes()).hex()))
    }

    /// The content that it is of; none for a layer of directories.
    pub(crate) fn diff_id(&self) -> Option<Digest> {
        let text = match self.0.split_once('-') {
            None => format!("sha256:{}", self.0),
            Some((algorithm, hex)) => format!("{algorithm}:{hex}"),
        };
        text.parse().ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LayerKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<LayerKey> {
        let hex = text.strip_prefix("sha512-").or(text.strip_prefix("dirs-")).unwrap_or(text);
        let good = matches!(hex.len(), 64 | 128) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if good { Ok(LayerKey(text.to_owned())) } else { Err(Error::invalid("not a layer's name")) }
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of holder a [`Holder`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HolderKind {
    /// A container, by its id.
    Container,
    /// A volume that is an image.
    Volume,
    /// A pull that runs; its leases end with it.
    Pull,
    /// Somebody who wants an image to stay: it is shown as pinned.
    Person,
}

impl HolderKind {
    const ALL: [HolderKind; 4] =
        [HolderKind::Container, HolderKind::Volume, HolderKind::Pull, HolderKind::Person];

    /// The word for it, as it is on record.
    pub fn as_str(self) -> &'static str {
        match self {
            HolderKind::Container => "container",
            HolderKind::Volume => "volume",
            HolderKind::Pull => "pull",
            HolderKind::Person => "person",
        }
    }
}

/// Who holds images and layers, as many as he likes, and may have one writable layer. What nobody
/// holds and no name leads to is collected. Written `container/<name>`.
///
/// The name is part of a directory's: letters, digits, `_`, `.` and `-`, at most 128.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    kind: HolderKind,
    name: String,
}

impl Holder {
    /// Checks the name.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(kind: HolderKind, name: impl Into<String>) -> Result<Holder> {
        let name = name.into();
        let good = (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if good {
            return Ok(Holder { kind, name });
        }
        Err(Error::invalid(format_args!("holder {name:?}: not 1 to 128 of a-z A-Z 0-9 _ . -")))
    }

    /// A container, by its id.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn container(id: impl Into<String>) -> Result<Holder> {
        Holder::new(HolderKind::Container, id)
    }

    /// The kind.
    pub fn kind(&self) -> HolderKind {
        self.kind
    }

    /// The name, which only its kind makes unique.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A single name for files of this holder.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}", self.kind.as_str(), self.name)
    }

    /// The holder of a file that is called so.
    pub(crate) fn of_file_name(text: &str) -> Result<Holder> {
        Holder::split(text, '-')
    }

    fn split(text: &str, by: char) -> Result<Holder> {
        let (kind, name) = text.split_once(by).unwrap_or_default();
        let kind = HolderKind::ALL.into_iter().find(|k| k.as_str() == kind);
        let kind = kind.ok_or_else(|| Error::invalid(format_args!("{text:?} is no holder")))?;
        Holder::new(kind, name)
    }
}

impl FromStr for Holder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Holder> {
        Holder::split(text, '/')
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_a_kind_and_a_name_on_record_and_on_disk() {
        for kind in HolderKind::ALL {
            let holder = Holder::new(kind, "a-b.c_1").unwrap();
            assert_eq!(holder.to_string().parse::<Holder>().unwrap(), holder);
            assert_eq!(Holder::of_file_name(&holder.file_name()).unwrap(), holder);
        }
        for bad in ["", "a", "container", "container/", "container/a/b", "nobody/a"] {
            assert!(bad.parse::<Holder>().is_err(), "{bad}");
        }
    }
}
