//! Files, directories and sockets below the watched roots.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The names in one directory; none when it is not there.
pub fn names(folder: &Path) -> Result<BTreeSet<String>> {
    Ok(list(folder)?.into_iter().map(|(path, _)| path.display().to_string()).collect())
}

/// Everything below the roots, with its type.
pub fn below(roots: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = roots.to_vec();
    while let Some(folder) = folders.pop() {
        for (path, kind) in list(&folder)? {
            found.insert(format!("{} {}", word(kind), path.display()));
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, FileType)>> {
    let context = || format!("{}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(context)?;
        found.push((entry.path(), entry.file_type().with_context(context)?));
    }
    Ok(found)
}

fn word(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "directory",
        _ if kind.is_symlink() => "link",
        _ if kind.is_socket() => "socket",
        _ if kind.is_fifo() => "fifo",
        _ if kind.is_file() => "file",
        _ => "device",
    }
}
