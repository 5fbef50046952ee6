//! `hostPath`: a path of the node, checked (or made) as its type says.

use std::fs::{self, FileType, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Context, Error, Kind, Result};
use crate::model::HostPathType;

/// Checks the path, or makes it where the type asks for that. One without a type is not looked at,
/// as by the kubelet: the runtime makes a folder where there is nothing.
pub fn prepare(path: &Path, kind: HostPathType) -> Result<()> {
    let (fits, want): (fn(&FileType) -> bool, &str) = match kind {
        HostPathType::Unset => return Ok(()),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => {
            (FileType::is_dir, "directory")
        }
        HostPathType::File | HostPathType::FileOrCreate => (FileType::is_file, "file"),
        HostPathType::Socket => (FileType::is_socket, "socket"),
        HostPathType::CharDevice => (FileType::is_char_device, "character device"),
        HostPathType::BlockDevice => (FileType::is_block_device, "block device"),
    };
    match fs::metadata(path) {
        Ok(found) if fits(&found.file_type()) => Ok(()),
        Ok(_) => Err(wrong(path, want)),
        Err(e) if e.kind() == ErrorKind::NotFound => match kind {
            HostPathType::DirectoryOrCreate => make_directory(path),
            HostPathType::FileOrCreate => make_file(path),
            _ => Err(wrong(path, want)),
        },
        Err(e) => Err(e).context(|| format!("stat {}", path.display())),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.context(|| format!("mkdir {}", path.display()))
}

/// Its folder is not made, as with the kubelet.
fn make_file(path: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
    made.map(drop).context(|| format!("create {}", path.display()))
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
