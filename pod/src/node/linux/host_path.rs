//! `hostPath`: a path of the node, checked (or made) as its type says.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Context, Error, Kind, Result};
use crate::model::HostPathType;

/// Checks the path, or makes it where the type asks for that.
pub fn prepare(path: &Path, kind: HostPathType) -> Result<()> {
    let found = match fs::metadata(path) {
        Ok(found) => Some(found.file_type()),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e).context(|| format!("stat {}", path.display())),
    };
    let Some(found) = found else { return make(path, kind) };
    let (ok, want) = match kind {
        HostPathType::Unset => (true, ""),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => (found.is_dir(), "directory"),
        HostPathType::File | HostPathType::FileOrCreate => (found.is_file(), "file"),
        HostPathType::Socket => (found.is_socket(), "socket"),
        HostPathType::CharDevice => (found.is_char_device(), "character device"),
        HostPathType::BlockDevice => (found.is_block_device(), "block device"),
    };
    if ok { Ok(()) } else { Err(wrong(path, want)) }
}

fn make(path: &Path, kind: HostPathType) -> Result<()> {
    match kind {
        // The runtime makes a folder there (see the CRI mount of a missing host path).
        HostPathType::Unset => Ok(()),
        HostPathType::DirectoryOrCreate => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .context(|| format!("mkdir {}", path.display())),
        // Its folder is not made, as with the kubelet.
        HostPathType::FileOrCreate => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map(drop)
            .context(|| format!("create {}", path.display())),
        HostPathType::Directory => Err(wrong(path, "directory")),
        HostPathType::File => Err(wrong(path, "file")),
        HostPathType::Socket => Err(wrong(path, "socket")),
        HostPathType::CharDevice => Err(wrong(path, "character device")),
        HostPathType::BlockDevice => Err(wrong(path, "block device")),
    }
}

fn wrong(path: &Path, want: &str) -> Error {
    let text = format!("hostPath type check failed: {} is not a {want}", path.display());
    Error::new(Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_checked_or_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        prepare(&at("d/e"), HostPathType::DirectoryOrCreate).unwrap();
        assert!(at("d/e").is_dir());
        prepare(&at("d/f"), HostPathType::FileOrCreate).unwrap();
        assert!(at("d/f").is_file());
        assert!(prepare(&at("no/f"), HostPathType::FileOrCreate).is_err());
        prepare(&at("absent"), HostPathType::Unset).unwrap();
        assert!(!at("absent").exists());
        let _socket = std::os::unix::net::UnixListener::bind(at("s")).unwrap();
        prepare(&at("s"), HostPathType::Socket).unwrap();
        prepare(Path::new("/dev/null"), HostPathType::CharDevice).unwrap();
        for (name, kind) in [
            ("d/f", HostPathType::Directory),
            ("d", HostPathType::File),
            ("d/f", HostPathType::DirectoryOrCreate),
            ("absent", HostPathType::Directory),
            ("d/f", HostPathType::BlockDevice),
        ] {
            assert_eq!(
                prepare(&at(name), kind).unwrap_err().kind(),
                Kind::Invalid,
                "{name} {kind:?}"
            );
        }
    }
}
