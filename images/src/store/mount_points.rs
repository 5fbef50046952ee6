//! Where every container has something mounted, made once and beneath all layers of its image. In
//! a container itself overlayfs takes half a millisecond for each directory or file that is made,
//! and copies `/etc` up first.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Context, Result};

/// The folder of the store.
pub(super) const FOLDER: &str = "mountpoints";

/// A directory before what is in it.
const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes those that are missing. A container's image covers what it has of them, links too.
pub(super) fn make(folder: &Path) -> Result<()> {
    for name in DIRECTORIES {
        let path = folder.join(name);
        let made = DirBuilder::new().mode(0o755).create(&path);
        done(&path, made, 0o755).context(path.display())?;
    }
    for name in FILES {
        let path = folder.join(name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        done(&path, made.map(drop), 0o644).context(path.display())?;
    }
    Ok(())
}

/// As asked for, whatever the mask of whoever runs this; what is there keeps its mode.
fn done(path: &Path, made: io::Result<()>, mode: u32) -> io::Result<()> {
    match made {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// What is there that containers should not see: neither a mount point nor empty.
pub(super) fn strange(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut strange = BTreeSet::new();
    for dir in std::iter::once("").chain(DIRECTORIES) {
        let entries = match std::fs::read_dir(folder.join(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = Path::new(dir).join(entry.file_name()).to_string_lossy().into_owned();
            let found = entry.metadata()?;
            let known = match found.is_dir() {
                true => DIRECTORIES.contains(&&*name),
                false => found.is_file() && found.len() == 0 && FILES.contains(&&*name),
            };
            if !known {
                strange.insert(name);
            }
        }
    }
    Ok(strange)
}
