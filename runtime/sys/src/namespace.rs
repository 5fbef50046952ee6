//! What kind of namespace a descriptor is: ioctl_ns(2).

use crate::call::syscall;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use std::os::fd::{AsFd, BorrowedFd};

/// `NS_GET_NSTYPE`, which libc does not have for every target.
const NS_GET_NSTYPE: u32 = 0xb703;

/// The flag that makes such a namespace. The link of a descriptor tells it only where the namespace
/// was not opened by a path that it is bound to.
///
/// # Errors
/// `ENOTTY` for what is no namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<CloneFlags, Errno> {
    // A device may know that number as something else.
    if fstatfs(namespace.as_fd())?.filesystem_type() != NSFS_MAGIC {
        return Err(Errno::ENOTTY);
    }
    // SAFETY: the command takes no argument, and returns an integer.
    let kind = unsafe { syscall!(libc::SYS_ioctl, namespace, NS_GET_NSTYPE, 0)? };
    let kind = i32::try_from(kind).ok().and_then(CloneFlags::from_bits);
    kind.ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_namespace_tells_its_kind_and_nothing_else_is_one() {
        let open = |path: &str| File::open(path).unwrap();
        assert_eq!(kind(open("/proc/self/ns/net").as_fd()), Ok(CloneFlags::CLONE_NEWNET));
        assert_eq!(kind(open("/proc/self/ns/uts").as_fd()), Ok(CloneFlags::CLONE_NEWUTS));
        assert_eq!(kind(open("/dev/null").as_fd()), Err(Errno::ENOTTY));
    }
}
