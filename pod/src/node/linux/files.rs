//! Small files and folders, with modes that the umask has no say in.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rrun_sys::in_root::read_regular;

use crate::error::{Context, Error, Kind, Result};

/// Makes a folder and its parents; sets `mode` on the folder itself only.
pub fn make_dirs(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("mkdir {}", path.display()))?;
    set_mode(path, mode)
}

/// Sets a mode, following no umask.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let wanted = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, wanted).context(|| format!("chmod {}", path.display()))
}

/// Writes a file in place, never through a symlink or to what is no regular file.
pub fn overwrite(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let mut file = rrun_sys::record::create(path, mode)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    };
    write().context(|| format!("write {}", path.display()))
}

fn open(path: &Path) -> Result<Option<File>> {
    // O_NONBLOCK: a container can make its message file a FIFO only by a bind of its own, but a
    // reader that hangs would hang the whole pod.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(|| format!("open {}", path.display())),
    }
}

/// The first `limit` bytes; empty if there is no file.
pub fn read_head(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(file) = open(path)? {
        let read = file.take(limit as u64).read_to_end(&mut bytes);
        read.context(|| format!("read {}", path.display()))?;
    }
    Ok(bytes)
}

/// The last `limit` bytes; empty if there is no file.
pub fn read_tail(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let Some(mut file) = open(path)? else { return Ok(Vec::new()) };
    let mut read = || {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(limit as u64)))?;
        let mut bytes = Vec::new();
        (&mut file).take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let done: std::io::Result<Vec<u8>> = read();
    done.context(|| format!("read {}", path.display()))
}

/// Reads a plain file below `root`, which the pod fills: its links are followed below `root` only.
pub fn read_in(root: &Path, path: &str, limit: u64) -> Result<Vec<u8>> {
    let folder = File::open(root).context(|| format!("open {}", root.display()))?;
    let name = CString::new(path).map_err(|_| Error::new(Kind::Invalid, "a NUL in a path"))?;
    read_regular(folder.as_fd(), &name, limit).context(|| format!("read {path}"))
}

/// Removes a tree; nothing there is fine. The caller knows that nothing is mounted below.
pub fn remove_tree(path: &Path) -> Result<()> {
    match rrun_sys::tree::remove(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// One more than the highest `<n>.log…` in a folder, 0 if there is none: after a reboot the
/// runtime may have forgotten its containers, and their logs must not be written over.
pub fn next_run(dir: &Path) -> Result<u32> {
    let entries = fs::read_dir(dir).context(|| format!("list {}", dir.display()))?;
    let run = |name: &str| {
        let (number, rest) = name.split_once(".log")?;
        let known = rest.is_empty() || rest.starts_with('.');
        number.parse::<u32>().ok().filter(|_| known)
    };
    let highest = entries.filter_map(|e| e.ok()?.file_name().to_str().and_then(run)).max();
    Ok(highest.map_or(0, |n| n.saturating_add(1)))
}

/// The names of the folders in a folder, sorted; none if it is not there.
pub fn folders(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("list {}", dir.display()))?,
    };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let folders = entries.flatten().filter(is_folder);
    let mut names: Vec<String> =
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Removes `<n>.log` and `<n>.log.<rotation>`.
pub fn remove_log(path: &Path) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(());
    };
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found == name || found.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')) {
            fs::remove_file(entry.path())
                .context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_is_one_above_the_highest_log() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(next_run(dir.path()).unwrap(), 0);
        for name in ["0.log", "2.log.20260101-000000.gz", "x.log", "9.logs"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(next_run(dir.path()).unwrap(), 3);
        remove_log(&dir.path().join("2.log")).unwrap();
        assert_eq!(next_run(dir.path()).unwrap(), 1);
    }

    #[test]
    fn head_and_tail_are_bounded_and_a_missing_file_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(read_head(&path, 5).unwrap().is_empty());
        overwrite(&path, b"0123456789", 0o600).unwrap();
        assert_eq!(read_head(&path, 3).unwrap(), b"012");
        assert_eq!(read_tail(&path, 3).unwrap(), b"789");
    }

    #[test]
    fn a_symlink_is_neither_read_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(read_head(&link, 5).is_err());
        assert!(overwrite(&link, b"x", 0o600).is_err());
    }
}
