//! Where state is kept, and the programs beside the daemon's.

use super::Row;
use crate::config::Config;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Less is soon full of images.
const ROOM: u64 = 10 << 30;

pub(super) fn rows(config: &Config) -> Vec<Row> {
    vec![state(&config.root), run(&config.run), shim(config)]
}

/// The nearest folder that is there: it may be made later.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

fn state(root: &Path) -> Row {
    let folder = existing(root);
    let (Ok(system), Ok(room)) = (statfs(folder), statvfs(folder)) else {
        return Row::new("disk", "root", root.display().to_string())
            .missing("it cannot be looked at");
    };
    let (free, inodes) = (room.blocks_available() * room.fragment_size(), room.files_available());
    let found = format!("{}: {} GiB and {inodes} inodes free", root.display(), free >> 30);
    let row = Row::new("disk", "root", found);
    if system.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        return row.missing("it is on an overlay, which cannot hold the layers of containers");
    }
    if system.filesystem_type() == TMPFS_MAGIC {
        return row.note("it is in memory: images and pods are gone after a reboot");
    }
    row.note_unless(free >= ROOM, format!("less than {} GiB are soon full of images", ROOM >> 30))
}

fn run(folder: &Path) -> Row {
    let row = Row::new("disk", "run", folder.display().to_string());
    let is_memory = statfs(existing(folder)).is_ok_and(|s| s.filesystem_type() == TMPFS_MAGIC);
    row.note_unless(
        is_memory,
        "it is not in memory: what a boot leaves there is told apart by its id",
    )
}

fn shim(config: &Config) -> Row {
    let path = config.shim.clone().unwrap_or_else(|| rrun_engine::Config::of_host().shim);
    let row = Row::new("program", "rrun-shim", path.display().to_string());
    row.missing_unless(is_program(&path), "the daemon does not start without it")
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
