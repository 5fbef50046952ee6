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
            if kind.is_char_device() && is_spare_whiteout(&path) {
                continue;
            }
            found.insert(format!("{} {}", word(kind), path.display()));
            // What lies in the trash of images is removed behind, by no step.
            if kind.is_dir() && !path.ends_with("images/trash") {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

/// The whiteout that overlayfs keeps in its work folder for the next removal: `work/work/#<inode>`.
/// It is made with the first one and goes with the folder.
fn is_spare_whiteout(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent().is_some_and(|folder| folder.ends_with("work/work")) && name.starts_with('#')
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_overlays_own_whiteout_is_passed_over() {
        assert!(is_spare_whiteout(Path::new("/over/var/lib/work/work/#436d")));
        assert!(!is_spare_whiteout(Path::new("/over/var/lib/upper/#436d")));
        assert!(!is_spare_whiteout(Path::new("/over/var/lib/work/work/index")));
    }
}
