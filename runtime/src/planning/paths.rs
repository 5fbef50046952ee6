//! Paths of the configuration without `.`, `..` and doubled slashes.

use super::invalid;
use crate::Result;
use std::path::{Component, Path};

/// An absolute path inside the container without `.`, `..` and doubled slashes. A relative one
/// starts at the root, as runc has it. Symbolic links are the executor's: it resolves in the root.
pub fn inside(path: &Path, field: &str) -> Result<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(text(Path::new(name), field)?),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A path as text: no NUL, valid UTF-8.
pub fn text<'a>(path: &'a Path, field: &str) -> Result<&'a str> {
    match path.to_str() {
        Some(text) if !text.contains('\0') => Ok(text),
        _ => Err(invalid(format!("{field}: {path:?} is no usable path"))),
    }
}
