//! What limits a container, as a value: it can be kept, changed and compared.
//!
//! One meaning for create and update. A setting that is not in the map was not spoken of: it stays
//! as it is, which for a new group is what the kernel gives it. [`Value::Unset`] asks for what the
//! kernel gives a new group. Where a configuration says 0 (of memory, shares, a quota, a period, a
//! weight, the number of processes), nothing is said; -1 of a limit is [`Value::Unset`].
//!
//! ```text
//! config.json ─ planning::resources ► asked ──┐
//!                                            ├─► in_force.plan(&asked, …) ──► Cgroups ── make or update
//! record, or none for a new group ► in force ┘   in_force.after(&asked) ──► record
//! ```
//! What takes a change back is the plan of [`Resources::back`].

mod files;
mod io;
mod memory;
mod other;

use super::Controllers;
use super::devices::DevicePolicy;
use crate::plan::{CgroupDir, Cgroups};
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One thing that can be limited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Setting {
    /// Cores, as a list.
    CpusetCpus,
    /// Memory nodes, as a list.
    CpusetMems,
    /// 2 to 262144, relative.
    CpuShares,
    /// µs of processor time in a period.
    CpuQuota,
    /// µs.
    CpuPeriod,
    /// µs that may be saved up.
    CpuBurst,
    /// 1 for a group that runs when nobody else does.
    CpuIdle,
    /// µs, cgroup v1.
    RealtimePeriod,
    /// µs, cgroup v1.
    RealtimeRuntime,
    /// Bytes.
    Memory,
    /// Bytes of memory and swap together.
    MemoryAndSwap,
    /// Bytes that are left to it when memory is short.
    MemoryReservation,
    /// Bytes of TCP buffers, cgroup v1.
    KernelTcp,
    /// 0 to 100, cgroup v1.
    Swappiness,
    /// 1 to hang instead, cgroup v1.
    OomKillDisabled,
    /// Number of processes and threads.
    Pids,
    /// Bytes of huge pages of a size such as `2MB`.
    HugePages(String),
    /// 10 to 1000, relative.
    IoWeight,
    /// The same for one device, `major:minor`.
    IoDeviceWeight(String),
    /// Bytes a second that are read from a device.
    ReadBytes(String),
    /// Bytes a second that are written to a device.
    WriteBytes(String),
    /// Reads a second from a device.
    ReadOperations(String),
    /// Writes a second to a device.
    WriteOperations(String),
    /// Class of what it sends, cgroup v1.
    NetworkClass,
    /// Priority of what it sends through an interface, cgroup v1.
    NetworkPriority(String),
    /// Limits of an RDMA device, as `rdma.max` takes them.
    Rdma(String),
    /// A file of cgroup v2 by its own name.
    Unified(String),
}

/// What a setting is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// What a new group has: no limit, or the kernel's own default.
    Unset,
    /// A number in the setting's unit.
    Number(u64),
    /// A list, or lines for a file.
    Text(String),
}

/// Settings, and what may be done with devices. See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Resources {
    settings: BTreeMap<Setting, Value>,
    devices: Option<DevicePolicy>,
}

/// As it is written down: a map of JSON has strings for keys.
#[derive(Serialize, Deserialize)]
struct Stored {
    settings: Vec<(Setting, Value)>,
    devices: Option<DevicePolicy>,
}

impl From<Stored> for Resources {
    fn from(stored: Stored) -> Resources {
        Resources { settings: stored.settings.into_iter().collect(), devices: stored.devices }
    }
}

impl From<Resources> for Stored {
    fn from(resources: Resources) -> Stored {
        Stored { settings: resources.settings.into_iter().collect(), devices: resources.devices }
    }
}

impl Resources {
    /// Asks for a value.
    pub fn set(&mut self, setting: Setting, value: Value) {
        self.settings.insert(setting, value);
    }

    /// Asks for a policy of devices.
    pub fn set_devices(&mut self, policy: DevicePolicy) {
        self.devices = Some(policy);
    }

    /// What is said of a setting.
    pub fn get(&self, setting: &Setting) -> Option<&Value> {
        self.settings.get(setting)
    }

    /// A setting that has a number.
    pub fn number(&self, setting: &Setting) -> Option<u64> {
        match self.get(setting) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Nothing is said.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.devices.is_none()
    }

    /// What is in force when `change` has come over `self`.
    #[must_use]
    pub fn after(&self, change: &Resources) -> Resources {
        let mut after = self.clone();
        after.settings.extend(change.settings.clone());
        if change.devices.is_some() {
            after.devices.clone_from(&change.devices);
        }
        after
    }

    /// The change that takes `change` back where `self` was in force.
    #[must_use]
    pub fn back(&self, change: &Resources) -> Resources {
        let value = |setting: &Setting| self.get(setting).cloned().unwrap_or(Value::Unset);
        Resources {
            settings: change.settings.keys().map(|key| (key.clone(), value(key))).collect(),
            devices: change.devices.as_ref().and(self.devices.clone()),
        }
    }

    /// What is to be written so that `change` comes over `self`, in an order that the kernel takes
    /// at every step. `dirs` are the container's, `controllers` say which of them is whose.
    ///
    /// # Errors
    /// `Invalid`, naming the field of a configuration: a controller that this host lacks, a
    /// setting that its version of control groups lacks, a swap limit that does not fit the limit
    /// of memory that will be in force.
    pub fn plan(
        &self,
        change: &Resources,
        dirs: &[CgroupDir],
        controllers: &Controllers,
    ) -> Result<Cgroups> {
        let after = self.after(change);
        let mut files =
            files::Files { change, before: self, after: &after, controllers, writes: Vec::new() };
        let device_filter = files.devices()?;
        files.memory()?;
        files.cpu()?;
        files.pids()?;
        files.hugepages()?;
        files.io()?;
        files.network()?;
        files.rdma()?;
        files.unified()?;
        Ok(Cgroups { dirs: dirs.to_vec(), writes: files.writes, device_filter, asked: false })
    }
}

fn missing(controller: &str, field: &str) -> Error {
    invalid(format!("{field}: this host has no {controller} controller for containers"))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}
