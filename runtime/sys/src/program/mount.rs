//! Mounts.

use super::Reg;
use super::copy;
use super::machine::Machine;
use crate::in_root::{self, Leaf, is};
use crate::mount::{self, FsContext, MountAttr};
use crate::procfs;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Steps on mounts.
#[derive(Debug)]
pub enum MountOp {
    /// Open a detached copy of the mount at a path, links followed, from the current root.
    Copy {
        /// Where.
        path: CString,
        /// With those below it.
        recursive: bool,
        /// Takes the copy.
        to: Reg,
    },
    /// Open a detached copy of the host's node at a path, which must be this device: in a user
    /// namespace no node can be made.
    CopyDevice {
        /// Where.
        path: CString,
        /// Type bits of its mode.
        kind: u32,
        /// Device number.
        rdev: u64,
        /// Takes the copy.
        to: Reg,
    },
    /// Make a new instance of a file system, detached.
    New {
        /// File system type.
        fstype: CString,
        /// Options; one without a value is a flag.
        options: Vec<(CString, Option<CString>)>,
        /// `MOUNT_ATTR_*`
        attributes: u64,
        /// Takes the mount.
        to: Reg,
    },
    /// Refuse a path that leads beneath a directory: what is mounted there later would cover it.
    NotBeneath {
        /// Where both begin.
        root: Reg,
        /// The path.
        path: CString,
        /// The directory, clean and absolute.
        directory: CString,
    },
    /// Change a mount.
    Set {
        /// Which.
        mount: Reg,
        /// How.
        attributes: MountAttr,
        /// Those below it too.
        recursive: bool,
    },
    /// Map the ids of a detached mount by a user namespace. One that cannot be mapped is told with
    /// its file system.
    MapIds {
        /// Which.
        mount: Reg,
        /// The user namespace.
        user: Reg,
        /// Those below it too.
        recursive: bool,
    },
    /// Make every mount of the namespace private: what happens here must not travel to the
    /// host's mounts that these are copies of.
    Private,
    /// Attach a mount on a path inside a root, making what is missing of the path: a directory
    /// where the mount's root is one, else a file. A path that leads to the root itself is refused:
    /// the mount would cover it for whoever enters the mount namespace later.
    Attach {
        /// What.
        mount: Reg,
        /// The root.
        root: Reg,
        /// Where.
        path: CString,
        /// What is demanded of the path and of the mount.
        rules: Rules,
    },
    /// Copy what a root has at a path into a mount that will be attached there. A missing path
    /// has nothing.
    CopyUp {
        /// The mount.
        mount: Reg,
        /// The root.
        root: Reg,
        /// Where.
        path: CString,
        /// Mode and owner of the directory too.
        attributes: bool,
    },
    /// Open the root directory.
    Root(Reg),
    /// Detach what is mounted on top at a path, links in its folders followed, from the root.
    Detach(CString),
    /// Attach a mount on top of `/` and go there, to pivot into it by and by.
    Cover(Reg),
    /// Go to a directory of the host, for [`MountOp::CoverHere`]: root of a user namespace finds no way
    /// through folders that are somebody's whom it does not know, and who is there already stays there
    /// in a copy of the mount namespace.
    GoTo(CString),
    /// The same as [`MountOp::Cover`] where one is, and where others find it: a hook does.
    CoverHere(Reg),
    /// Make the mount, which was attached by [`MountOp::Cover`], the root, and detach the old one.
    Pivot(Reg),
    /// The same by chroot(2), for a root that cannot be pivoted out of: it stays where it is. What is
    /// mounted on it is detached, or covered where that is locked, as it is in a user namespace.
    Chroot {
        /// The new root.
        root: Reg,
        /// Where something is mounted on the old one.
        others: Vec<CString>,
    },
    /// Cover a path beneath a mount (or the mount itself, by `.`): a directory with an empty
    /// read-only file system, anything else with `/dev/null`. A missing path is passed over, one
    /// that leads to the root is refused.
    Mask {
        /// Where the path begins, and whether that is a procfs.
        base: Base,
        /// The path from there.
        path: CString,
        /// The root, whose `/dev/null` it is.
        root: Reg,
        /// Holds the empty file system from the first use on; it is shared.
        empty: Reg,
    },
    /// Make a path beneath a mount read-only with all below it. A missing path is passed over, one
    /// that leads to the root is refused.
    ReadOnly {
        /// Where the path begins.
        base: Base,
        /// The path from there.
        path: CString,
        /// The root.
        root: Reg,
    },
}

/// What is demanded of a mount and of the path that it is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// No part of the path is a link: where it leads is nobody's choice but the plan's. (Else
    /// links lead where they do inside the root.)
    pub real: bool,
    /// The path may lie in a procfs.
    pub inside_proc: bool,
    /// The mount is a whole procfs: one that is not would make its container believe what
    /// whoever fills it says.
    pub is_proc: bool,
}

/// Where a path to be masked begins: a mount, by its descriptor. Looked up from the root, it might
/// lead elsewhere by then (CVE-2019-19921, CVE-2023-27561).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The mount.
    pub mount: Reg,
    /// It is a procfs, and so must be what is found.
    pub is_proc: bool,
}

