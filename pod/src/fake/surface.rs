//! The CRI surface of the runtime in memory.

use async_trait::async_trait;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Cri, Messages};
use tonic::Status;

use super::FakeCri;

fn none<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not in memory"))
}

#[async_trait]
impl Cri for FakeCri {
    async fn version(&self, r: VersionRequest) -> Result<VersionResponse, Status> {
        self.do_version(r).await
    }

    async fn status(&self, _: StatusRequest) -> Result<StatusResponse, Status> {
        none()
    }

    async fn runtime_config(
        &self,
        _: RuntimeConfigRequest,
    ) -> Result<RuntimeConfigResponse, Status> {
        none()
    }

    async fn update_runtime_config(
        &self,
        _: UpdateRuntimeConfigRequest,
    ) -> Result<UpdateRuntimeConfigResponse, Status> {
        none()
    }

    async fn run_pod_sandbox(
        &self,
        r: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
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
        self.do_list_pod_sandbox(r).await
    }

    async fn stream_pod_sandboxes(
        &self,
        _: StreamPodSandboxesRequest,
    ) -> Result<Messages<StreamPodSandboxesResponse>, Status> {
        none()
    }

    async fn update_pod_sandbox_resources(
        &self,
        _: UpdatePodSandboxResourcesRequest,
    ) -> Result<UpdatePodSandboxResourcesResponse, Status> {
        none()
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

    async fn list_containers(
        &self,
        r: ListContainersRequest,
    ) -> Result<ListContainersResponse, Status> {
        self.do_list_containers(r).await
    }

    async fn stream_containers(
        &self,
        _: StreamContainersRequest,
    ) -> Result<Messages<StreamContainersResponse>, Status> {
        none()
    }

    async fn update_container_resources(
        &self,
        _: UpdateContainerResourcesRequest,
    ) -> Result<UpdateContainerResourcesResponse, Status> {
        none()
    }

    async fn reopen_container_log(
        &self,
        _: ReopenContainerLogRequest,
    ) -> Result<ReopenContainerLogResponse, Status> {
        none()
    }

    async fn checkpoint_container(
        &self,
        _: CheckpointContainerRequest,
    ) -> Result<CheckpointContainerResponse, Status> {
        none()
    }

    async fn exec_sync(&self, r: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        self.do_exec_sync(r).await
    }

    async fn exec(&self, _: ExecRequest) -> Result<ExecResponse, Status> {
        none()
    }

    async fn attach(&self, _: AttachRequest) -> Result<AttachResponse, Status> {
        none()
    }

    async fn port_forward(&self, _: PortForwardRequest) -> Result<PortForwardResponse, Status> {
        none()
    }

    async fn container_stats(
        &self,
        _: ContainerStatsRequest,
    ) -> Result<ContainerStatsResponse, Status> {
        none()
    }

    async fn list_container_stats(
        &self,
        _: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse, Status> {
        none()
    }

    async fn stream_container_stats(
        &self,
        _: StreamContainerStatsRequest,
    ) -> Result<Messages<StreamContainerStatsResponse>, Status> {
        none()
    }

    async fn pod_sandbox_stats(
        &self,
        _: PodSandboxStatsRequest,
    ) -> Result<PodSandboxStatsResponse, Status> {
        none()
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse, Status> {
        none()
    }

    async fn stream_pod_sandbox_stats(
        &self,
        _: StreamPodSandboxStatsRequest,
    ) -> Result<Messages<StreamPodSandboxStatsResponse>, Status> {
        none()
    }

    async fn get_container_events(
        &self,
        _: GetEventsRequest,
    ) -> Result<Messages<ContainerEventResponse>, Status> {
        none()
    }

    async fn list_metric_descriptors(
        &self,
        _: ListMetricDescriptorsRequest,
    ) -> Result<ListMetricDescriptorsResponse, Status> {
        none()
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: ListPodSandboxMetricsRequest,
    ) -> Result<ListPodSandboxMetricsResponse, Status> {
        none()
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: StreamPodSandboxMetricsRequest,
    ) -> Result<Messages<StreamPodSandboxMetricsResponse>, Status> {
        none()
    }

    async fn list_images(&self, _: ListImagesRequest) -> Result<ListImagesResponse, Status> {
        none()
    }

    async fn stream_images(
        &self,
        _: StreamImagesRequest,
    ) -> Result<Messages<StreamImagesResponse>, Status> {
        none()
    }

    async fn image_status(&self, r: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
        self.do_image_status(r).await
    }

    async fn pull_image(&self, r: PullImageRequest) -> Result<PullImageResponse, Status> {
        self.do_pull_image(r).await
    }

    async fn remove_image(&self, _: RemoveImageRequest) -> Result<RemoveImageResponse, Status> {
        none()
    }

    async fn image_fs_info(&self, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
        none()
    }
}
