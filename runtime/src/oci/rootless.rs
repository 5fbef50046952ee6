//! Who calls: the host's root, root inside of a user namespace, or somebody else.

use crate::config::CGROUP_ROOT;
use crate::id::Id;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};
use rrun_runtime::Result;
use rrun_runtime::planning::Host;
use rrun_runtime::run::Caller;
use std::path::{Path, PathBuf};

/// The group that root may have made and given away, in every hierarchy.
const GIVEN: &str = "/rrun-oci";

/// What `/proc/self/uid_map` has in the first user namespace.
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// Who this process is.
pub fn caller() -> Caller {
    if !geteuid().is_root() {
        return Caller::Unprivileged;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    match map.split_ascii_whitespace().eq(ALL_IDS) || map.is_empty() {
        true => Caller::Root,
        false => Caller::RootInside,
    }
}

/// The host, as far as it is of use to the caller.
pub fn host(caller: Caller) -> Result<Host> {
    Ok(as_seen_by(caller, Host::detect(Path::new(CGROUP_ROOT))?))
}

/// The same without control groups, for a process in a container that is there.
pub fn host_without_groups(caller: Caller) -> Result<Host> {
    Ok(as_seen_by(caller, Host::without_groups()?))
}

fn as_seen_by(caller: Caller, mut host: Host) -> Host {
    if caller == Caller::Unprivileged {
        // In the user namespace he has all of them.
        host.capabilities = host.known_capabilities();
    }
    host
}

/// Where records are kept if nobody says so.
pub fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !geteuid().is_root());
    own.map_or_else(|| PathBuf::from("/run/rrun-oci"), |own| Path::new(&own).join("rrun-oci"))
}

/// The group of a container that names none, of somebody else than the host's root: below the one that
/// root has made for him, else at the top, as in a container that has a hierarchy for itself; `None`
/// where he may make neither.
pub fn group(host: &Host, id: &Id) -> Option<String> {
    let below = |above: &str| {
        let is_his = may_write(host, Path::new(above));
        is_his.then(|| format!("{}/{id}", above.trim_end_matches('/')))
    };
    below(GIVEN).or_else(|| below("/"))
}

/// Whether a group is there in every hierarchy, and the caller may make others below it.
fn may_write(host: &Host, path: &Path) -> bool {
    let dirs = host.cgroups.as_ref().map(|layout| layout.dirs(path)).unwrap_or_default();
    let flags = AtFlags::AT_EACCESS;
    dirs.iter().all(|dir| faccessat(AT_FDCWD, &dir.path, AccessFlags::W_OK, flags).is_ok())
}
