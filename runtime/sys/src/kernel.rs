//! What this kernel has of what is leant on: each tried by a call that changes nothing.

use crate::call::syscall;
use crate::mount::{FsContext, MountAttr, clone_tree, set_attributes};
use crate::{bpf, in_root, memfd, pidfd};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

/// Something that not every kernel has, or not every configuration of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// What is done where it is missing; `None`: no pod can be run there.
    pub instead: Option<&'static str>,
    /// Why it is taken for missing.
    pub missing: Option<Errno>,
}

impl Feature {
    /// Whether no pod can be run for want of it.
    pub fn is_wanting(&self) -> bool {
        self.missing.is_some() && self.instead.is_none()
    }
}

/// Name, first kernel, what is done instead, and how it is tried.
type Row = (&'static str, &'static str, Option<&'static str>, fn() -> Result<(), Errno>);

const ROWS: [Row; 19] = [
    ("clone3 with CLONE_INTO_CGROUP", "5.7", None, clone_into_cgroup),
    ("pidfd_open", "5.3", None, || pidfd::open(std::process::id().cast_signed()).map(drop)),
    ("openat2", "5.6", None, openat2),
    ("fsopen", "5.2", None, || FsContext::open(c"tmpfs").map(drop)),
    ("open_tree with OPEN_TREE_CLONE", "5.2", None, || clone_tree(AT_FDCWD, c"/", false).map(drop)),
    ("move_mount", "5.2", None, move_mount),
    ("mount_setattr", "5.12", None, mount_setattr),
    // Its configuration may leave it out (CONFIG_POSIX_MQUEUE); every container has one.
    ("mqueue", "2.6.6", None, || FsContext::open(c"mqueue").map(drop)),
    ("overlay", "3.18", None, || FsContext::open(c"overlay").map(drop)),
    (
        "overlay with lowerdir+",
        "6.7",
        Some("layers are one list of mount options, of a page at most: some 800 of them"),
        lowerdir_plus,
    ),
    ("close_range with CLOSE_RANGE_CLOEXEC", "5.11", None, close_range),
    ("faccessat2", "5.8", None, faccessat2),
    ("seccomp filters", "4.14", None, seccomp),
    ("memfd_create, and its files executable", "3.17", None, memfd_exec),
    ("pid namespaces", "3.8", None, || namespace("pid")),
    ("network namespaces", "3.0", None, || namespace("net")),
    ("ipc namespaces", "3.0", None, || namespace("ipc")),
    ("uts namespaces", "3.0", None, || namespace("uts")),
    (
        "cgroup namespaces",
        "4.6",
        Some("containers see the paths of the host's control groups"),
        || namespace("cgroup"),
    ),
];

/// Whether the kernel was built with seccomp: prctl(2).
pub fn takes_filters() -> bool {
    // SAFETY: integers; it answers the caller's mode, or EINVAL.
    unsafe { syscall!(libc::SYS_prctl, libc::PR_GET_SECCOMP, 0, 0, 0, 0) }.is_ok()
}

/// Tries them all. `unified` is where cgroup v2 is mounted, if it is; `filters_devices` says that it
/// is what holds containers back from devices.
pub fn features(unified: Option<&Path>, filters_devices: bool) -> Vec<Feature> {
    let tried = |(name, since, instead, attempt): Row| Feature {
        name,
        since,
        instead,
        missing: attempt().err(),
    };
    let mut all: Vec<Feature> = ROWS.into_iter().map(tried).collect();
    let by_hand = "groups of cgroup v1 are frozen, and their processes killed one by one";
    all.push(Feature {
        name: "cgroup.kill",
        since: "5.14",
        instead: unified.is_none().then_some(by_hand),
        missing: unified.map_or(Err(Errno::ENODEV), cgroup_kill).err(),
    });
    if filters_devices {
        all.push(Feature {
            name: "device filters of cgroup v2",
            since: "4.15",
            instead: None,
            // Its configuration may leave them out (CONFIG_CGROUP_BPF).
            missing: bpf::try_device_filter().err(),
        });
    }
    all
}

/// struct clone_args up to `cgroup`: flags first, `cgroup` last.
fn clone_into_cgroup() -> Result<(), Errno> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut words = [0_u64; 11];
    words[0] = CLONE_INTO_CGROUP;
    // No such descriptor: nothing is cloned.
    words[10] = u64::from(i32::MAX.cast_unsigned());
    // SAFETY: eleven words as struct clone_args has them.
    let cloned = unsafe { syscall!(libc::SYS_clone3, words.as_ptr(), size_of_val(&words)) };
    match cloned {
        Err(Errno::EBADF) => Ok(()),
        Err(errno) => Err(errno),
        // A child that must not be.
        Ok(0) => std::process::abort(),
        Ok(_) => Err(Errno::EINVAL),
    }
}

