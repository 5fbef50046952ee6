//! What the status of a container tells beside its state: resources, user and mounts
//! (`convertToAPIContainerStatuses`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Container, RecursiveReadOnly, ResourceList};
use crate::quantity::Quantity;
use crate::sync::observe::{Run, RunState};

/// Canonical quantities by the name of their resource.
pub type Amounts = BTreeMap<String, String>;

/// Requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// What was asked for.
    pub requests: Amounts,
    /// What may not be exceeded.
    pub limits: Amounts,
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// The volume.
    pub name: String,
    /// Where it appears.
    pub mount_path: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether all mounts below it are read-only too; only told of read-only ones.
    pub recursive_read_only: Option<bool>,
    /// Of a volume that is an image, which one the runtime has mounted.
    #[serde(default)]
    pub image_ref: Option<String>,
}

/// Thousandths of a core up to which the kernel's figures are not told: it rounds them up.
const MIN_CPU_LIMIT: i64 = 10;
const MIN_CPU_REQUEST: i64 = 2;

/// As the API spells them.
pub fn amounts(list: &ResourceList) -> Amounts {
    let named =
        [("cpu", list.cpu), ("memory", list.memory), ("ephemeral-storage", list.ephemeral_storage)];
    let named = named.into_iter().filter_map(|(name, q)| Some((name.to_owned(), q?)));
    let huge = list.hugepages.iter().map(|(size, q)| (format!("hugepages-{size}"), *q));
    named.chain(huge).map(|(name, q)| (name, q.canonical())).collect()
}

/// What is in force: of a container that runs, what the runtime tells; else what was asked for.
pub fn in_force(container: &Container, run: &Run) -> ResourceStatus {
    let (asked, told) = (&container.resources, &run.resources);
    let mut status =
        ResourceStatus { requests: amounts(&asked.requests), limits: amounts(&asked.limits) };
    if run.state != RunState::Running {
        return status;
    }
    let more_than = |least: i64, told: i64, asked: Option<Quantity>| {
        told > least || asked.is_some_and(|asked| asked.milli() > least)
    };
    if !status.limits.is_empty() {
        if let Some(milli) = told.cpu_limit
            && more_than(MIN_CPU_LIMIT, milli, asked.limits.cpu)
        {
            status.limits.insert("cpu".into(), Quantity::from_milli(milli).canonical());
        }
        if let Some(bytes) = told.memory_limit {
            status.limits.insert("memory".into(), Quantity::from_bytes(bytes).canonical());
        }
    }
    if !status.requests.is_empty()
        && let Some(milli) = told.cpu_request
        && more_than(MIN_CPU_REQUEST, milli, asked.requests.cpu)
    {
        status.requests.insert("cpu".into(), Quantity::from_milli(milli).canonical());
    }
    status
}

/// `recursive`: the runtime can make the mounts below a read-only mount read-only too. `run` is the
/// latest one.
pub fn mounts(container: &Container, recursive: bool, run: Option<&Run>) -> Vec<MountStatus> {
    let status = |mount: &crate::model::VolumeMount| MountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount
            .read_only
            .then_some(recursive && mount.recursive_read_only != RecursiveReadOnly::Disabled),
        image_ref: run.and_then(|run| run.image_mounts.get(&mount.mount_path).cloned()),
    };
    container.mounts.iter().map(status).collect()
}
