//! Names of layers and owners on disk.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// The directory name of a layer: the hex of its diffID, short because overlayfs paths are
/// counted; other hashes and seams carry a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LayerKey(String);

impl LayerKey {
    pub(crate) fn of(diff_id: &Digest) -> LayerKey {
        LayerKey(match diff_id.algorithm() {
            Algorithm::Sha256 => diff_id.hex().to_owned(),
            Algorithm::Sha512 => format!("sha512-{}", diff_id.hex()),
        })
    }

    /// A directory that gives described owners and modes to what upper layers only imply.
    pub(crate) fn seam(of: &Digest) -> LayerKey {
        LayerKey(format!("seam-{}", of.hex()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LayerKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<LayerKey> {
        let hex = text.strip_prefix("sha512-").or(text.strip_prefix("seam-")).unwrap_or(text);
        let good = matches!(hex.len(), 64 | 128) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if good { Ok(LayerKey(text.to_owned())) } else { Err(Error::invalid("not a layer's name")) }
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who holds an image and a writable layer: a name that is also a directory's, for example a
/// container id. Letters, digits, `_`, `.` and `-`, at most 128, no leading dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(String);

impl Owner {
    /// Checks the name.
    pub fn new(name: impl Into<String>) -> Result<Owner> {
        let name = name.into();
        let good = (1..=128).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if good {
            return Ok(Owner(name));
        }
        Err(Error::invalid(format_args!("owner {name:?}: not 1 to 128 of a-z A-Z 0-9 _ . -")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
