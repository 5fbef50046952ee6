//! One mount of an image for all processes that need it at a time.
//!
//! What is read over one mount is in memory once for all of its containers, and once more for those of
//! another mount of the same files. A daemon mounts a layer once, but each pod of `rrun` has a process
//! of its own. So whoever mounts one notes on its folder where others find it, and they copy that
//! mount. Nothing of this stays: a mount goes with the last process and the last container that
//! has it, and a note that leads nowhere is as none.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::statvfs::fstatvfs;
use rrun_sys::{mount, xattr};

use super::format::{MAGIC, UUID};

/// A process and its descriptor. Here too it is gone with the folder, and an image that is fetched
/// again has another folder.
const NOTE: &CStr = c"trusted.rrun.mounted";

/// Notes where others find a mount, as long as this descriptor is open.
pub(crate) fn note(folder: &Path, mount: &OwnedFd) {
    let text = format!("{} {}", std::process::id(), mount.as_raw_fd());
    // Where that cannot be, others mount it themselves.
    let _ = File::open(folder).and_then(|folder| xattr::set(folder, NOTE, text.as_bytes()));
}

/// A copy of the mount that another process, or store of this one, has of an image.
pub(super) fn find(folder: &Path, index: &File) -> Option<OwnedFd> {
    let text = xattr::get(File::open(folder).ok()?, NOTE).ok()??;
    let (process, descriptor) = std::str::from_utf8(&text).ok()?.split_once(' ')?;
    let (process, descriptor): (u32, u32) = (process.parse().ok()?, descriptor.parse().ok()?);
    let mut options = File::options();
    let options = options.read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits());
    let found = options.open(format!("/proc/{process}/fd/{descriptor}")).ok()?;
    // The process may be another one by now, and the descriptor of anything.
    if !is_of(found.as_fd(), index)? {
        return None;
    }
    // EINVAL: it is not mounted any more, or this kernel copies no detached mounts (before 6.15).
    mount::clone_tree(found.as_fd(), c"", false).ok()
}

/// Whether this is a mount of an image with this index, by the digest of its layer. Nobody else than
/// a process with all capabilities mounts such file systems.
fn is_of(found: BorrowedFd<'_>, index: &File) -> Option<bool> {
    if fstatfs(found).ok()?.filesystem_type() != FsType(MAGIC.into()) {
        return Some(false);
    }
    let mut uuid = [0; 16];
    index.read_exact_at(&mut uuid, UUID as u64).ok()?;
    let (low, high) = uuid.split_at(8);
    let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
    // As the kernel's uuid_to_fsid() makes it.
    Some(fstatvfs(found).ok()?.filesystem_id() == number(low)? ^ number(high)?)
}
