//! From an OCI configuration to a plan: pure functions, so that a table can test them.
//!
//! What was looked up on the host beforehand is a [`Host`]; what the caller knows better than the
//! configuration (a root file system that came as a descriptor, the namespaces of a pod) is an
//! [`Overrides`]. What this version cannot do is refused by its name in the configuration, and
//! never passed over: see [`refuse`].

mod capability;
mod cgroups;
mod device_rules;
mod devices;
mod hooks;
mod host;
mod io;
mod load;
mod memory;
mod mount_options;
mod mounts;
mod namespaces;
mod overrides;
mod paths;
mod process;
pub mod refuse;
mod resources;
mod sysctl;
#[cfg(test)]
mod tests;

pub use hooks::{HookPlace, RuntimeHooks, of_runtime as runtime_hooks};
pub use host::Host;
pub use load::{Loaded, load, load_process};
pub use overrides::{NamespaceOverrides, Overrides};
pub use sysctl::check as check_sysctl;

use crate::cgroup::Resources;
use crate::plan::{
    Cgroups, ExecPlan, FIRST, Mount, Namespace, Plan, Rootfs, RootfsSource, Seccomp, WITH_HOOKS,
    WITH_LISTENER, WITH_USERS,
};
use crate::systemd::Scope;
use crate::{Context, Error, Kind, Result};
use oci_spec::runtime::{Linux, LinuxResources, Mount as Entry, Process, Spec};
use std::path::Path;

/// The plan of a container: <https://github.com/opencontainers/runtime-spec>, Linux, up to 1.3.
///
/// # Errors
/// `Invalid`, naming the field of the configuration and the reason: nonsense, something that
/// would change the host, something that this version or this host cannot do.
pub fn plan(spec: &Spec, host: &Host, over: &Overrides) -> Result<Plan> {
    refuse::unsupported(spec)?;
    let linux = spec.linux().as_ref().ok_or_else(|| invalid("linux is missing"))?;
    let process = spec.process().as_ref().ok_or_else(|| invalid("process is missing"))?;

    let namespaces = namespaces::plan(linux, &over.namespaces)?;
    let id_maps = namespaces::id_maps(linux)?;
    let groups = cgroups::plan(linux, host, over)?;
    let parts = mounts::Parts { groups: &groups, id_maps: id_maps.as_ref() };
    let mut made = mounts::plan(spec, host, over, parts)?;
    let devices = devices::plan(spec)?;
    made.links.extend(devices.links);
    let mut process = process::plan(process, host, seccomp(spec, linux, (host, over))?)?;
    let is_joined = matches!(namespaces.user, Namespace::Slot(_));
    if let Some(maps) = id_maps.as_ref().filter(|_| is_joined) {
        process.user.outside = crate::plan::outside(&maps.users, process.user.uid);
    }

    let hooks = hooks::plan(spec, over.hooks.as_ref())?;
    let version = match (&hooks, is_joined) {
        _ if listens(process.seccomp.as_ref()) => WITH_LISTENER,
        (Some(_), _) => WITH_HOOKS,
        (None, true) => WITH_USERS,
        (None, false) => FIRST,
    };

    Ok(Plan {
        version,
        rootfs: rootfs(spec, linux, over)?,
        mounts: made.mounts,
        devices: devices.nodes,
        links: made.links,
        masked: clean(linux.masked_paths(), "linux.maskedPaths")?,
        readonly: clean(linux.readonly_paths(), "linux.readonlyPaths")?,
        hostname: namespaces::name(spec.hostname(), &namespaces.uts, "hostname")?,
        domainname: namespaces::name(spec.domainname(), &namespaces.uts, "domainname")?,
        sysctls: sysctl::plan(linux, &namespaces)?,
        process,
        id_maps: id_maps.filter(|_| namespaces.user == Namespace::New),
        namespaces,
        cgroups: groups,
        hooks,
    })
}

/// The plan of one more process in a container that lives in `groups`.
///
/// `seccomp` is the container's filter: a process's own configuration has none.
///
/// # Errors
/// As [`plan`].
pub fn exec_plan(
    process: &Process,
    groups: &Cgroups,
    host: &Host,
    seccomp: Option<Seccomp>,
) -> Result<ExecPlan> {
    refuse::unsupported_process(process)?;
    Ok(ExecPlan {
        version: if listens(seccomp.as_ref()) { WITH_LISTENER } else { FIRST },
        cgroups: ExecPlan::groups_below(groups),
        process: process::plan(process, host, seccomp)?,
    })
}

/// Mounts that are added to a container that lives in `groups`; relative sources start at `bundle`.
///
/// # Errors
/// As [`plan`].
pub fn added_mounts(
    entries: Vec<Entry>,
    bundle: &Path,
    groups: &Cgroups,
    host: &Host,
) -> Result<Vec<Mount>> {
    let mut spec = Spec::default();
    spec.set_mounts(Some(entries)).set_linux(None);
    let over = Overrides { bundle: bundle.to_owned(), ..Overrides::default() };
    let made = mounts::plan(&spec, host, &over, mounts::Parts { groups, id_maps: None })?;
    match made.links.first() {
        Some(link) => Err(invalid(format!("mounts: {} needs a link beside it", link.path))),
        None => Ok(made.mounts),
    }
}

