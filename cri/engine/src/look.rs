//! What a host has of what an engine needs, without opening one.

use crate::config::CgroupDriver;
use crate::error::{Error, Kind, Result};
use rrun_runtime::cgroup::Layout;
pub use rrun_runtime::cgroup::Mode;
use rrun_sys::kernel::{Feature, features};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What was seen.
pub struct HostLook {
    /// How control groups are set up.
    pub cgroups: Mode,
    /// Where v2 is mounted.
    pub unified: Option<PathBuf>,
    /// Every controller, of v1 and v2.
    pub controllers: BTreeSet<String>,
    /// What the kernel has, each tried as the daemon tries it at its start.
    pub features: Vec<Feature>,
}

impl HostLook {
    /// Looks; `cgroup_root` is where control groups are mounted. Blocks, and changes nothing.
    ///
    /// # Errors
    /// `NotFound` when no control groups are mounted there.
    pub fn take(cgroup_root: &Path) -> Result<HostLook> {
        let layout = Layout::detect(cgroup_root)
            .map_err(|error| Error::from_chain(Kind::NotFound, error.chain()))?;
        let features = features(layout.unified.as_deref(), layout.filters_devices());
        let v1 = layout.v1.into_iter().flat_map(|hierarchy| hierarchy.controllers);
        let controllers = v1.chain(layout.unified_controllers).collect();
        Ok(HostLook { cgroups: layout.mode, unified: layout.unified, controllers, features })
    }
}

impl CgroupDriver {
    /// Refuses a driver that cannot be reached. Blocks.
    ///
    /// # Errors
    /// `Unavailable`, with each socket of systemd that was tried.
    pub fn reach(self) -> Result<()> {
        match self {
            CgroupDriver::Cgroupfs => Ok(()),
            CgroupDriver::Systemd => rrun_runtime::systemd::check()
                .map_err(|error| Error::from_chain(Kind::Unavailable, error.chain())),
        }
    }
}
