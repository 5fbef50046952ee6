//! Files that change together: `..data` is a symlink that is swapped, so that a reader sees the
//! old set or the new one and never a mixture.
//!
//! ```text
//! ..7f3a…/a/key          the files of this version, in a folder named by their hash
//! ..data -> ..7f3a…
//! a -> ..data/a          what containers see
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::files;
use crate::error::{Context, Result};

/// One file of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its mode, 0 to 0777.
    pub mode: u32,
}

/// Files by relative path; paths were checked when the manifest was read.
pub type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Brings the folder `dir` to `payload`; what is there already is left alone.
pub fn write(dir: &Path, payload: &Payload, group: Option<i64>) -> Result<()> {
    let version = version(payload, group);
    let data = dir.join(DATA);
    if fs::read_link(&data).is_ok_and(|target| target == Path::new(&version)) {
        return Ok(());
    }
    let fresh = dir.join(&version);
    // A torn set from a crash: nothing points to it yet.
    files::remove_tree(&fresh)?;
    files::make_dirs(&fresh, 0o755)?;
    for (path, file) in payload {
        place(&fresh, path, file, group)?;
    }
    give(&fresh, group, 0o2550)?;
    swap(dir, &version)?;
    link_names(dir, payload)?;
    sweep(dir, &version)
}

fn version(payload: &Payload, group: Option<i64>) -> String {
    let mut hash = Sha256::new();
    hash.update(group.unwrap_or(-1).to_le_bytes());
    for (path, file) in payload {
        for part in [path.as_bytes(), &file.content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(file.mode.to_le_bytes());
    }
    let hex: String = hash.finalize().iter().take(10).map(|b| format!("{b:02x}")).collect();
    format!("..{hex}")
}

fn place(root: &Path, path: &str, file: &File, group: Option<i64>) -> Result<()> {
    let target = root.join(path);
    let mut parent = root.to_owned();
    if let Some(folders) = Path::new(path).parent() {
        for part in folders.components() {
            parent.push(part);
            if !parent.is_dir() {
                files::make_dirs(&parent, 0o755)?;
                give(&parent, group, 0o2550)?;
            }
        }
    }
    files::overwrite(&target, &file.content, file.mode)?;
    give(&target, group, 0o440)
}

/// The fsGroup's right to read, as the kubelet adds it to read-only volumes.
fn give(path: &Path, group: Option<i64>, more: u32) -> Result<()> {
    let Some(gid) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    std::os::unix::fs::lchown(path, None, Some(gid))
        .context(|| format!("chgrp {gid} {}", path.display()))?;
    let found = fs::metadata(path).context(|| format!("stat {}", path.display()))?;
    files::set_mode(path, found.permissions().mode() & 0o7777 | more)
}

fn swap(dir: &Path, version: &str) -> Result<()> {
    let next = dir.join("..data_tmp");
    let _ = fs::remove_file(&next);
    symlink(version, &next).context(|| format!("symlink {}", next.display()))?;
    fs::rename(&next, dir.join(DATA)).context(|| format!("rename {}", next.display()))
}

fn first_part(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn link_names(dir: &Path, payload: &Payload) -> Result<()> {
    let names: BTreeSet<&str> = payload.keys().map(|path| first_part(path)).collect();
    for name in &names {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(e).context(|| format!("symlink {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes old versions, and names that the new one has no more.
fn sweep(dir: &Path, version: &str) -> Result<()> {
    let entries = fs::read_dir(dir).context(|| format!("list {}", dir.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == DATA || name == version {
            continue;
        }
        if name.starts_with("..") {
            files::remove_tree(&entry.path())?;
        } else if !dir.join(DATA).join(&*name).exists() {
            fs::remove_file(entry.path()).context(|| format!("remove {name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str, mode: u32) -> File {
        File { content: content.as_bytes().to_vec(), mode }
    }

    #[test]
    fn a_new_payload_replaces_the_old_one_at_once_and_leaves_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut payload =
            Payload::from([("a".into(), file("1", 0o644)), ("d/b".into(), file("2", 0o400))]);
        write(dir.path(), &payload, None).unwrap();
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(at("d/b")).unwrap(), "2");
        assert_eq!(fs::metadata(at("d/b")).unwrap().permissions().mode() & 0o777, 0o400);
        let before = fs::read_link(at("..data")).unwrap();
        write(dir.path(), &payload, None).unwrap();
        assert_eq!(fs::read_link(at("..data")).unwrap(), before);

        payload.remove("d/b");
        payload.insert("a".into(), file("3", 0o644));
        write(dir.path(), &payload, None).unwrap();
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "3");
        assert!(!at("d").exists() && fs::symlink_metadata(at("d")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
