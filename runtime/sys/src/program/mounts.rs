//! Mounts.

use super::Reg;
use super::copy;
use super::machine::Machine;
use crate::in_root::{self, Leaf, is};
use crate::mount::{self, Attributes, Context};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{SFlag, fstat, makedev};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Steps on mounts.
#[derive(Debug)]
pub enum Tree {
    /// Open a detached copy of the mount at a path, links followed, from the current root.
    Copy {
        /// Where.
        path: CString,
        /// With those below it.
        recursive: bool,
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
    /// Change a mount.
    Set {
        /// Which.
        mount: Reg,
        /// How.
        attributes: Attributes,
        /// Those below it too.
        recursive: bool,
    },
    /// Make every mount of the namespace private: what happens here must not travel to the
    /// host's mounts that these are copies of.
    Private,
    /// Attach a mount on a path inside a root, making what is missing of the path: a directory
    /// where the mount's root is one, else a file.
    Attach {
        /// What.
        mount: Reg,
        /// The root.
        root: Reg,
        /// Where.
        path: CString,
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
    /// Attach a mount on top of `/` and go there, to pivot into it by and by.
    Cover(Reg),
    /// Make the mount, which was attached by [`Tree::Cover`], the root, and detach the old one.
    Pivot(Reg),
    /// Cover a path inside a root: a directory with an empty read-only file system, anything else
    /// with `/dev/null`. A missing path is passed over.
    Mask {
        /// The root.
        root: Reg,
        /// Where.
        path: CString,
        /// Holds the empty file system from the first use on; it is shared.
        empty: Reg,
    },
    /// Make a path inside a root read-only with all below it. A missing path is passed over.
    ReadOnly {
        /// The root.
        root: Reg,
        /// Where.
        path: CString,
    },
}

impl Tree {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            Tree::Copy { path, recursive, to } => {
                let copy = mount::clone_tree(AT_FDCWD, path, *recursive)?;
                machine.put(*to, copy);
            }
            Tree::New { fstype, options, attributes, to } => {
                let context = Context::open(fstype)?;
                for (key, value) in options {
                    context.set(key, value.as_deref())?;
                }
                machine.put(*to, context.mount(*attributes)?);
            }
            Tree::Set { mount, attributes, recursive } => {
                mount::set_attributes(machine.fd(*mount)?, c"", attributes, *recursive)?;
            }
            Tree::Private => {
                let private = Attributes { propagation: libc::MS_PRIVATE, ..Default::default() };
                mount::set_attributes(AT_FDCWD, c"/", &private, true)?;
            }
            Tree::Attach { mount, root, path } => {
                let mount = machine.fd(*mount)?;
                let directory = is(&fstat(mount)?, SFlag::S_IFDIR);
                let leaf = if directory { Leaf::Directory } else { Leaf::File };
                let target = in_root::ensure(machine.fd(*root)?, path, leaf)?;
                // move_mount(2) says EINVAL to both.
                match (directory, is(&fstat(&target)?, SFlag::S_IFDIR)) {
                    (true, false) => return Err(Errno::ENOTDIR),
                    (false, true) => return Err(Errno::EISDIR),
                    _ => {}
                }
                mount::attach(mount, target.as_fd())?;
            }
            Tree::CopyUp { mount, root, path, attributes } => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
                let source = match in_root::open(machine.fd(*root)?, path, flags) {
                    Err(Errno::ENOENT) => return Ok(()),
                    other => other?,
                };
                let mount = machine.fd(*mount)?;
                copy::tree(source.as_fd(), mount, 0)?;
                if *attributes {
                    copy::attributes(mount, c".", &fstat(&source)?)?;
                }
            }
            Tree::Cover(mount) => mount::cover_root(machine.fd(*mount)?)?,
            Tree::Pivot(root) => mount::leave_old_root(machine.fd(*root)?)?,
            Tree::Mask { root, path, empty } => {
                if let Some(target) = existing(machine.fd(*root)?, path)? {
                    mask(machine, *root, target.as_fd(), *empty)?;
                }
            }
            Tree::ReadOnly { root, path } => {
                if let Some(target) = existing(machine.fd(*root)?, path)? {
                    read_only(target.as_fd())?;
                }
            }
        }
        Ok(())
    }
}

fn existing(root: BorrowedFd<'_>, path: &CString) -> Result<Option<OwnedFd>, Errno> {
    match in_root::open(root, path, OFlag::O_PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
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
    let context = Context::open(c"tmpfs")?;
    context.set(c"nr_inodes", Some(c"1"))?;
    context.set(c"ro", None)?;
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    let made = context.mount(attributes)?;
    mount::attach(made.as_fd(), target)?;
    machine.put(empty, made);
    Ok(())
}

fn read_only(target: BorrowedFd<'_>) -> Result<(), Errno> {
    let copy = mount::clone_tree(target, c"", true)?;
    let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    mount::set_attributes(copy.as_fd(), c"", &attributes, true)?;
    mount::attach(copy.as_fd(), target)
}
