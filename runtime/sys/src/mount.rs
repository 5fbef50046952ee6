//! Mounts as file descriptors: open_tree(2), fsopen(2), fsmount(2), move_mount(2),
//! mount_setattr(2).
//!
//! A detached mount belongs to nobody's mount table until it is moved into one, and is gone with
//! its last descriptor.

use crate::call::{fresh, syscall};
use libc::c_char;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

mod folder;
mod overlay;

pub use folder::folder;
pub use overlay::{overlay, overlay_of_mounts};

/// Opens a copy of the mount at `path` as a detached mount, with those below it if `recursive`.
/// `directory` is where a relative path starts; an empty path means `directory` itself.
///
/// # Errors
/// What the kernel says; `EINVAL` for a mount that is not in the caller's mount namespace.
pub fn clone_tree(
    directory: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
) -> Result<OwnedFd, Errno> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    flags |= libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: a valid string and integers; returns a fresh descriptor.
    unsafe { Ok(fresh(syscall!(libc::SYS_open_tree, directory, path.as_ptr(), flags)?)) }
}

/// A file system that is being set up: fsopen(2).
#[derive(Debug)]
pub struct FsContext(OwnedFd);

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_SET_FD: u32 = 5;
const FSCONFIG_CMD_CREATE: u32 = 6;

impl FsContext {
    /// Begins a new instance of a file system type.
    ///
    /// # Errors
    /// `ENODEV` for an unknown type.
    pub fn open(fstype: &CStr) -> Result<FsContext, Errno> {
        // SAFETY: a valid string and an integer; returns a fresh descriptor.
        let fd = unsafe { syscall!(libc::SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC)? };
        // SAFETY: just returned by the kernel.
        Ok(FsContext(unsafe { fresh(fd) }))
    }

    /// Sets an option, or the `source`; one without a value is a flag.
    ///
    /// # Errors
    /// `EINVAL` for an unknown option or value.
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> Result<(), Errno> {
        match value {
            Some(value) => self.config(FSCONFIG_SET_STRING, Some(key), value.as_ptr(), 0),
            None => self.config(FSCONFIG_SET_FLAG, Some(key), std::ptr::null(), 0),
        }
    }

    /// Sets an option to a descriptor, such as a layer of an overlay (`lowerdir+`, kernel 6.13).
    ///
    /// # Errors
    /// `EINVAL` for an option that takes none.
    pub fn set_fd(&self, key: &CStr, value: BorrowedFd<'_>) -> Result<(), Errno> {
        self.config(FSCONFIG_SET_FD, Some(key), std::ptr::null(), value.as_raw_fd())
    }

    /// Makes the instance and a detached mount of it, with attributes `MOUNT_ATTR_*`.
    ///
    /// # Errors
    /// What mount(2) would say.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd, Errno> {
        self.config(FSCONFIG_CMD_CREATE, None, std::ptr::null(), 0)?;
        let flags = libc::FSMOUNT_CLOEXEC;
        // SAFETY: integers only; returns a fresh descriptor.
        unsafe { Ok(fresh(syscall!(libc::SYS_fsmount, self.0.as_fd(), flags, attributes)?)) }
    }

    /// What the kernel has to say about the last error, a line at a time, oldest first: read(2)
    /// from the context. `None` when there is no more.
    pub fn message(&self) -> Option<String> {
        let mut line = [0; 256];
        let length = self.read_message(&mut line)?;
        Some(String::from_utf8_lossy(line.get(..length)?).trim_end().to_owned())
    }

    /// As [`FsContext::message`], into a buffer: how long it is.
    pub(crate) fn read_message(&self, line: &mut [u8]) -> Option<usize> {
        nix::unistd::read(&self.0, line).ok()
    }

    fn config(
        &self,
        command: u32,
        key: Option<&CStr>,
        value: *const c_char,
        aux: i32,
    ) -> Result<(), Errno> {
        let key = key.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are valid strings or null, as the command demands.
        unsafe { syscall!(libc::SYS_fsconfig, self.0.as_fd(), command, key, value, aux)? };
        Ok(())
    }
}

/// Attaches a detached mount on top of what `target` (an `O_PATH` descriptor) names.
///
/// # Errors
/// `EINVAL` when the target is not in the caller's mount namespace, `ENOTDIR` for a directory on
/// a file or the reverse.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: valid strings and integers.
    unsafe { syscall!(libc::SYS_move_mount, mount, empty, target, empty, flags)? };
    Ok(())
}

