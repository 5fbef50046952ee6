//! The OCI configuration of a container.

use super::capabilities::{self, Sets};
use super::devices::{self, HostDevice};
use super::mounts::{self, MountInput};
use super::user::Who;
use super::{process, resources};
use crate::error::Result;
use crate::files;
use crate::groups;
use crate::model::{ContainerConfig, NamespaceMode, PodConfig};
use crate::ports::ImageConfig;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Everything that a configuration depends on.
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a PodConfig,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) image: &'a ImageConfig,
    pub(crate) who: &'a Who,
    /// The devices that were asked for, or all of the host for a privileged container.
    pub(crate) devices: &'a [HostDevice],
    /// The container's group, in cgroupfs spelling.
    pub(crate) cgroup: &'a str,
    pub(crate) netns: Option<&'a Path>,
    pub(crate) hostname: &'a str,
    /// Name of the AppArmor profile; `None` is unconfined.
    pub(crate) apparmor: Option<&'a str>,
    /// Capabilities that the daemon can pass on.
    pub(crate) capabilities: u64,
    /// The host has nothing but cgroup v2.
    pub(crate) unified: bool,
    pub(crate) files: &'a Path,
    pub(crate) mountinfo: &'a str,
    pub(crate) real_paths: &'a [(String, String)],
}

/// The configuration of a container, without its seccomp profile.
pub(crate) fn build(from: &Inputs<'_>) -> Result<Value> {
    let security = &from.config.security;
    let args = process::args(from.config, from.image)?;
    let env = process::env(from.config, from.image, from.hostname, from.who.home.as_deref());
    let sets = capabilities::sets(security, from.capabilities)?;
    let input = MountInput {
        config: from.config,
        files: from.files,
        mountinfo: from.mountinfo,
        real_paths: from.real_paths,
        users: from.pod.security.namespaces.own_users(),
    };
    let (mounts, propagation) = mounts::mounts(&input)?;
    let text: Vec<_> = env.iter().map(|var| String::from_utf8_lossy(var)).collect();
    let mut process = json!({
        "terminal": from.config.tty,
        "user": {
            "uid": from.who.user.uid, "gid": from.who.user.gid,
            "additionalGids": from.who.user.groups,
        },
        "args": args,
        "env": text,
        "cwd": process::cwd(from.config, from.image),
        "capabilities": capability_sets(sets),
        "noNewPrivileges": security.no_new_privs,
    });
    // 0 is what a client that sends no limits means by none.
    if let Some(limits) = &from.config.resources {
        process["oomScoreAdj"] = json!(limits.oom_score_adj);
    }
    if let Some(profile) = from.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    let mut linux = json!({
        "cgroupsPath": groups::in_configuration(from.cgroup),
        "namespaces": namespaces(from),
        "resources": limits(from),
        "devices": from.devices.iter().map(HostDevice::node).collect::<Vec<_>>(),
        "maskedPaths": if security.privileged { &[][..] } else { &security.masked_paths[..] },
        "readonlyPaths": if security.privileged { &[][..] } else { &security.readonly_paths[..] },
    });
    if let Some(users) = from.pod.security.namespaces.own_users() {
        linux["uidMappings"] = mounts::mappings(&users.uids);
        linux["gidMappings"] = mounts::mappings(&users.gids);
    }
    if let Some(propagation) = propagation {
        linux["rootfsPropagation"] = json!(propagation);
    }
    Ok(json!({
        "ociVersion": "1.2.1",
        "root": { "path": "rootfs", "readonly": security.readonly_rootfs },
        "process": process,
        "mounts": mounts,
        "linux": linux,
        "annotations": from.config.annotations,
    }))
}

fn capability_sets(sets: Sets) -> Value {
    let (held, ambient) = (capabilities::names(sets.held), capabilities::names(sets.ambient));
    json!({
        "bounding": held, "effective": held, "permitted": held,
        "inheritable": ambient, "ambient": ambient,
    })
}

fn limits(from: &Inputs<'_>) -> Map<String, Value> {
    let asked = from.config.resources.as_ref();
    let mut all = asked.map(resources::resources).unwrap_or_default();
    let rules = devices::rules(from.config.security.privileged, from.devices);
    all.insert("devices".to_owned(), Value::Array(rules));
    all
}

/// Namespaces; those of the pod or of a target that have no path are given to the planner as
/// slots.
fn namespaces(from: &Inputs<'_>) -> Vec<Value> {
    let mut all = vec![json!({"type": "mount"})];
    if files::has_network(from.pod) {
        all.push(match from.netns {
            Some(path) => json!({"type": "network", "path": path}),
            None => json!({"type": "network"}),
        });
        all.push(json!({"type": "uts"}));
    }
    if from.pod.security.namespaces.ipc != NamespaceMode::Node {
        all.push(json!({"type": "ipc"}));
    }
    // A container that says `Pod`, or nothing, has what its pod has.
    let pid = match from.config.security.namespaces.pid {
        NamespaceMode::Pod => from.pod.security.namespaces.pid,
        own => own,
    };
    if pid != NamespaceMode::Node {
        all.push(json!({"type": "pid"}));
    }
    let users = from.pod.security.namespaces.own_users().is_some();
    if users {
        all.push(json!({"type": "user"}));
    }
    // Control groups are mounted by whoever owns the view of them.
    if from.unified && (users || !from.config.security.privileged) {
        all.push(json!({"type": "cgroup"}));
    }
    all
}
