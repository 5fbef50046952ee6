//! The runtime service, one delegation per RPC.

use tonic::{Request, Response, Status, async_trait};

use super::Service;
use crate::v1::runtime_service_server::RuntimeService;
use crate::v1::*;
use crate::{Cri, Messages};

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl<C: Cri + 'static> RuntimeService for Service<C> {
    type StreamPodSandboxesStream = Messages<StreamPodSandboxesResponse>;
    type StreamContainersStream = Messages<StreamContainersResponse>;
    type StreamContainerStatsStream = Messages<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Messages<StreamPodSandboxStatsResponse>;
    type GetContainerEventsStream = Messages<ContainerEventResponse>;
    type StreamPodSandboxMetricsStream = Messages<StreamPodSandboxMetricsResponse>;

    async fn version(&self, r: Request<VersionRequest>) -> Answer<VersionResponse> {
        self.call("Version", r, |cri, r| async move { cri.version(r).await }).await
    }

    async fn status(&self, r: Request<StatusRequest>) -> Answer<StatusResponse> {
        self.call("Status", r, |cri, r| async move { cri.status(r).await }).await
    }

    async fn runtime_config(
        &self,
        r: Request<RuntimeConfigRequest>,
    ) -> Answer<RuntimeConfigResponse> {
        self.call("RuntimeConfig", r, |cri, r| async move { cri.runtime_config(r).await }).await
    }

    async fn update_runtime_config(
        &self,
        r: Request<UpdateRuntimeConfigRequest>,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        self.call(
            "UpdateRuntimeConfig",
            r,
            |cri, r| async move { cri.update_runtime_config(r).await },
        )
        .await
    }

    async fn run_pod_sandbox(
        &self,
        r: Request<RunPodSandboxRequest>,
    ) -> Answer<RunPodSandboxResponse> {
        self.call("RunPodSandbox", r, |cri, r| async move { cri.run_pod_sandbox(r).await }).await
    }

    async fn stop_pod_sandbox(
        &self,
        r: Request<StopPodSandboxRequest>,
    ) -> Answer<StopPodSandboxResponse> {
        self.call("StopPodSandbox", r, |cri, r| async move { cri.stop_pod_sandbox(r).await }).await
    }

    async fn remove_pod_sandbox(
        &self,
        r: Request<RemovePodSandboxRequest>,
    ) -> Answer<RemovePodSandboxResponse> {
        self.call("RemovePodSandbox", r, |cri, r| async move { cri.remove_pod_sandbox(r).await })
            .await
    }

    async fn pod_sandbox_status(
        &self,
        r: Request<PodSandboxStatusRequest>,
    ) -> Answer<PodSandboxStatusResponse> {
        self.call("PodSandboxStatus", r, |cri, r| async move { cri.pod_sandbox_status(r).await })
            .await
    }

    async fn list_pod_sandbox(
        &self,
        r: Request<ListPodSandboxRequest>,
    ) -> Answer<ListPodSandboxResponse> {
        self.call("ListPodSandbox", r, |cri, r| async move { cri.list_pod_sandbox(r).await }).await
    }

    async fn stream_pod_sandboxes(
        &self,
        r: Request<StreamPodSandboxesRequest>,
    ) -> Answer<Messages<StreamPodSandboxesResponse>> {
        self.stream(
            "StreamPodSandboxes",
            r,
            |cri, r| async move { cri.stream_pod_sandboxes(r).await },
        )
        .await
    }

    async fn update_pod_sandbox_resources(
        &self,
        r: Request<UpdatePodSandboxResourcesRequest>,
    ) -> Answer<UpdatePodSandboxResourcesResponse> {
        self.call("UpdatePodSandboxResources", r, |cri, r| async move {
            cri.update_pod_sandbox_resources(r).await
        })
        .await
    }

    async fn create_container(
        &self,
        r: Request<CreateContainerRequest>,
    ) -> Answer<CreateContainerResponse> {
        self.call("CreateContainer", r, |cri, r| async move { cri.create_container(r).await }).await
    }

    async fn start_container(
        &self,
        r: Request<StartContainerRequest>,
    ) -> Answer<StartContainerResponse> {
        self.call("StartContainer", r, |cri, r| async move { cri.start_container(r).await }).await
    }

    async fn stop_container(
        &self,
        r: Request<StopContainerRequest>,
    ) -> Answer<StopContainerResponse> {
        self.call("StopContainer", r, |cri, r| async move { cri.stop_container(r).await }).await
    }

    async fn remove_container(
        &self,
        r: Request<RemoveContainerRequest>,
    ) -> Answer<RemoveContainerResponse> {
        self.call("RemoveContainer", r, |cri, r| async move { cri.remove_container(r).await }).await
    }

    async fn container_status(
        &self,
        r: Request<ContainerStatusRequest>,
    ) -> Answer<ContainerStatusResponse> {
        self.call("ContainerStatus", r, |cri, r| async move { cri.container_status(r).await }).await
    }

    async fn list_containers(
        &self,
        r: Request<ListContainersRequest>,
    ) -> Answer<ListContainersResponse> {
        self.call("ListContainers", r, |cri, r| async move { cri.list_containers(r).await }).await
    }

    async fn stream_containers(
        &self,
        r: Request<StreamContainersRequest>,
    ) -> Answer<Messages<StreamContainersResponse>> {
        self.stream("StreamContainers", r, |cri, r| async move { cri.stream_containers(r).await })
            .await
    }

    async fn update_container_resources(
        &self,
        r: Request<UpdateContainerResourcesRequest>,
    ) -> Answer<UpdateContainerResourcesResponse> {
        self.call("UpdateContainerResources", r, |cri, r| async move {
            cri.update_container_resources(r).await
        })
        .await
    }

    async fn reopen_container_log(
        &self,
        r: Request<ReopenContainerLogRequest>,
    ) -> Answer<ReopenContainerLogResponse> {
        self.call(
            "ReopenContainerLog",
            r,
            |cri, r| async move { cri.reopen_container_log(r).await },
        )
        .await
    }

    async fn checkpoint_container(
        &self,
        r: Request<CheckpointContainerRequest>,
    ) -> Answer<CheckpointContainerResponse> {
        self.call(
            "CheckpointContainer",
            r,
            |cri, r| async move { cri.checkpoint_container(r).await },
        )
        .await
    }

    async fn exec_sync(&self, r: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        self.lose("ExecSync", r, |cri, r| async move { cri.exec_sync(r).await }).await
    }

    async fn exec(&self, r: Request<ExecRequest>) -> Answer<ExecResponse> {
        self.call("Exec", r, |cri, r| async move { cri.exec(r).await }).await
    }

    async fn attach(&self, r: Request<AttachRequest>) -> Answer<AttachResponse> {
        self.call("Attach", r, |cri, r| async move { cri.attach(r).await }).await
    }

    async fn port_forward(&self, r: Request<PortForwardRequest>) -> Answer<PortForwardResponse> {
        self.call("PortForward", r, |cri, r| async move { cri.port_forward(r).await }).await
    }

    async fn container_stats(
        &self,
        r: Request<ContainerStatsRequest>,
    ) -> Answer<ContainerStatsResponse> {
        self.call("ContainerStats", r, |cri, r| async move { cri.container_stats(r).await }).await
    }

    async fn list_container_stats(
        &self,
        r: Request<ListContainerStatsRequest>,
    ) -> Answer<ListContainerStatsResponse> {
        self.call(
            "ListContainerStats",
            r,
            |cri, r| async move { cri.list_container_stats(r).await },
        )
        .await
    }

    async fn stream_container_stats(
        &self,
        r: Request<StreamContainerStatsRequest>,
    ) -> Answer<Messages<StreamContainerStatsResponse>> {
        self.stream("StreamContainerStats", r, |cri, r| async move {
            cri.stream_container_stats(r).await
        })
        .await
    }

    async fn pod_sandbox_stats(
        &self,
        r: Request<PodSandboxStatsRequest>,
    ) -> Answer<PodSandboxStatsResponse> {
        self.call("PodSandboxStats", r, |cri, r| async move { cri.pod_sandbox_stats(r).await })
            .await
    }

    async fn list_pod_sandbox_stats(
        &self,
        r: Request<ListPodSandboxStatsRequest>,
    ) -> Answer<ListPodSandboxStatsResponse> {
        self.call(
            "ListPodSandboxStats",
            r,
            |cri, r| async move { cri.list_pod_sandbox_stats(r).await },
        )
        .await
    }

    async fn stream_pod_sandbox_stats(
        &self,
        r: Request<StreamPodSandboxStatsRequest>,
    ) -> Answer<Messages<StreamPodSandboxStatsResponse>> {
        self.stream("StreamPodSandboxStats", r, |cri, r| async move {
            cri.stream_pod_sandbox_stats(r).await
        })
        .await
    }

    async fn get_container_events(
        &self,
        r: Request<GetEventsRequest>,
    ) -> Answer<Messages<ContainerEventResponse>> {
        self.stream(
            "GetContainerEvents",
            r,
            |cri, r| async move { cri.get_container_events(r).await },
        )
        .await
    }

    async fn list_metric_descriptors(
        &self,
        r: Request<ListMetricDescriptorsRequest>,
    ) -> Answer<ListMetricDescriptorsResponse> {
        self.call("ListMetricDescriptors", r, |cri, r| async move {
            cri.list_metric_descriptors(r).await
        })
        .await
    }

    async fn list_pod_sandbox_metrics(
        &self,
        r: Request<ListPodSandboxMetricsRequest>,
    ) -> Answer<ListPodSandboxMetricsResponse> {
        self.call("ListPodSandboxMetrics", r, |cri, r| async move {
            cri.list_pod_sandbox_metrics(r).await
        })
        .await
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        r: Request<StreamPodSandboxMetricsRequest>,
    ) -> Answer<Messages<StreamPodSandboxMetricsResponse>> {
        self.stream("StreamPodSandboxMetrics", r, |cri, r| async move {
            cri.stream_pod_sandbox_metrics(r).await
        })
        .await
    }
}