/// Whether two descriptors are the same file of the same mount: what is attached there goes to the
/// same place. A bind of the same directory is another mount.
///
/// # Errors
/// What statx(2) says.
pub(crate) fn is_same_place(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (one, other) = (statx(one)?, statx(other)?);
    let place = |file: &libc::statx| {
        (file.stx_mnt_id, file.stx_dev_major, file.stx_dev_minor, file.stx_ino)
    };
    Ok(place(&one) == place(&other))
}

fn statx(file: BorrowedFd<'_>) -> Result<libc::statx, Errno> {
    let mut buffer = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let (path, mask) = (c"".as_ptr(), libc::STATX_INO | libc::STATX_MNT_ID);
    let (flags, to) = (libc::AT_EMPTY_PATH, buffer.as_mut_ptr());
    // SAFETY: a valid string and integers; the kernel writes one `struct statx` to `to`.
    unsafe { syscall!(libc::SYS_statx, file, path, flags, mask, to)? };
    // SAFETY: integers only, all of them zero or the kernel's.
    Ok(unsafe { buffer.assume_init() })
}

/// What mount_setattr(2) is asked to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE` and its like, or 0.
    pub propagation: u64,
    /// User namespace of an idmapped mount.
    pub userns: u64,
}

/// Changes a mount, and all below it if `recursive`. An empty path means `directory` itself.
///
/// # Errors
/// What the kernel says.
pub fn set_attributes(
    directory: BorrowedFd<'_>,
    path: &CStr,
    attributes: &MountAttr,
    recursive: bool,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let size = size_of::<MountAttr>();
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: `MountAttr` has the layout of struct mount_attr, version 0, and lives on.
    unsafe { syscall!(libc::SYS_mount_setattr, directory, path.as_ptr(), flags, pointer, size)? };
    Ok(())
}

/// Maps the ids of a detached mount by a user namespace: what is somebody's on the disk is there the
/// same one's inside of the namespace, and the other way round for what is written.
///
/// # Errors
/// `EINVAL` for a file system that cannot be mapped, `EPERM` for a mount that is mapped already.
pub fn map_ids(mount: BorrowedFd<'_>, user: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    let attributes = MountAttr {
        set: libc::MOUNT_ATTR_IDMAP,
        userns: u64::from(user.as_raw_fd().cast_unsigned()),
        ..Default::default()
    };
    set_attributes(mount, c"", &attributes, recursive)
}

/// Makes the detached `mount` the root of the caller's mount namespace and leaves the old root.
///
/// # Errors
/// What move_mount(2) and pivot_root(2) say.
pub fn become_root(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    cover_root(mount)?;
    leave_old_root(mount)
}

/// The root directory, which `in_root` would take the working directory for.
///
/// # Errors
/// What openat(2) says.
pub fn open_root() -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, c"/", flags, Mode::empty())
}

/// Attaches `mount` on top of `/` and goes there.
///
/// # Errors
/// What move_mount(2) says.
pub fn cover_root(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    attach(mount, open_root()?.as_fd())?;
    nix::unistd::fchdir(mount)
}

/// Attaches `mount` on top of the current directory, and goes there.
///
/// # Errors
/// What move_mount(2) says.
pub fn cover_here(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    // Not even `.` is looked up: who may not search the directory is in it all the same.
    attach(mount, nix::fcntl::AT_FDCWD)?;
    nix::unistd::fchdir(mount)
}

/// Makes `mount`, which lies on top of `/`, the root, and detaches the old one.
///
/// # Errors
/// What pivot_root(2) says.
pub fn leave_old_root(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::unistd::fchdir(mount)?;
    pivot_root_here()?;
    // The old root lies on top of the new one, and `.` is what lies on top.
    umount2(c".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir(c"/")
}

/// Detaches what is mounted at a path, with all that is mounted below.
///
/// # Errors
/// What umount2(2) says: `EINVAL` where nothing is, or what is there is locked.
pub fn detach(path: &CStr) -> Result<(), Errno> {
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

/// Makes `mount`, which lies on top of `/`, the root, and leaves the old one below it.
///
/// # Errors
/// What chroot(2) says.
pub fn cover_old_root(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::unistd::fchdir(mount)?;
    nix::unistd::chroot(c".")?;
    nix::unistd::chdir(c"/")
}

/// Makes the current directory the root, with the old root mounted on top of it:
/// pivot_root(".", "."). The caller detaches it by `umount2(".", MNT_DETACH)`.
///
/// # Errors
/// What pivot_root(2) says.
fn pivot_root_here() -> Result<(), Errno> {
    // SAFETY: valid strings.
    unsafe { syscall!(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr())? };
    Ok(())
}
