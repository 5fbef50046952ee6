//! The cgroups of pods, made as the runtime under them makes those of containers.

use crate::context::Context;
use anyhow::{Result, bail};
use rrun_cri::config::Driver;
use rrun_cri_api::{Cri, v1};
use rrun_engine::{CgroupDriver, Kind, Parents, PodGroups, PodLimits};
use rrun_pod::error::{Error, Kind as PodKind};
use rrun_pod::ids::PodUid;
use rrun_pod::node::{CgroupMode, PodCgroups};
use rrun_pod::resources::{CPU_PERIOD, PodCgroup};
use std::sync::Arc;
use tonic::Code;

/// Asks a runtime for its driver, and makes the cgroups of its pods with the same.
pub async fn of_runtime(context: &Context, cri: &dyn Cri) -> Result<Arc<dyn PodCgroups>> {
    let cgroup = &context.config.cgroup;
    let driver = match cri.runtime_config(v1::RuntimeConfigRequest {}).await {
        Ok(config) => match config.linux.map(|linux| linux.cgroup_driver()) {
            Some(v1::CgroupDriver::Systemd) => CgroupDriver::Systemd,
            Some(v1::CgroupDriver::Cgroupfs) | None => CgroupDriver::Cgroupfs,
        },
        // A runtime that does not tell uses cgroupfs unless it was configured, which only the
        // configuration here can say too.
        Err(status) if status.code() == Code::Unimplemented => match cgroup.driver {
            Driver::Systemd => CgroupDriver::Systemd,
            Driver::Auto | Driver::Cgroupfs => CgroupDriver::Cgroupfs,
        },
        Err(status) => bail!("ask for the driver of control groups: {}", status.message()),
    };
    let parents = Parents {
        path: cgroup.parent(CgroupDriver::Cgroupfs),
        slice: cgroup.parent(CgroupDriver::Systemd),
    };
    Ok(Arc::new(EngineGroups(PodGroups::of_host(&cgroup.mount, driver, parents)?)))
}

/// How this machine's control groups are mounted.
pub fn mode(context: &Context) -> Result<CgroupMode> {
    let cgroup = &context.config.cgroup;
    let parents = Parents {
        path: cgroup.parent(CgroupDriver::Cgroupfs),
        slice: cgroup.parent(CgroupDriver::Systemd),
    };
    let groups = PodGroups::of_host(&cgroup.mount, CgroupDriver::Cgroupfs, parents)?;
    Ok(EngineGroups(groups).mode())
}

struct EngineGroups(PodGroups);

impl PodCgroups for EngineGroups {
    fn mode(&self) -> CgroupMode {
        if self.0.is_v2() { CgroupMode::V2 } else { CgroupMode::V1 }
    }

    fn make(&self, uid: &PodUid, limits: &PodCgroup) -> rrun_pod::error::Result<String> {
        self.0.make(uid.as_str(), &pod_limits(limits)).map_err(|error| to_pod(&error))
    }

    fn remove(&self, uid: &PodUid) -> rrun_pod::error::Result<()> {
        self.0.remove(uid.as_str()).map_err(|error| to_pod(&error))
    }
}

/// Where the kubelet has a 0, nothing is limited.
fn pod_limits(limits: &PodCgroup) -> PodLimits {
    let limit = |limit: Option<i64>| limit.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    PodLimits {
        cpu_shares: limit(Some(limits.shares)).unwrap_or(2),
        cpu_quota: limit(limits.quota),
        cpu_period: CPU_PERIOD.unsigned_abs(),
        memory: limit(limits.memory),
        hugepages: limits.hugepages.clone(),
    }
}

fn to_pod(error: &rrun_engine::Error) -> Error {
    let kind = match error.kind() {
        Kind::Invalid => PodKind::Invalid,
        Kind::Exhausted => PodKind::Exhausted,
        Kind::NotFound => PodKind::NotFound,
        _ => PodKind::Unavailable,
    };
    let mut chain: Vec<&str> = error.chain().collect();
    let cause = chain.pop().unwrap_or_default();
    chain.into_iter().rev().fold(Error::new(kind, cause), |error, what| error.context(what))
}
