//! What a text means that names an image.

use rusqlite::Connection;

use super::records;
use crate::digest::ImageId;
use crate::error::{Error, Result};
use crate::reference::Reference;

/// Where images are looked up.
pub(super) trait Lookup {
    /// The one that has this name, tag or digest.
    fn by_name(&self, name: &str) -> Result<Option<ImageId>>;

    /// One that was pulled by this digest from anywhere.
    fn by_digest(&self, digest: &str) -> Result<Option<ImageId>>;

    /// Those whose id begins so, at most two.
    fn by_prefix(&self, start: &str) -> Result<Vec<ImageId>>;
}

impl Lookup for Connection {
    fn by_name(&self, name: &str) -> Result<Option<ImageId>> {
        records::by_name(self, name)
    }

    fn by_digest(&self, digest: &str) -> Result<Option<ImageId>> {
        records::by_digest(self, digest)
    }

    fn by_prefix(&self, start: &str) -> Result<Vec<ImageId>> {
        records::by_prefix(self, start)
    }
}

/// Shortest start of an id that is looked up.
pub(super) const SHORTEST_PREFIX: usize = 4;

/// The image that `text` names, on record now.
pub(super) fn resolve(tx: &Connection, text: &str) -> Result<Option<ImageId>> {
    resolve_in(tx, text)
}

/// The same, wherever images are looked up.
pub(super) fn resolve_in(known: &impl Lookup, text: &str) -> Result<Option<ImageId>> {
    if let Ok(id) = text.parse::<ImageId>() {
        let found = known.by_prefix(&id.to_string())?.into_iter().next();
        return if found.is_some() { Ok(found) } else { known.by_digest(text) };
    }
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = bare.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    // A name may consist of hex digits too; it wins over the start of an id.
    if bare.len() < 64 && !text.starts_with("sha256:") {
        let by_name = match text.parse::<Reference>() {
            Ok(reference) => {
                let name = reference.tagged().unwrap_or_else(|| by_digest(&reference));
                known.by_name(&name)?
            }
            // Whatever cannot name an image names none.
            Err(_) => None,
        };
        if by_name.is_some() {
            return Ok(by_name);
        }
    } else if !is_hex {
        return match text.parse::<Reference>() {
            Ok(reference) => {
                let name = reference.tagged().unwrap_or_else(|| by_digest(&reference));
                known.by_name(&name)
            }
            Err(_) => Ok(None),
        };
    }
    if !is_hex || !(SHORTEST_PREFIX..=64).contains(&bare.len()) {
        return Ok(None);
    }
    let found = known.by_prefix(&format!("sha256:{bare}"))?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(Error::invalid(format_args!("{text:?} is the start of more than one image id"))),
    }
}

pub(super) fn by_digest(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    }
}
