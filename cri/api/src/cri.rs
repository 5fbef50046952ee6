//! The CRI surface as one trait.

use async_trait::async_trait;
use futures::stream::BoxStream;
use tonic::Status;

use crate::v1::*;

/// What a server-streaming call answers: messages, or the error that ended them.
pub type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// Both CRI services, without transport: the gRPC client, the daemon's handlers and the engine in
/// the tool's own process are all one of these. Errors are gRPC statuses, as clients act on codes.
/// What an implementation leaves out answers `Unimplemented`, by name.
#[async_trait]
pub trait Cri: Send + Sync {
    /// Name and version of the runtime.
    async fn version(&self, r: VersionRequest) -> Result<VersionResponse, Status> {
        lacks("Version", r)
    }

    /// Conditions, runtime handlers and features; `verbose` adds free-form info.
    async fn status(&self, r: StatusRequest) -> Result<StatusResponse, Status> {
        lacks("Status", r)
    }

    /// What the client must share with the runtime: the cgroup driver.
    async fn runtime_config(
        &self,
        r: RuntimeConfigRequest,
    ) -> Result<RuntimeConfigResponse, Status> {
        lacks("RuntimeConfig", r)
    }

    /// Takes the pod CIDR that the cluster gave to this node.
    async fn update_runtime_config(
        &self,
        r: UpdateRuntimeConfigRequest,
    ) -> Result<UpdateRuntimeConfigResponse, Status> {
        lacks("UpdateRuntimeConfig", r)
    }

    /// Makes a sandbox and starts it. A retry of the same attempt gets the same sandbox.
    async fn run_pod_sandbox(
        &self,
        r: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        lacks("RunPodSandbox", r)
    }

    /// Ends the containers of a sandbox and frees its network. Idempotent.
    async fn stop_pod_sandbox(
        &self,
        r: StopPodSandboxRequest,
    ) -> Result<StopPodSandboxResponse, Status> {
        lacks("StopPodSandbox", r)
    }

    /// Removes a sandbox and its containers, by force. Idempotent.
    async fn remove_pod_sandbox(
        &self,
        r: RemovePodSandboxRequest,
    ) -> Result<RemovePodSandboxResponse, Status> {
        lacks("RemovePodSandbox", r)
    }

    /// One sandbox in full, or `NotFound`.
    async fn pod_sandbox_status(
        &self,
        r: PodSandboxStatusRequest,
    ) -> Result<PodSandboxStatusResponse, Status> {
        lacks("PodSandboxStatus", r)
    }

    /// Sandboxes that match the filter, in one message.
    async fn list_pod_sandbox(
        &self,
        r: ListPodSandboxRequest,
    ) -> Result<ListPodSandboxResponse, Status> {
        lacks("ListPodSandbox", r)
    }

    /// As `list_pod_sandbox`, in parts.
    async fn stream_pod_sandboxes(
        &self,
        r: StreamPodSandboxesRequest,
    ) -> Result<Messages<StreamPodSandboxesResponse>, Status> {
        lacks("StreamPodSandboxes", r)
    }

    /// Tells the runtime of changed limits of the whole pod.
    async fn update_pod_sandbox_resources(
        &self,
        r: UpdatePodSandboxResourcesRequest,
    ) -> Result<UpdatePodSandboxResourcesResponse, Status> {
        lacks("UpdatePodSandboxResources", r)
    }

    /// Makes a container in a ready sandbox; its image must be in the store.
    async fn create_container(
        &self,
        r: CreateContainerRequest,
    ) -> Result<CreateContainerResponse, Status> {
        lacks("CreateContainer", r)
    }

    /// Starts a created container.
    async fn start_container(
        &self,
        r: StartContainerRequest,
    ) -> Result<StartContainerResponse, Status> {
        lacks("StartContainer", r)
    }

    /// Stop signal, then SIGKILL after `timeout` seconds. Idempotent.
    async fn stop_container(
        &self,
        r: StopContainerRequest,
    ) -> Result<StopContainerResponse, Status> {
        lacks("StopContainer", r)
    }

    /// Removes a container, by force. Idempotent.
    async fn remove_container(
        &self,
        r: RemoveContainerRequest,
    ) -> Result<RemoveContainerResponse, Status> {
        lacks("RemoveContainer", r)
    }

    /// One container in full, or `NotFound`.
    async fn container_status(
        &self,
        r: ContainerStatusRequest,
    ) -> Result<ContainerStatusResponse, Status> {
        lacks("ContainerStatus", r)
    }

    /// Containers that match the filter, in one message.
    async fn list_containers(
        &self,
        r: ListContainersRequest,
    ) -> Result<ListContainersResponse, Status> {
        lacks("ListContainers", r)
    }

    /// As `list_containers`, in parts.
    async fn stream_containers(
        &self,
        r: StreamContainersRequest,
    ) -> Result<Messages<StreamContainersResponse>, Status> {
        lacks("StreamContainers", r)
    }

    /// Changes the limits of a container; unset ones stay.
    async fn update_container_resources(
        &self,
        r: UpdateContainerResourcesRequest,
    ) -> Result<UpdateContainerResourcesResponse, Status> {
        lacks("UpdateContainerResources", r)
    }

