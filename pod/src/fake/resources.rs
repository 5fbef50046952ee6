//! What containers have and use.

use rrun_cri_api::v1::*;
use tonic::Status;

use super::FakeCri;

impl FakeCri {
    pub(super) async fn do_update_container_resources(
        &self,
        r: UpdateContainerResourcesRequest,
    ) -> Result<UpdateContainerResourcesResponse, Status> {
        let name = self.container(&r.container_id)?.config.metadata.unwrap().name;
        let fresh = r.linux.unwrap();
        let (shares, quota) = (fresh.cpu_shares, fresh.cpu_quota);
        self.note(format!("update {name} {shares} {quota} {}", fresh.memory_limit_in_bytes));
        let mut world = self.world.lock().unwrap();
        let container = world.containers.iter_mut().find(|c| c.id == r.container_id).unwrap();
        if let Some(linux) = &mut container.config.linux {
            linux.resources = Some(fresh);
        }
        Ok(UpdateContainerResourcesResponse {})
    }

    pub(super) async fn do_container_stats(
        &self,
        _: ContainerStatsRequest,
    ) -> Result<ContainerStatsResponse, Status> {
        let usage_bytes = Some(UInt64Value { value: *self.memory_used.lock().unwrap() });
        let memory = Some(MemoryUsage { usage_bytes, ..Default::default() });
        let stats = Some(ContainerStats { memory, ..Default::default() });
        Ok(ContainerStatsResponse { stats })
    }
}