impl MountOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            MountOp::Copy { path, recursive, to } => {
                let copy = mount::clone_tree(AT_FDCWD, path, *recursive)?;
                machine.put(*to, copy);
            }
            MountOp::CopyDevice { path, kind, rdev, to } => {
                let copy = mount::clone_tree(AT_FDCWD, path, false)?;
                let stat = fstat(&copy)?;
                if stat.st_mode & libc::S_IFMT != *kind || stat.st_rdev != *rdev {
                    machine.say(b"the host has another file there");
                    return Err(Errno::ENODEV);
                }
                machine.put(*to, copy);
            }
            MountOp::NotBeneath { root, path, directory } => {
                if in_root::leads_below(machine.fd(*root)?, path, directory)? {
                    machine.say(b"it is beneath the procfs, which is mounted later");
                    return Err(Errno::EPERM);
                }
            }
            MountOp::New { fstype, options, attributes, to } => {
                let context = FsContext::open(fstype)?;
                match new(&context, options, *attributes) {
                    Ok(made) => machine.put(*to, made),
                    Err(errno) => {
                        say_message(machine, &context);
                        return Err(errno);
                    }
                }
            }
            MountOp::Set { mount, attributes, recursive } => {
                mount::set_attributes(machine.fd(*mount)?, c"", attributes, *recursive)?;
            }
            MountOp::MapIds { mount, user, recursive } => {
                let mount = machine.fd(*mount)?;
                let mapped = mount::map_ids(mount, machine.fd(*user)?, *recursive);
                if mapped == Err(Errno::EINVAL) {
                    let words = cannot_be_mapped(mount);
                    machine.say(words);
                }
                mapped?;
            }
            MountOp::Private => {
                let private = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
                mount::set_attributes(AT_FDCWD, c"/", &private, true)?;
            }
            MountOp::Attach { mount, root, path, rules } => {
                attach(machine, machine.fd(*mount)?, machine.fd(*root)?, path, *rules)?;
            }
            MountOp::CopyUp { mount, root, path, attributes } => {
                copy_up(machine, *mount, *root, path, *attributes)?;
            }
            MountOp::Root(to) => machine.put(*to, mount::open_root()?),
            MountOp::Detach(path) => mount::detach(path)?,
            MountOp::Cover(mount) => mount::cover_root(machine.fd(*mount)?)?,
            MountOp::GoTo(path) => nix::unistd::chdir(path.as_c_str())?,
            MountOp::CoverHere(mount) => mount::cover_here(machine.fd(*mount)?)?,
            MountOp::Pivot(root) => mount::leave_old_root(machine.fd(*root)?)?,
            MountOp::Chroot { root, others } => {
                for path in others {
                    clear(path)?;
                }
                mount::cover_old_root(machine.fd(*root)?)?;
            }
            MountOp::Mask { base, path, root, empty } => {
                if let Some(target) = existing(machine, *base, path, *root)? {
                    mask(machine, *root, target.as_fd(), *empty)?;
                }
            }
            MountOp::ReadOnly { base, path, root } => {
                if let Some(target) = existing(machine, *base, path, *root)? {
                    read_only(target.as_fd())?;
                }
            }
        }
        Ok(())
    }
}

fn copy_up(
    machine: &mut Machine<'_>,
    mount: Reg,
    root: Reg,
    path: &CStr,
    attributes: bool,
) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let source = match in_root::open(machine.fd(root)?, path, flags) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    refuse_root(machine, machine.fd(root)?, source.as_fd())?;
    let mount = machine.fd(mount)?;
    copy::tree(source.as_fd(), mount, 0)?;
    if attributes {
        copy::attributes(mount, &fstat(&source)?)?;
    }
    Ok(())
}