    /// Opens the log at its path anew, after a rotation.
    async fn reopen_container_log(
        &self,
        r: ReopenContainerLogRequest,
    ) -> Result<ReopenContainerLogResponse, Status> {
        lacks("ReopenContainerLog", r)
    }

    /// Writes a running container to a file.
    async fn checkpoint_container(
        &self,
        r: CheckpointContainerRequest,
    ) -> Result<CheckpointContainerResponse, Status> {
        lacks("CheckpointContainer", r)
    }

    /// Runs a command in a container and waits; at most 16 MiB of output.
    async fn exec_sync(&self, r: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        lacks("ExecSync", r)
    }

    /// A URL at which a command's streams can be had.
    async fn exec(&self, r: ExecRequest) -> Result<ExecResponse, Status> {
        lacks("Exec", r)
    }

    /// A URL at which the streams of a container can be had.
    async fn attach(&self, r: AttachRequest) -> Result<AttachResponse, Status> {
        lacks("Attach", r)
    }

    /// A URL at which connections into a sandbox can be had.
    async fn port_forward(&self, r: PortForwardRequest) -> Result<PortForwardResponse, Status> {
        lacks("PortForward", r)
    }

    /// A sample of one container, or `NotFound`.
    async fn container_stats(
        &self,
        r: ContainerStatsRequest,
    ) -> Result<ContainerStatsResponse, Status> {
        lacks("ContainerStats", r)
    }

    /// Samples of the containers that match the filter, in one message.
    async fn list_container_stats(
        &self,
        r: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse, Status> {
        lacks("ListContainerStats", r)
    }

    /// As `list_container_stats`, in parts.
    async fn stream_container_stats(
        &self,
        r: StreamContainerStatsRequest,
    ) -> Result<Messages<StreamContainerStatsResponse>, Status> {
        lacks("StreamContainerStats", r)
    }

    /// A sample of one sandbox, or `NotFound`.
    async fn pod_sandbox_stats(
        &self,
        r: PodSandboxStatsRequest,
    ) -> Result<PodSandboxStatsResponse, Status> {
        lacks("PodSandboxStats", r)
    }

    /// Samples of the sandboxes that match the filter, in one message.
    async fn list_pod_sandbox_stats(
        &self,
        r: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse, Status> {
        lacks("ListPodSandboxStats", r)
    }

    /// As `list_pod_sandbox_stats`, in parts.
    async fn stream_pod_sandbox_stats(
        &self,
        r: StreamPodSandboxStatsRequest,
    ) -> Result<Messages<StreamPodSandboxStatsResponse>, Status> {
        lacks("StreamPodSandboxStats", r)
    }

    /// Container events from now on, until the client ends the stream.
    async fn get_container_events(
        &self,
        r: GetEventsRequest,
    ) -> Result<Messages<ContainerEventResponse>, Status> {
        lacks("GetContainerEvents", r)
    }

    /// Descriptions of the metrics that this runtime has.
    async fn list_metric_descriptors(
        &self,
        r: ListMetricDescriptorsRequest,
    ) -> Result<ListMetricDescriptorsResponse, Status> {
        lacks("ListMetricDescriptors", r)
    }

    /// Metrics of all sandboxes, in one message.
    async fn list_pod_sandbox_metrics(
        &self,
        r: ListPodSandboxMetricsRequest,
    ) -> Result<ListPodSandboxMetricsResponse, Status> {
        lacks("ListPodSandboxMetrics", r)
    }

    /// As `list_pod_sandbox_metrics`, in parts.
    async fn stream_pod_sandbox_metrics(
        &self,
        r: StreamPodSandboxMetricsRequest,
    ) -> Result<Messages<StreamPodSandboxMetricsResponse>, Status> {
        lacks("StreamPodSandboxMetrics", r)
    }

    /// Images that match the filter, in one message.
    async fn list_images(&self, r: ListImagesRequest) -> Result<ListImagesResponse, Status> {
        lacks("ListImages", r)
    }

    /// As `list_images`, in parts.
    async fn stream_images(
        &self,
        r: StreamImagesRequest,
    ) -> Result<Messages<StreamImagesResponse>, Status> {
        lacks("StreamImages", r)
    }

    /// One image; absent in the answer when there is none.
    async fn image_status(&self, r: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
        lacks("ImageStatus", r)
    }

    /// Pulls an image and answers its id. Dropping the future cancels the pull.
    async fn pull_image(&self, r: PullImageRequest) -> Result<PullImageResponse, Status> {
        lacks("PullImage", r)
    }

    /// Removes an image by reference or id. Idempotent.
    async fn remove_image(&self, r: RemoveImageRequest) -> Result<RemoveImageResponse, Status> {
        lacks("RemoveImage", r)
    }

    /// Disk and inodes that images and containers use.
    async fn image_fs_info(&self, r: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
        lacks("ImageFsInfo", r)
    }
}

/// The answer of a call that an implementation does not have.
fn lacks<R, T>(rpc: &str, _request: R) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{rpc} is not implemented")))
}
