//! The plan: a flat, versioned message with everything about one container resolved.
//!
//! The daemon (or `rrun-oci`) makes it from an OCI configuration; the executor, which may be of
//! an older release and lives in another process, carries it out without asking anything back.
//! File descriptors that travel beside a plan are called slots: a plan names them by their index.

mod cgroup;
pub mod device_filter;
pub mod encoding;
mod hook;
mod mount;
mod process;

pub use cgroup::{CgroupDir, CgroupWrite, Cgroups};
pub use hook::{Hook, Hooks, StateText};
pub use mount::{Device, Link, Mount, MountSource, Propagation, attr};
pub use process::{Capabilities, Listener, Process, Rlimit, Seccomp, User};

use crate::{Error, Kind, Result};
use minicbor::{Decode, Encode};
use std::path::PathBuf;

/// The newest version of [`Plan`] and [`ExecPlan`].
///
/// An executor takes every version up to its own. A plan gets a new version when an executor that
/// does not know what is new in it must refuse it: see `shim/protocol/COMPATIBILITY.md`. One is
/// written with the first version that has all that it says.
pub const VERSION: u16 = 4;

/// The version of a plan that says nothing new.
pub const FIRST: u16 = 1;

/// The first version that has a user namespace in a slot.
pub const WITH_USERS: u16 = 2;

/// The first version that has [`Plan::hooks`].
pub const WITH_HOOKS: u16 = 3;

/// The first version that has [`Seccomp::listener`].
pub const WITH_LISTENER: u16 = 4;

/// Index of a file descriptor in the table that travels beside a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Slot(#[n(0)] pub u8);

/// How to make a container's init, up to the point where it waits for its start.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Plan {
    /// From [`FIRST`] to [`VERSION`].
    #[n(0)]
    pub version: u16,
    /// Which namespaces are new, joined or the caller's.
    #[n(1)]
    pub namespaces: Namespaces,
    /// The root file system.
    #[n(2)]
    pub rootfs: Rootfs,
    /// Mounts in the order in which they are made.
    #[n(3)]
    pub mounts: Vec<Mount>,
    /// Device nodes, made after the mounts.
    #[n(4)]
    pub devices: Vec<Device>,
    /// Symbolic links, made after the devices (`/dev/fd` and its like).
    #[n(5)]
    pub links: Vec<Link>,
    /// Paths covered by `/dev/null` or an empty read-only directory; missing ones are passed over.
    #[n(6)]
    pub masked: Vec<String>,
    /// Paths made read-only; missing ones are passed over.
    #[n(7)]
    pub readonly: Vec<String>,
    /// Host name to set in the UTS namespace, which must not be the caller's.
    #[n(8)]
    pub hostname: Option<String>,
    /// NIS domain name to set there.
    #[n(9)]
    pub domainname: Option<String>,
    /// `/proc/sys` names (with `/` or `.`) and values, written from inside before the root
    /// becomes read-only.
    #[n(10)]
    pub sysctls: Vec<(String, String)>,
    /// The control groups that the container lives in.
    #[n(11)]
    pub cgroups: Cgroups,
    /// The first process.
    #[n(12)]
    pub process: Process,
    /// What the ids of a new user namespace are outside of it; an executor that does not know it
    /// refuses the namespace.
    #[n(13)]
    pub id_maps: Option<IdMaps>,
    /// Programs to run on the way. Since version 3.
    #[n(14)]
    pub hooks: Option<Hooks>,
}

/// The ids of a user namespace: user_namespaces(7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IdMaps {
    /// Users.
    #[n(0)]
    pub users: Vec<IdRange>,
    /// Groups.
    #[n(1)]
    pub groups: Vec<IdRange>,
}

impl IdMaps {
    /// The user and the group that root is outside.
    ///
    /// # Errors
    /// `Invalid` where root is nobody.
    pub fn root(&self) -> Result<(u32, u32)> {
        let root = outside(&self.users, 0).zip(outside(&self.groups, 0));
        root.ok_or_else(|| Error::new(Kind::Invalid, "root is nobody in the id maps"))
    }
}

