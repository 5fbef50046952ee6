//! The CRI surface of the runtime in memory.

use async_trait::async_trait;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Cri, Messages};
use tonic::Status;

use super::FakeCri;

impl FakeCri {
    fn answers(&self) -> Result<(), Status> {
        let away = *self.away.lock().unwrap();
        if away { Err(Status::unavailable("connection: ENOENT")) } else { Ok(()) }
    }
}

#[async_trait]
impl Cri for FakeCri {
    async fn version(&self, r: VersionRequest) -> Result<VersionResponse, Status> {
        self.do_version(r).await
    }

    async fn run_pod_sandbox(
        &self,
        r: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        self.answers()?;
        self.do_run_pod_sandbox(r).await
    }

    async fn stop_pod_sandbox(
        &self,
        r: StopPodSandboxRequest,
    ) -> Result<StopPodSandboxResponse, Status> {
        self.do_stop_pod_sandbox(r).await
    }

    async fn remove_pod_sandbox(
        &self,
        r: RemovePodSandboxRequest,
    ) -> Result<RemovePodSandboxResponse, Status> {
        self.do_remove_pod_sandbox(r).await
    }

    async fn pod_sandbox_status(
        &self,
        r: PodSandboxStatusRequest,
    ) -> Result<PodSandboxStatusResponse, Status> {
        self.do_pod_sandbox_status(r).await
    }

    async fn list_pod_sandbox(
        &self,
        r: ListPodSandboxRequest,
    ) -> Result<ListPodSandboxResponse, Status> {
        self.answers()?;
        self.do_list_pod_sandbox(r).await
    }

    async fn create_container(
        &self,
        r: CreateContainerRequest,
    ) -> Result<CreateContainerResponse, Status> {
        self.do_create_container(r).await
    }

    async fn start_container(
        &self,
        r: StartContainerRequest,
    ) -> Result<StartContainerResponse, Status> {
        self.do_start_container(r).await
    }

    async fn stop_container(
        &self,
        r: StopContainerRequest,
    ) -> Result<StopContainerResponse, Status> {
        self.do_stop_container(r).await
    }

    async fn remove_container(
        &self,
        r: RemoveContainerRequest,
    ) -> Result<RemoveContainerResponse, Status> {
        self.do_remove_container(r).await
    }

    async fn container_status(
        &self,
        r: ContainerStatusRequest,
    ) -> Result<ContainerStatusResponse, Status> {
        self.do_container_status(r).await
    }

    async fn update_container_resources(
        &self,
        r: UpdateContainerResourcesRequest,
    ) -> Result<UpdateContainerResourcesResponse, Status> {
        self.do_update_container_resources(r).await
    }

    async fn container_stats(
        &self,
        r: ContainerStatsRequest,
    ) -> Result<ContainerStatsResponse, Status> {
        self.do_container_stats(r).await
    }

    async fn list_containers(
        &self,
        r: ListContainersRequest,
    ) -> Result<ListContainersResponse, Status> {
        self.do_list_containers(r).await
    }

    async fn get_container_events(
        &self,
        _: GetEventsRequest,
    ) -> Result<Messages<ContainerEventResponse>, Status> {
        self.answers()?;
        self.events()
    }

    async fn exec_sync(&self, r: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        self.do_exec_sync(r).await
    }

    async fn image_status(&self, r: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
        self.do_image_status(r).await
    }

    async fn pull_image(&self, r: PullImageRequest) -> Result<PullImageResponse, Status> {
        self.do_pull_image(r).await
    }
}
