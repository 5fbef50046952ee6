//! A folder of a detached mount as a mount of its own.

use super::{MountAttr, attach, clone_tree, open_root, set_attributes};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sched::{CloneFlags, unshare};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A detached mount of `folder` alone, which was looked up inside the detached mount `mount`.
///
/// Kernels before 6.15 copy only what is in the caller's mount namespace: there the mount is
/// attached in one that lives as long as the call, and is of no other use afterwards.
///
/// # Errors
/// What the kernel says.
pub fn folder(mount: OwnedFd, folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    match clone_tree(folder, c"", false) {
        Err(Errno::EINVAL) => by_namespace(&mount, folder),
        other => other,
    }
}

fn by_namespace(mount: &OwnedFd, folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("folder".into());
        let thread = thread.spawn_scoped(scope, || attached_apart(mount, folder));
        let thread = thread.map_err(|_| Errno::EAGAIN)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Attaches the mount over the root of a mount namespace of the calling thread's own: what it is
/// looked at through are descriptors.
fn attached_apart(mount: &OwnedFd, folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
    set_attributes(AT_FDCWD, c"/", &private, true)?;
    attach(mount.as_fd(), open_root()?.as_fd())?;
    clone_tree(folder, c"", false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::FsContext;
    use nix::fcntl::OFlag;
    use nix::sys::stat::{Mode, mkdirat};
    use std::os::fd::AsRawFd;

    fn is_readable(mount: &OwnedFd, name: &str) -> bool {
        std::fs::read(format!("/proc/self/fd/{}/{name}", mount.as_raw_fd())).is_ok()
    }

    #[test]
    fn a_folder_of_a_detached_mount_is_mounted_alone_by_every_kernel() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        for way in [folder, |mount: OwnedFd, at: BorrowedFd<'_>| by_namespace(&mount, at)] {
            let whole = FsContext::open(c"tmpfs").unwrap().mount(0).unwrap();
            mkdirat(&whole, c"in", Mode::S_IRWXU).unwrap();
            let path = format!("/proc/self/fd/{}/in/file", whole.as_raw_fd());
            std::fs::write(path, "text").unwrap();
            let inside = crate::in_root::open(whole.as_fd(), c"in", OFlag::O_PATH).unwrap();
            let alone = way(whole, inside.as_fd()).unwrap();
            assert!(is_readable(&alone, "file"));
            // Nothing leads out of it.
            assert!(!is_readable(&alone, "../in/file"));
        }
    }
}
