//! A runtime that does nothing, and a gRPC health server that says what it is asked to.

use async_trait::async_trait;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Cri, Messages};
use tonic::Status;

/// Network probes ask the runtime for nothing.
pub struct Nothing;

fn none<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not asked"))
}

/// `grpc.health.v1` on loopback: `` is serving, `down` is not, the rest is unknown.
pub async fn health_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("down", tonic_health::ServingStatus::NotServing).await;
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    port
}

#[async_trait]
impl Cri for Nothing {
    async fn version(&self, _: VersionRequest) -> Result<VersionResponse, Status> {
        none()
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
        _: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        none()
    }

    async fn stop_pod_sandbox(
        &self,
        _: StopPodSandboxRequest,
    ) -> Result<StopPodSandboxResponse, Status> {
        none()
    }

    async fn remove_pod_sandbox(
        &self,
        _: RemovePodSandboxRequest,
    ) -> Result<RemovePodSandboxResponse, Status> {
        none()
    }

    async fn pod_sandbox_status(
        &self,
        _: PodSandboxStatusRequest,
    ) -> Result<PodSandboxStatusResponse, Status> {
        none()
    }

    async fn list_pod_sandbox(
        &self,
        _: ListPodSandboxRequest,
    ) -> Result<ListPodSandboxResponse, Status> {
        none()
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
        _: CreateContainerRequest,
    ) -> Result<CreateContainerResponse, Status> {
        none()
    }

    async fn start_container(
        &self,
        _: StartContainerRequest,
    ) -> Result<StartContainerResponse, Status> {
        none()
    }

    async fn stop_container(
        &self,
        _: StopContainerRequest,
    ) -> Result<StopContainerResponse, Status> {
        none()
    }

    async fn remove_container(
        &self,
        _: RemoveContainerRequest,
    ) -> Result<RemoveContainerResponse, Status> {
        none()
    }

    async fn container_status(
        &self,
        _: ContainerStatusRequest,
    ) -> Result<ContainerStatusResponse, Status> {
        none()
    }

    async fn list_containers(
        &self,
        _: ListContainersRequest,
    ) -> Result<ListContainersResponse, Status> {
        none()
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

    async fn exec_sync(&self, _: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        none()
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

    async fn image_status(&self, _: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
        none()
    }

    async fn pull_image(&self, _: PullImageRequest) -> Result<PullImageResponse, Status> {
        none()
    }

    async fn remove_image(&self, _: RemoveImageRequest) -> Result<RemoveImageResponse, Status> {
        none()
    }

    async fn image_fs_info(&self, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
        none()
    }
}