/// Where an entry of `mounts` is mounted.
///
/// # Errors
/// `Invalid` for what is no place for a mount.
pub fn mount_target(entry: &Entry) -> Result<String> {
    mounts::target(entry)
}

/// The scope of systemd that a container is to be; `None` where [`Overrides::systemd`] is not set.
///
/// # Errors
/// `Invalid` for a `linux.cgroupsPath` that is not `slice:prefix:name`.
pub fn scope(spec: &Spec, over: &Overrides) -> Result<Option<Scope>> {
    spec.linux().as_ref().map_or(Ok(None), |linux| cgroups::scope(linux, over))
}

/// What a container is created with: `linux.resources`, and a policy of devices, which every
/// container has.
///
/// # Errors
/// As [`plan`].
pub fn created_resources(resources: Option<&LinuxResources>, host: &Host) -> Result<Resources> {
    resources::created(resources, host)
}

/// What an update asks for; the policy of devices stays where there are no rules.
///
/// # Errors
/// As [`plan`].
pub fn changed_resources(resources: &LinuxResources, host: &Host) -> Result<Resources> {
    resources::changed(resources, host)
}

/// Where `memory.checkBeforeUpdate` asks for it, refuses a limit below what the groups use now:
/// the kernel would kill for it.
///
/// # Errors
/// `Invalid`; what the kernel says to the group's files.
pub fn check_usage(resources: &LinuxResources, groups: &Cgroups) -> Result<()> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    let limit = memory.limit().and_then(|limit| u64::try_from(limit).ok()).filter(|n| *n > 0);
    let (Some(true), Some(limit)) = (memory.check_before_update(), limit) else { return Ok(()) };
    match crate::cgroup::stats::read(groups)?.memory.map(|memory| memory.usage) {
        Some(usage) if usage > limit => Err(invalid(format!(
            "linux.resources.memory.checkBeforeUpdate: {usage} bytes are used, {limit} asked for"
        ))),
        _ => Ok(()),
    }
}

/// What runtime-spec wants warned about and then left out: capabilities that this kernel does
/// not know or this process cannot grant.
pub fn warnings(process: &Process, host: &Host) -> Vec<String> {
    capability::warnings(process, host)
}

/// Paths in one spelling: each is looked up beneath the mount that it names, and another spelling of
/// the same would be looked up elsewhere, or not be found and passed over.
fn clean(listed: &Option<Vec<String>>, field: &str) -> Result<Vec<String>> {
    let named = listed.iter().flatten().filter(|path| !path.is_empty());
    named.map(|path| paths::inside(Path::new(path), field)).collect()
}

fn rootfs(spec: &Spec, linux: &Linux, over: &Overrides) -> Result<Rootfs> {
    let root = spec.root().as_ref();
    let source = match (over.rootfs, root) {
        (Some(slot), _) => RootfsSource::Detached(slot),
        (None, Some(root)) if !root.path().as_os_str().is_empty() => {
            RootfsSource::Directory(over.bundle.join(root.path()))
        }
        _ => return Err(invalid("root.path is missing")),
    };
    let propagation = match linux.rootfs_propagation().as_deref() {
        None | Some("") => None,
        Some(name) => Some(mount_options::propagation(name).ok_or_else(|| {
            invalid(format!("linux.rootfsPropagation: {name:?} is no propagation"))
        })?),
    };
    Ok(Rootfs { source, readonly: root.and_then(|r| r.readonly()).unwrap_or(false), propagation })
}

fn seccomp(
    spec: &Spec,
    linux: &Linux,
    (host, over): (&Host, &Overrides),
) -> Result<Option<Seccomp>> {
    let mut filter = match (&over.seccomp, linux.seccomp()) {
        (Some(compiled), _) => compiled.clone(),
        (None, None) => return Ok(None),
        (None, Some(_)) if !host.seccomp => {
            return Err(invalid("linux.seccomp: this kernel has no seccomp"));
        }
        (None, Some(profile)) => crate::seccomp::compile(profile, crate::seccomp::Arch::NATIVE)
            .context(|| "linux.seccomp")?,
    };
    if let Some(listener) = &mut filter.listener {
        let place = over.hooks.as_ref();
        let place = place.ok_or_else(|| invalid("linux.seccomp.listenerPath is not supported"))?;
        listener.oci_version.clone_from(spec.version());
        listener.state = hooks::open_state(spec, place);
    }
    Ok(Some(filter))
}

fn listens(filter: Option<&Seccomp>) -> bool {
    filter.is_some_and(|filter| filter.listener.is_some())
}

/// An error about the configuration.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}
