//! What the caller knows better than the configuration.

use super::HookPlace;
use crate::plan::{Namespace, Seccomp, Slot};
use std::path::PathBuf;

/// What replaces parts of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The bundle's folder: relative paths of the configuration start here.
    pub bundle: PathBuf,
    /// The root file system is the detached mount in this slot, whatever `root.path` says.
    pub rootfs: Option<Slot>,
    /// Namespaces that are taken from elsewhere, whatever `linux.namespaces` says.
    pub namespaces: NamespaceOverrides,
    /// Destinations that get a directory of the pod's own mount namespace, and its name there
    /// (`/dev/shm` and `shm`). A mount that the configuration has at one of them gives way; where
    /// it has none, the bind comes last.
    pub pod_dirs: Vec<(String, String)>,
    /// Destinations that get the detached mount in this slot, with the options of the mount that the
    /// configuration has there, whatever its type and source are.
    pub detached: Vec<(String, Slot)>,
    /// The control group when `linux.cgroupsPath` is absent.
    pub cgroup: Option<String>,
    /// Control groups are systemd's: `linux.cgroupsPath`, and [`Overrides::cgroup`], are
    /// `slice:prefix:name`.
    pub systemd: bool,
    /// A filter that is compiled already, instead of `linux.seccomp`.
    pub seccomp: Option<Seccomp>,
    /// Whose hooks they are, for a caller that runs hooks; without it they are refused.
    pub hooks: Option<HookPlace>,
}

/// Namespaces from elsewhere; `None` leaves what the configuration says.
#[derive(Clone, Debug, Default)]
pub struct NamespaceOverrides {
    /// Process ids.
    pub pid: Option<Namespace>,
    /// Network.
    pub network: Option<Namespace>,
    /// System V IPC and POSIX message queues.
    pub ipc: Option<Namespace>,
    /// Host and domain name.
    pub uts: Option<Namespace>,
    /// View of the control groups.
    pub cgroup: Option<Namespace>,
    /// Monotonic and boot clocks.
    pub time: Option<Namespace>,
    /// Users: one that maps ids as the configuration says.
    pub user: Option<Namespace>,
}