/// An id outside of a user namespace, if it is one inside.
pub fn outside(ranges: &[IdRange], id: u32) -> Option<u32> {
    let of = |range: &IdRange| {
        let at = id.checked_sub(range.inside).filter(|at| *at < range.count)?;
        range.outside.checked_add(at)
    };
    ranges.iter().find_map(of)
}

/// A range of ids, inside and outside of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IdRange {
    /// The first id inside.
    #[n(0)]
    pub inside: u32,
    /// The first id outside, as the executor sees it.
    #[n(1)]
    pub outside: u32,
    /// How many.
    #[n(2)]
    pub count: u32,
}

/// How to run one more process in a container that runs.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct ExecPlan {
    /// From [`FIRST`] to [`VERSION`].
    #[n(0)]
    pub version: u16,
    /// Where the process is placed, with a place for the name of its own group: made by
    /// [`ExecPlan::groups_below`], filled in by [`ExecPlan::groups`].
    #[n(1)]
    pub cgroups: Cgroups,
    /// The process.
    #[n(2)]
    pub process: Process,
}

/// Stands in a path for the name of an exec's group. It is on the wire: a shim of an earlier
/// release puts its name in its place.
const EXEC_GROUP: &str = "{exec}";

impl ExecPlan {
    /// The groups of a process in a container: the container's, and in the unified hierarchy a
    /// directory of its own below the container's, so that its tree can be killed.
    pub fn groups_below(container: &Cgroups) -> Cgroups {
        let dirs = container.dirs.iter().map(|dir| CgroupDir {
            path: if dir.unified { dir.path.join(EXEC_GROUP) } else { dir.path.clone() },
            unified: dir.unified,
            inherit_cpuset: false,
        });
        Cgroups { dirs: dirs.collect(), ..Cgroups::default() }
    }

    /// The groups when the process's own is called `name`, which is the choice of whoever carries
    /// out the plan.
    pub fn groups(&self, name: &str) -> Cgroups {
        let mut groups = self.cgroups.clone();
        for dir in groups.dirs.iter_mut().filter(|dir| dir.unified) {
            dir.path.set_file_name(name);
        }
        groups
    }
}

/// The root file system of a container.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Rootfs {
    /// A detached mount that came as a file descriptor, or a directory on the host.
    #[n(0)]
    pub source: RootfsSource,
    /// Make the root read-only after everything else.
    #[n(1)]
    pub readonly: bool,
    /// Propagation of the root mount; `None` is private.
    #[cbor(n(2), with = "encoding::strict_option")]
    pub propagation: Option<Propagation>,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum RootfsSource {
    /// A detached mount (fsmount(2), open_tree(2)) in this slot.
    #[n(0)]
    Detached(#[n(0)] Slot),
    /// A directory on the host, bound recursively.
    #[n(1)]
    Directory(#[n(0)] PathBuf),
}

/// Which namespaces the process gets. The mount namespace is always new.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Namespaces {
    /// Process ids.
    #[n(0)]
    pub pid: Namespace,
    /// Network.
    #[n(1)]
    pub network: Namespace,
    /// System V IPC and POSIX message queues.
    #[n(2)]
    pub ipc: Namespace,
    /// Host and domain name.
    #[n(3)]
    pub uts: Namespace,
    /// View of the control groups.
    #[n(4)]
    pub cgroup: Namespace,
    /// Users and capabilities: `Host`, `New` with [`Plan::id_maps`], or, since version 2, a
    /// `Slot`: it owns all that is joined and is not the host's.
    #[n(5)]
    pub user: Namespace,
    /// Monotonic and boot clocks.
    #[n(6)]
    pub time: Namespace,
}

/// One namespace of a process.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Namespace {
    /// The one of the process that carries out the plan.
    #[n(0)]
    Host,
    /// A new one.
    #[n(1)]
    New,
    /// The one bound to, or linked from, this path.
    #[n(2)]
    Path(#[n(0)] PathBuf),
    /// The one open in this slot (an nsfs descriptor, or a pidfd).
    #[n(3)]
    Slot(#[n(0)] Slot),
}