fn new(
    context: &FsContext,
    options: &[(CString, Option<CString>)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    for (key, value) in options {
        context.set(key, value.as_deref())?;
    }
    context.mount(attributes)
}

/// The first error that the kernel has a word about: `e proc: Unknown parameter 'x'`.
fn say_message(machine: &mut Machine<'_>, context: &FsContext) {
    let mut line = [0; 256];
    while let Some(length) = context.read_message(&mut line) {
        if let Some(words) = line.get(..length).and_then(|line| line.strip_prefix(b"e ")) {
            return machine.say(words);
        }
    }
}

/// File systems that are known not to map ids, by their numbers; another one of which the same is
/// true may be below the mount.
fn cannot_be_mapped(mount: BorrowedFd<'_>) -> &'static [u8] {
    use nix::sys::statfs as fs;
    match fs::fstatfs(mount).map(|stat| stat.filesystem_type()) {
        Ok(fs::NFS_SUPER_MAGIC) => b"nfs does not support idmapped mounts",
        Ok(fs::FUSE_SUPER_MAGIC) => b"fuse does not support idmapped mounts",
        Ok(fs::OVERLAYFS_SUPER_MAGIC) => b"overlay does not support idmapped mounts",
        Ok(fs::SMB_SUPER_MAGIC) => b"smb does not support idmapped mounts",
        Ok(fs::PROC_SUPER_MAGIC) => b"proc does not support idmapped mounts",
        Ok(fs::SYSFS_MAGIC) => b"sysfs does not support idmapped mounts",
        Ok(fs::CGROUP_SUPER_MAGIC) => b"cgroup does not support idmapped mounts",
        Ok(fs::CGROUP2_SUPER_MAGIC) => b"cgroup2 does not support idmapped mounts",
        Ok(fs::TMPFS_MAGIC) => b"tmpfs does not support idmapped mounts (before Linux 6.3)",
        _ => b"its file system, or one below it, does not support idmapped mounts",
    }
}

fn attach(
    machine: &mut Machine<'_>,
    mount: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    path: &CStr,
    rules: Rules,
) -> Result<(), Errno> {
    if rules.is_proc && !procfs::is_root(mount)? {
        machine.say(b"what is mounted there is no procfs");
        return Err(Errno::EPERM);
    }
    let directory = is(&fstat(mount)?, SFlag::S_IFDIR);
    let leaf = if directory { Leaf::Directory } else { Leaf::File };
    let target = if rules.real {
        match in_root::ensure_real(root, path, leaf) {
            Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                machine.say(b"must be a real directory");
                return Err(errno);
            }
            other => other?,
        }
    } else {
        in_root::ensure(root, path, leaf)?
    };
    refuse_root(machine, root, target.as_fd())?;
    if !rules.inside_proc && procfs::is_inside(target.as_fd())? {
        machine.say(b"it is inside a procfs");
        return Err(Errno::EPERM);
    }
    // move_mount(2) says EINVAL to both.
    match (directory, is(&fstat(&target)?, SFlag::S_IFDIR)) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ => mount::attach(mount, target.as_fd()),
    }
}

/// A link of the image leads to `/` from a path that is not `/`. What covers the root is not seen
/// by the container, whose root stays below it, and is all that its execs see.
fn refuse_root(
    machine: &mut Machine<'_>,
    root: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<(), Errno> {
    if mount::is_same_place(root, target)? {
        machine.say(b"it is the root");
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// What a path beneath a mount leads to. Only what is not there is passed over.
fn existing(
    machine: &mut Machine<'_>,
    base: Base,
    path: &CStr,
    root: Reg,
) -> Result<Option<OwnedFd>, Errno> {
    let mount = machine.fd(base.mount)?;
    let found = if path == c"." {
        // Of a file, too, which has no `.`.
        mount.try_clone_to_owned().map_err(|_| Errno::EMFILE)
    } else {
        in_root::open(mount, path, OFlag::O_PATH)
    };
    let target = match found {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    refuse_root(machine, machine.fd(root)?, target.as_fd())?;
    if base.is_proc && !procfs::is_inside(target.as_fd())? {
        machine.say(b"it is not of the procfs that it should be in");
        return Err(Errno::EXDEV);
    }
    Ok(Some(target))
}

fn mask(
    machine: &mut Machine<'_>,
    root: Reg,
    target: BorrowedFd<'_>,
    empty: Reg,
) -> Result<(), Errno> {
    if !is(&fstat(target)?, SFlag::S_IFDIR) {
        let null =
            in_root::open(machine.fd(root)?, c"/dev/null", OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let stat = fstat(&null)?;
        // The image may have a link or a file there, which would be mounted writable over what
        // was to be hidden (CVE-2025-31133).
        if !is(&stat, SFlag::S_IFCHR) || stat.st_rdev != makedev(1, 3) {
            return Err(Errno::ENODEV);
        }
        return mount::attach(mount::clone_tree(null.as_fd(), c"", false)?.as_fd(), target);
    }
    if let Ok(first) = machine.fd(empty) {
        return mount::attach(mount::clone_tree(first, c"", false)?.as_fd(), target);
    }
    let made = nothing()?;
    mount::attach(made.as_fd(), target)?;
    machine.put(empty, made);
    Ok(())
}

/// A file system with nothing in it, which stays so.
fn nothing() -> Result<OwnedFd, Errno> {
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    let context = FsContext::open(c"tmpfs")?;
    context.set(c"nr_inodes", Some(c"1"))?;
    context.set(c"ro", None)?;
    context.mount(attributes)
}

/// Takes away what is mounted at a path of the old root; a file that cannot be is left.
fn clear(path: &CStr) -> Result<(), Errno> {
    match mount::detach(path) {
        // Under another mount, which has gone already.
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EINVAL | Errno::EPERM) => {}
        other => return other,
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Not by `in_root`: the working directory is in the new root by now.
    match openat(AT_FDCWD, path, flags, Mode::empty()) {
        Err(Errno::ENOTDIR | Errno::ENOENT) => Ok(()),
        directory => mount::attach(nothing()?.as_fd(), directory?.as_fd()),
    }
}

fn read_only(target: BorrowedFd<'_>) -> Result<(), Errno> {
    let copy = mount::clone_tree(target, c"", true)?;
    let attributes = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    mount::set_attributes(copy.as_fd(), c"", &attributes, true)?;
    mount::attach(copy.as_fd(), target)
}
