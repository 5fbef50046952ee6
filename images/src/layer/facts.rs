//! What is on record of a layer, and what bounds its unpacking.

use nix::sys::stat::Mode;
use rrun_sys::root::RelPath;
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
    /// mode, by [`path_text`]; the root is the empty path.
    pub implied: Vec<String>,
    /// The layer hides everything below it.
    pub is_opaque: bool,
    /// Bytes on disk of its split, likewise; 0: it has none.
    pub split: u64,
    /// What it is on the disk; a record from before there was a choice says nothing.
    #[serde(default)]
    pub format: Format,
}

/// Begins what is no text; no path has it.
const NO_TEXT: char = '\0';

/// A path as it is on record: text as it is, and of any other a character for each byte.
pub(super) fn path_text(path: &RelPath) -> String {
    match str::from_utf8(path.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let bytes = path.as_bytes().iter().copied().map(char::from);
            std::iter::once(NO_TEXT).chain(bytes).collect()
        }
    }
}

/// The path of such a text; none of what is no path.
pub(super) fn path_of_text(text: &str) -> Option<RelPath> {
    match text.strip_prefix(NO_TEXT) {
        None => RelPath::parse(text).ok(),
        Some(bytes) => {
            let bytes: Option<Vec<u8>> = bytes.chars().map(|c| u8::try_from(c).ok()).collect();
            RelPath::parse(bytes?).ok()
        }
    }
}

pub(super) const DIR_MODE: Mode = Mode::from_bits_truncate(0o755);
/// What is held in memory of a layer's directories until its end: those that entries describe, and
/// those that are implied, which go on record. A few MiB of archive may name paths of gigabytes.
pub(super) const MOST_DESCRIBED: usize = 64 << 20;
pub(super) const MOST_IMPLIED: usize = 32 << 20;
/// Of one directory beside its path and attributes.
pub(super) const HELD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_on_record_is_the_same_whatever_its_bytes_are() {
        for bytes in [&b""[..], b"a/b", b"caf\xc3\xa9", b"caf\xe9/x", b"\xff\xfe"] {
            let path = RelPath::parse(bytes).unwrap();
            assert_eq!(path_of_text(&path_text(&path)), Some(path));
        }
        assert_eq!(path_text(&RelPath::parse("caf\u{e9}").unwrap()), "caf\u{e9}");
        assert_eq!((path_of_text("\0\u{100}"), path_of_text("\0..")), (None, None));
    }
}
