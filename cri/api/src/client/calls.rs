//! The CRI trait over gRPC, one call each.

use async_trait::async_trait;
use futures::StreamExt;
use tonic::Status;

use super::Client;
use crate::v1::*;
use crate::{Cri, Messages};

#[async_trait]
impl Cri for Client {
    async fn version(&self, r: VersionRequest) -> Result<VersionResponse, Status> {
        Ok(self.runtime().version(r).await?.into_inner())
    }

    async fn status(&self, r: StatusRequest) -> Result<StatusResponse, Status> {
        Ok(self.runtime().status(r).await?.into_inner())
    }

    async fn runtime_config(
        &self,
        r: RuntimeConfigRequest,
    ) -> Result<RuntimeConfigResponse, Status> {
        Ok(self.runtime().runtime_config(r).await?.into_inner())
    }

    async fn update_runtime_config(
        &self,
        r: UpdateRuntimeConfigRequest,
    ) -> Result<UpdateRuntimeConfigResponse, Status> {
        Ok(self.runtime().update_runtime_config(r).await?.into_inner())
    }

    async fn run_pod_sandbox(
        &self,
        r: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        Ok(self.runtime().run_pod_sandbox(r).await?.into_inner())
    }

    async fn stop_pod_sandbox(
        &self,
        r: StopPodSandboxRequest,
    ) -> Result<StopPodSandboxResponse, Status> {
        Ok(self.runtime().stop_pod_sandbox(r).await?.into_inner())
    }

    async fn remove_pod_sandbox(
        &self,
        r: RemovePodSandboxRequest,
    ) -> Result<RemovePodSandboxResponse, Status> {
        Ok(self.runtime().remove_pod_sandbox(r).await?.into_inner())
    }

    async fn pod_sandbox_status(
        &self,
        r: PodSandboxStatusRequest,
    ) -> Result<PodSandboxStatusResponse, Status> {
        Ok(self.runtime().pod_sandbox_status(r).await?.into_inner())
    }

    async fn list_pod_sandbox(
        &self,
        r: ListPodSandboxRequest,
    ) -> Result<ListPodSandboxResponse, Status> {
        Ok(self.runtime().list_pod_sandbox(r).await?.into_inner())
    }

    async fn stream_pod_sandboxes(
        &self,
        r: StreamPodSandboxesRequest,
    ) -> Result<Messages<StreamPodSandboxesResponse>, Status> {
        Ok(self.runtime().stream_pod_sandboxes(r).await?.into_inner().boxed())
    }

    async fn update_pod_sandbox_resources(
        &self,
        r: UpdatePodSandboxResourcesRequest,
    ) -> Result<UpdatePodSandboxResourcesResponse, Status> {
        Ok(self.runtime().update_pod_sandbox_resources(r).await?.into_inner())
    }

    async fn create_container(
        &self,
        r: CreateContainerRequest,
    ) -> Result<CreateContainerResponse, Status> {
        Ok(self.runtime().create_container(r).await?.into_inner())
    }

    async fn start_container(
        &self,
        r: StartContainerRequest,
    ) -> Result<StartContainerResponse, Status> {
        Ok(self.runtime().start_container(r).await?.into_inner())
    }

    async fn stop_container(
        &self,
        r: StopContainerRequest,
    ) -> Result<StopContainerResponse, Status> {
        Ok(self.runtime().stop_container(r).await?.into_inner())
    }

    async fn remove_container(
        &self,
        r: RemoveContainerRequest,
    ) -> Result<RemoveContainerResponse, Status> {
        Ok(self.runtime().remove_container(r).await?.into_inner())
    }

    async fn container_status(
        &self,
        r: ContainerStatusRequest,
    ) -> Result<ContainerStatusResponse, Status> {
        Ok(self.runtime().container_status(r).await?.into_inner())
    }

    async fn list_containers(
        &self,
        r: ListContainersRequest,
    ) -> Result<ListContainersResponse, Status> {
        Ok(self.runtime().list_containers(r).await?.into_inner())
    }

    async fn stream_containers(
        &self,
        r: StreamContainersRequest,
    ) -> Result<Messages<StreamContainersResponse>, Status> {
        Ok(self.runtime().stream_containers(r).await?.into_inner().boxed())
    }

    async fn update_container_resources(
        &self,
        r: UpdateContainerResourcesRequest,
    ) -> Result<UpdateContainerResourcesResponse, Status> {
        Ok(self.runtime().update_container_resources(r).await?.into_inner())
    }

