//! What is on record of a layer, and what bounds its unpacking.

use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a layer is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A directory with its files, as overlayfs takes it.
    #[default]
    Directory,
    /// A directory with its archive and an EROFS index of that, see [`super::erofs`].
    Erofs,
}

impl Format {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Format::Directory => "directory",
            Format::Erofs => "erofs",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Format> {
        [Format::Directory, Format::Erofs]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| Error::invalid(format_args!("a layer of the format {text:?}")))
    }
}

/// What is known of an unpacked layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Bytes on disk, in blocks of 4 KiB.
    pub bytes: u64,
    /// Files, directories and the like; hard links once.
    pub inodes: u64,
    /// Directories that no entry describes, for which the layers below may have the owner and
    /// mode; the root is the empty path.
    pub implied: Vec<String>,
    /// The layer hides everything below it.
    pub is_opaque: bool,
    /// Bytes on disk of its split, likewise; 0: it has none.
    pub split: u64,
    /// What it is on the disk; a record from before there was a choice says nothing.
    #[serde(default)]
    pub format: Format,
}

pub(super) const DIR_MODE: Mode = Mode::from_bits_truncate(0o755);
/// What is held in memory of a layer's directories until its end: those that entries describe, and
/// those that are implied, which go on record. A few MiB of archive may name paths of gigabytes.
pub(super) const MOST_DESCRIBED: usize = 64 << 20;
pub(super) const MOST_IMPLIED: usize = 32 << 20;
/// Of one directory beside its path and attributes.
pub(super) const HELD: usize = 128;