fn openat2() -> Result<(), Errno> {
    let root = File::open("/").map_err(errno)?;
    in_root::open(root.as_fd(), c"/", OFlag::O_PATH).map(drop)
}

fn move_mount() -> Result<(), Errno> {
    let nothing = c"".as_ptr();
    // SAFETY: two empty strings, and no descriptors: nothing is moved.
    match unsafe { syscall!(libc::SYS_move_mount, -1_i32, nothing, -1_i32, nothing, 0_u32) } {
        Err(Errno::ENOSYS) => Err(Errno::ENOSYS),
        _ => Ok(()),
    }
}

fn mount_setattr() -> Result<(), Errno> {
    let tree = clone_tree(AT_FDCWD, c"/", false)?;
    let attributes = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    set_attributes(tree.as_fd(), c"", &attributes, false)
}

fn lowerdir_plus() -> Result<(), Errno> {
    let context = FsContext::open(c"overlay")?;
    // Before 6.5 every name is taken, and refused at the mount.
    if context.set(c"no-such-option", Some(c"/")).is_ok() {
        return Err(Errno::EINVAL);
    }
    context.set(c"lowerdir+", Some(c"/"))
}

fn close_range() -> Result<(), Errno> {
    // SAFETY: three integers; no descriptor has this number.
    unsafe { syscall!(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }
        .map(drop)
}

fn faccessat2() -> Result<(), Errno> {
    let (root, flags) = (c"/".as_ptr(), libc::AT_EACCESS);
    // SAFETY: a valid string and integers.
    unsafe { syscall!(libc::SYS_faccessat2, libc::AT_FDCWD, root, libc::F_OK, flags) }.map(drop)
}

fn seccomp() -> Result<(), Errno> {
    let action = libc::SECCOMP_RET_ERRNO;
    let (operation, action) = (libc::SECCOMP_GET_ACTION_AVAIL, std::ptr::from_ref(&action));
    // SAFETY: asks about the action that is pointed to.
    unsafe { syscall!(libc::SYS_seccomp, operation, 0_u32, action) }.map(drop)
}

fn memfd_exec() -> Result<(), Errno> {
    memfd::sealed(c"probe", b"")?;
    // sysctl vm.memfd_noexec (6.3): 2 refuses all of them.
    match fs::read_to_string("/proc/sys/vm/memfd_noexec") {
        Ok(text) if text.trim() == "2" => Err(Errno::EACCES),
        _ => Ok(()),
    }
}

fn namespace(kind: &str) -> Result<(), Errno> {
    fs::symlink_metadata(format!("/proc/self/ns/{kind}")).map(drop).map_err(errno)
}

/// Every group but the root has the file.
fn cgroup_kill(unified: &Path) -> Result<(), Errno> {
    let groups = fs::read_dir(unified).map_err(errno)?.flatten();
    let below = groups.map(|entry| entry.path()).find(|path| path.is_dir());
    match below {
        Some(group) => fs::metadata(group.join("cgroup.kill")).map(drop).map_err(errno),
        // None to look at.
        None => Ok(()),
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_all_that_pods_want() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let wanting: Vec<_> =
            features(None, true).into_iter().filter(Feature::is_wanting).collect();
        assert_eq!(wanting, []);
    }

    #[test]
    fn what_every_container_needs_of_the_kernels_configuration_is_tried() {
        let has = |filters_devices, name: &str| {
            features(None, filters_devices).iter().any(|feature| feature.name == name)
        };
        assert!(has(false, "mqueue"));
        assert!(has(true, "device filters of cgroup v2"));
        assert!(!has(false, "device filters of cgroup v2"));
    }

    #[test]
    fn what_is_missing_is_wanting_unless_there_is_another_way() {
        let feature = |missing, instead| Feature { name: "x", since: "9.9", instead, missing };
        assert!(feature(Some(Errno::ENOSYS), None).is_wanting());
        assert!(!feature(Some(Errno::ENOSYS), Some("by hand")).is_wanting());
        assert!(!feature(None, None).is_wanting());
    }
}
