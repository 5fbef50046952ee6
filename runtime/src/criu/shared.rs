//! File systems that a container shares with others, and whose files are in no image of it: the names of
//! what was there are noted beside the image, and a restore finds them there again or is refused.

use crate::{Context, Error, Kind, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rrun_sys::in_root;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Mount targets, and the names of what stands right there.
type Names = BTreeMap<String, Vec<String>>;

const FILE: &str = "shared.json";

/// So many names of one are noted.
const MOST: usize = 4096;

/// Notes what a process, which stands still, has at these targets.
pub(super) fn note(images: &Path, pid: i32, targets: &[PathBuf]) -> Result<()> {
    let mut all = Names::new();
    for target in targets {
        let names = names(pid, target).context(|| format!("list {}", target.display()))?;
        if !names.is_empty() {
            all.insert(target.display().to_string(), names);
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let path = images.join(FILE);
    let json =
        serde_json::to_vec(&all).map_err(|error| Error::new(Kind::Invalid, error.to_string()))?;
    rrun_sys::record::create(&path, 0o600)
        .and_then(|mut file| file.write_all(&json))
        .context(|| format!("write {}", path.display()))
}

fn names(pid: i32, target: &Path) -> Result<Vec<String>> {
    let root = format!("/proc/{pid}/root");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(root.as_str(), flags, Mode::empty()).context(|| root)?;
    let target = CString::new(target.as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::Invalid, "a path has a zero byte"))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = in_root::open(root.as_fd(), &target, flags).context(|| "open")?;
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    let listed: std::io::Result<Vec<String>> =
        entries.and_then(|entries| entries.take(MOST).map(name).collect());
    let mut names = listed.context(|| "read")?;
    names.sort_unstable();
    Ok(names)
}

/// Looks for what was noted where the same targets are now.
///
/// # Errors
/// `Invalid`, with what is missing.
pub(super) fn check(images: &Path, attached: &[(String, PathBuf)]) -> Result<()> {
    let path = images.join(FILE);
    let what = || format!("read {}", path.display());
    let json = match rrun_sys::record::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.context(what)?,
    };
    let all: Names = serde_json::from_slice(&json)
        .map_err(|error| Error::new(Kind::Invalid, error.to_string()))
        .context(what)?;
    for (target, now) in attached {
        let mut names = all.get(target).into_iter().flatten();
        let is_there = |name: &&String| {
            !name.contains('/') && std::fs::symlink_metadata(now.join(name.as_str())).is_ok()
        };
        if let Some(name) = names.find(|name| !is_there(name)) {
            let why = "its container had it there, it is in no image, and it is not here";
            let what = format!("{target}/{}", name.escape_debug());
            return Err(Error::new(Kind::Invalid, why).context(what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_there_again_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let (images, now) = (folder.path().join("images"), folder.path().join("now"));
        for folder in [&images, &now] {
            std::fs::create_dir(folder).unwrap();
        }
        let pid = i32::try_from(std::process::id()).unwrap();
        let attached = [(now.display().to_string(), now.clone())];
        note(&images, pid, std::slice::from_ref(&now)).unwrap();
        assert!(!images.join(FILE).exists());
        std::fs::write(now.join("a"), "").unwrap();
        note(&images, pid, std::slice::from_ref(&now)).unwrap();
        check(&images, &attached).unwrap();
        check(&images, &[("/other".to_owned(), folder.path().join("none"))]).unwrap();
        std::fs::remove_file(now.join("a")).unwrap();
        let refused = check(&images, &attached).unwrap_err().to_string();
        assert!(refused.contains("/now/a: its container had it there"), "{refused}");
        // Nobody is told what is elsewhere.
        let json = format!(r#"{{"{}": ["../images"]}}"#, now.display());
        std::fs::write(images.join(FILE), json).unwrap();
        assert!(check(&images, &attached).is_err());
        std::fs::write(images.join(FILE), vec![b'['; 1 << 20]).unwrap();
        assert!(check(&images, &attached).is_err());
    }
}