    async fn reopen_container_log(
        &self,
        r: ReopenContainerLogRequest,
    ) -> Result<ReopenContainerLogResponse, Status> {
        Ok(self.runtime().reopen_container_log(r).await?.into_inner())
    }

    async fn checkpoint_container(
        &self,
        r: CheckpointContainerRequest,
    ) -> Result<CheckpointContainerResponse, Status> {
        Ok(self.runtime().checkpoint_container(r).await?.into_inner())
    }

    async fn exec_sync(&self, r: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        Ok(self.runtime().exec_sync(r).await?.into_inner())
    }

    async fn exec(&self, r: ExecRequest) -> Result<ExecResponse, Status> {
        Ok(self.runtime().exec(r).await?.into_inner())
    }

    async fn attach(&self, r: AttachRequest) -> Result<AttachResponse, Status> {
        Ok(self.runtime().attach(r).await?.into_inner())
    }

    async fn port_forward(&self, r: PortForwardRequest) -> Result<PortForwardResponse, Status> {
        Ok(self.runtime().port_forward(r).await?.into_inner())
    }

    async fn container_stats(
        &self,
        r: ContainerStatsRequest,
    ) -> Result<ContainerStatsResponse, Status> {
        Ok(self.runtime().container_stats(r).await?.into_inner())
    }

    async fn list_container_stats(
        &self,
        r: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse, Status> {
        Ok(self.runtime().list_container_stats(r).await?.into_inner())
    }

    async fn stream_container_stats(
        &self,
        r: StreamContainerStatsRequest,
    ) -> Result<Messages<StreamContainerStatsResponse>, Status> {
        Ok(self.runtime().stream_container_stats(r).await?.into_inner().boxed())
    }

    async fn pod_sandbox_stats(
        &self,
        r: PodSandboxStatsRequest,
    ) -> Result<PodSandboxStatsResponse, Status> {
        Ok(self.runtime().pod_sandbox_stats(r).await?.into_inner())
    }

    async fn list_pod_sandbox_stats(
        &self,
        r: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse, Status> {
        Ok(self.runtime().list_pod_sandbox_stats(r).await?.into_inner())
    }

    async fn stream_pod_sandbox_stats(
        &self,
        r: StreamPodSandboxStatsRequest,
    ) -> Result<Messages<StreamPodSandboxStatsResponse>, Status> {
        Ok(self.runtime().stream_pod_sandbox_stats(r).await?.into_inner().boxed())
    }

    async fn get_container_events(
        &self,
        r: GetEventsRequest,
    ) -> Result<Messages<ContainerEventResponse>, Status> {
        Ok(self.runtime().get_container_events(r).await?.into_inner().boxed())
    }

    async fn list_metric_descriptors(
        &self,
        r: ListMetricDescriptorsRequest,
    ) -> Result<ListMetricDescriptorsResponse, Status> {
        Ok(self.runtime().list_metric_descriptors(r).await?.into_inner())
    }

    async fn list_pod_sandbox_metrics(
        &self,
        r: ListPodSandboxMetricsRequest,
    ) -> Result<ListPodSandboxMetricsResponse, Status> {
        Ok(self.runtime().list_pod_sandbox_metrics(r).await?.into_inner())
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        r: StreamPodSandboxMetricsRequest,
    ) -> Result<Messages<StreamPodSandboxMetricsResponse>, Status> {
        Ok(self.runtime().stream_pod_sandbox_metrics(r).await?.into_inner().boxed())
    }

    async fn list_images(&self, r: ListImagesRequest) -> Result<ListImagesResponse, Status> {
        Ok(self.images().list_images(r).await?.into_inner())
    }

    async fn stream_images(
        &self,
        r: StreamImagesRequest,
    ) -> Result<Messages<StreamImagesResponse>, Status> {
        Ok(self.images().stream_images(r).await?.into_inner().boxed())
    }

    async fn image_status(&self, r: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
        Ok(self.images().image_status(r).await?.into_inner())
    }

    async fn pull_image(&self, r: PullImageRequest) -> Result<PullImageResponse, Status> {
        Ok(self.images().pull_image(r).await?.into_inner())
    }

    async fn remove_image(&self, r: RemoveImageRequest) -> Result<RemoveImageResponse, Status> {
        Ok(self.images().remove_image(r).await?.into_inner())
    }

    async fn image_fs_info(&self, r: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
        Ok(self.images().image_fs_info(r).await?.into_inner())
    }
}
