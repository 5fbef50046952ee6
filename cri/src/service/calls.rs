//! Pods and containers, RPC by RPC.

use super::{Service, required, to_status};
use crate::convert;
use futures::StreamExt;
use rrun_cni::Filled;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Cri, Messages};
use std::time::Duration;
use tonic::{Status, async_trait};

type Answer<T> = Result<T, Status>;

/// Items of one message of a streamed list: a message stays far below a client's limit.
const BATCH: usize = 1000;

#[async_trait]
impl Cri for Service {
    async fn version(&self, _: VersionRequest) -> Answer<VersionResponse> {
        Ok(super::status::version())
    }

    async fn status(&self, r: StatusRequest) -> Answer<StatusResponse> {
        self.clients.asked_for_status();
        Ok(self.runtime_status(r.verbose).await)
    }

    async fn runtime_config(&self, _: RuntimeConfigRequest) -> Answer<RuntimeConfigResponse> {
        let cgroup_driver = match self.engine.cgroup_driver() {
            rrun_engine::CgroupDriver::Systemd => CgroupDriver::Systemd,
            rrun_engine::CgroupDriver::Cgroupfs => CgroupDriver::Cgroupfs,
        } as i32;
        Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver }) })
    }

    async fn update_runtime_config(
        &self,
        r: UpdateRuntimeConfigRequest,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        let network = r.runtime_config.unwrap_or_default().network_config.unwrap_or_default();
        let cidrs = convert::pod_cidrs(&network.pod_cidr).map_err(to_status)?;
        if cidrs.is_empty() {
            return Ok(UpdateRuntimeConfigResponse {});
        }
        let pod_cidr = network.pod_cidr;
        match self.network.fill_template(cidrs).await.map_err(to_status)? {
            Filled::Written(file) => tracing::info!(pod_cidr, "{} has it", file.display()),
            Filled::Other(file) => {
                tracing::info!(pod_cidr, "not used: {} is there already", file.display());
            }
            // An error would keep the kubelet from going on, which asks this of every runtime.
            Filled::Nothing => tracing::info!(
                pod_cidr,
                "not used: CNI plugins have it from their configuration (network.conf_template is \
                 none), the built-in bridge from network.subnet"
            ),
        }
        Ok(UpdateRuntimeConfigResponse {})
    }

    async fn run_pod_sandbox(&self, r: RunPodSandboxRequest) -> Answer<RunPodSandboxResponse> {
        let config = convert::pod_config(required(r.config, "config")?).map_err(to_status)?;
        let pod = self.engine.run_pod(&self.owner, config, &r.runtime_handler).await;
        Ok(RunPodSandboxResponse { pod_sandbox_id: pod.map_err(to_status)?.to_string() })
    }

    async fn stop_pod_sandbox(&self, r: StopPodSandboxRequest) -> Answer<StopPodSandboxResponse> {
        self.engine.stop_pod(&self.owner, &r.pod_sandbox_id).await.map_err(to_status)?;
        Ok(StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        r: RemovePodSandboxRequest,
    ) -> Answer<RemovePodSandboxResponse> {
        self.engine.remove_pod(&self.owner, &r.pod_sandbox_id).await.map_err(to_status)?;
        Ok(RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        r: PodSandboxStatusRequest,
    ) -> Answer<PodSandboxStatusResponse> {
        let timestamp = rrun_sys::time::now();
        let pod = self.engine.pod_status(&self.owner, &r.pod_sandbox_id, r.verbose).await;
        // To ask is how a client learns that something is gone: no news for the log.
        let pod = pod.map_err(|error| convert::status(&error))?;
        let (status, info) = convert::pod_status(&pod);
        let containers =
            self.engine.pod_containers(&self.owner, pod.id.as_str()).map_err(to_status)?;
        Ok(PodSandboxStatusResponse {
            status: Some(status),
            info,
            timestamp,
            containers_statuses: containers
                .iter()
                .map(|container| convert::container_status(container).0)
                .collect(),
        })
    }

    async fn list_pod_sandbox(&self, r: ListPodSandboxRequest) -> Answer<ListPodSandboxResponse> {
        let pods = self.engine.list_pods(&self.owner, &convert::pod_filter(r.filter));
        Ok(ListPodSandboxResponse { items: pods.iter().map(convert::pod_item).collect() })
    }

    async fn stream_pod_sandboxes(
        &self,
        r: StreamPodSandboxesRequest,
    ) -> Answer<Messages<StreamPodSandboxesResponse>> {
        let list = self.list_pod_sandbox(ListPodSandboxRequest { filter: r.filter }).await?;
        Ok(batches(list.items, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes }))
    }

    async fn create_container(&self, r: CreateContainerRequest) -> Answer<CreateContainerResponse> {
        let config = convert::container_config(required(r.config, "config")?).map_err(to_status)?;
        let made = self.engine.create_container(&self.owner, &r.pod_sandbox_id, config).await;
        Ok(CreateContainerResponse { container_id: made.map_err(to_status)?.to_string() })
    }

    async fn start_container(&self, r: StartContainerRequest) -> Answer<StartContainerResponse> {
        self.engine.start_container(&self.owner, &r.container_id).await.map_err(to_status)?;
        Ok(StartContainerResponse {})
    }

    async fn stop_container(&self, r: StopContainerRequest) -> Answer<StopContainerResponse> {
        let grace = Duration::from_secs(r.timeout.try_into().unwrap_or(0));
        self.engine.stop_container(&self.owner, &r.container_id, grace).await.map_err(to_status)?;
        Ok(StopContainerResponse {})
    }

    async fn remove_container(&self, r: RemoveContainerRequest) -> Answer<RemoveContainerResponse> {
        self.engine.remove_container(&self.owner, &r.container_id).await.map_err(to_status)?;
        Ok(RemoveContainerResponse {})
    }

    async fn container_status(&self, r: ContainerStatusRequest) -> Answer<ContainerStatusResponse> {
        let found = self.engine.container_status(&self.owner, &r.container_id, r.verbose).await;
        let found = found.map_err(|error| convert::status(&error))?;
        let (status, info) = convert::container_status(&found);
        Ok(ContainerStatusResponse { status: Some(status), info })
    }

    async fn list_containers(&self, r: ListContainersRequest) -> Answer<ListContainersResponse> {
        let Some(filter) = convert::container_filter(r.filter) else {
            return Ok(ListContainersResponse { containers: Vec::new() });
        };
        let found = self.engine.list_containers(&self.owner, &filter);
        let containers = found.iter().map(convert::container_item).collect();
        Ok(ListContainersResponse { containers })
    }

    async fn stream_containers(
        &self,
        r: StreamContainersRequest,
    ) -> Answer<Messages<StreamContainersResponse>> {
        let list = self.list_containers(ListContainersRequest { filter: r.filter }).await?;
        Ok(batches(list.containers, |containers| StreamContainersResponse { containers }))
    }

    async fn update_container_resources(
        &self,
        r: UpdateContainerResourcesRequest,
    ) -> Answer<UpdateContainerResourcesResponse> {
        let container = r.container_id.clone();
        let limits = convert::changed_resources(r).map_err(to_status)?;
        let updated = self.engine.update_resources(&self.owner, &container, limits).await;
        updated.map_err(to_status)?;
        Ok(UpdateContainerResourcesResponse {})
    }

    async fn update_pod_sandbox_resources(
        &self,
        r: UpdatePodSandboxResourcesRequest,
    ) -> Answer<UpdatePodSandboxResourcesResponse> {
        let [overhead, resources] =
            [r.overhead, r.resources].map(|limits| limits.map(convert::resources));
        let id = &r.pod_sandbox_id;
        let updated = self.engine.update_pod_resources(&self.owner, id, overhead, resources).await;
        updated.map_err(to_status)?;
        Ok(UpdatePodSandboxResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        r: ReopenContainerLogRequest,
    ) -> Answer<ReopenContainerLogResponse> {
        self.engine.reopen_log(&self.owner, &r.container_id).await.map_err(to_status)?;
        Ok(ReopenContainerLogResponse {})
    }

    async fn checkpoint_container(
        &self,
        r: CheckpointContainerRequest,
    ) -> Answer<CheckpointContainerResponse> {
        let limit = match u64::try_from(r.timeout) {
            Ok(0) => None,
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let words = format!("checkpoint container: timeout {} is negative", r.timeout);
                return Err(Status::invalid_argument(words));
            }
        };
        let (id, location) = (&r.container_id, &r.location);
        let made = self.engine.checkpoint_container(&self.owner, id, location, limit).await;
        made.map_err(to_status)?;
        Ok(CheckpointContainerResponse {})
    }

    async fn exec_sync(&self, r: ExecSyncRequest) -> Answer<ExecSyncResponse> {
        let timeout = u64::try_from(r.timeout).ok().filter(|s| *s > 0).map(Duration::from_secs);
        let ended = self.engine.exec_sync(&self.owner, &r.container_id, r.cmd, timeout).await;
        let output = ended.map_err(to_status)?;
        Ok(ExecSyncResponse {
            stdout: output.stdout,
            stderr: output.stderr,
            exit_code: output.code,
        })
    }

    async fn exec(&self, r: ExecRequest) -> Answer<ExecResponse> {
        self.must_run(&r.container_id).await?;
        Ok(ExecResponse { url: self.streaming.exec_url(r)? })
    }

    async fn attach(&self, r: AttachRequest) -> Answer<AttachResponse> {
        self.must_run(&r.container_id).await?;
        Ok(AttachResponse { url: self.streaming.attach_url(r)? })
    }

    async fn port_forward(&self, r: PortForwardRequest) -> Answer<PortForwardResponse> {
        let pod = self.engine.pod_status(&self.owner, &r.pod_sandbox_id, false).await;
        if !pod.map_err(to_status)?.is_ready() {
            let words = format!("port-forward: pod {} is not ready", r.pod_sandbox_id);
            return Err(Status::failed_precondition(words));
        }
        Ok(PortForwardResponse { url: self.streaming.port_forward_url(r)? })
    }

    async fn container_stats(&self, r: ContainerStatsRequest) -> Answer<ContainerStatsResponse> {
        let stats = self.engine.container_stats(&self.owner, &r.container_id).await;
        let stats = Some(convert::container_stats(&stats.map_err(to_status)?));
        Ok(ContainerStatsResponse { stats })
    }

    async fn list_container_stats(
        &self,
        r: ListContainerStatsRequest,
    ) -> Answer<ListContainerStatsResponse> {
        let filter = r.filter.unwrap_or_default();
        let wanted = ContainerFilter {
            id: filter.id,
            pod_sandbox_id: filter.pod_sandbox_id,
            label_selector: filter.label_selector,
            state: None,
        };
        let filter = convert::container_filter(Some(wanted)).unwrap_or_default();
        let stats = self.engine.list_container_stats(&self.owner, &filter).await;
        let stats = stats.iter().map(convert::container_stats).collect();
        Ok(ListContainerStatsResponse { stats })
    }

    async fn stream_container_stats(
        &self,
        r: StreamContainerStatsRequest,
    ) -> Answer<Messages<StreamContainerStatsResponse>> {
        let list = ListContainerStatsRequest { filter: r.filter };
        let list = self.list_container_stats(list).await?;
        let message = |container_stats| StreamContainerStatsResponse { container_stats };
        Ok(batches(list.stats, message))
    }

    async fn pod_sandbox_stats(
        &self,
        r: PodSandboxStatsRequest,
    ) -> Answer<PodSandboxStatsResponse> {
        let stats =
            self.engine.pod_stats(&self.owner, &r.pod_sandbox_id).await.map_err(to_status)?;
        Ok(PodSandboxStatsResponse { stats: Some(convert::pod_stats(&stats)) })
    }

    async fn list_pod_sandbox_stats(
        &self,
        r: ListPodSandboxStatsRequest,
    ) -> Answer<ListPodSandboxStatsResponse> {
        let filter = r.filter.unwrap_or_default();
        let wanted =
            PodSandboxFilter { id: filter.id, label_selector: filter.label_selector, state: None };
        let filter = convert::pod_filter(Some(wanted));
        let stats = self.engine.list_pod_stats(&self.owner, &filter).await;
        Ok(ListPodSandboxStatsResponse { stats: stats.iter().map(convert::pod_stats).collect() })
    }

    async fn stream_pod_sandbox_stats(
        &self,
        r: StreamPodSandboxStatsRequest,
    ) -> Answer<Messages<StreamPodSandboxStatsResponse>> {
        let list = ListPodSandboxStatsRequest { filter: r.filter };
        let list = self.list_pod_sandbox_stats(list).await?;
        let message = |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats };
        Ok(batches(list.stats, message))
    }

    async fn list_metric_descriptors(
        &self,
        _: ListMetricDescriptorsRequest,
    ) -> Answer<ListMetricDescriptorsResponse> {
        Ok(ListMetricDescriptorsResponse { descriptors: convert::metric_descriptors() })
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: ListPodSandboxMetricsRequest,
    ) -> Answer<ListPodSandboxMetricsResponse> {
        let pods = self.engine.list_pod_metrics(&self.owner).await;
        let pod_metrics = pods.iter().map(convert::pod_metrics).collect();
        Ok(ListPodSandboxMetricsResponse { pod_metrics })
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: StreamPodSandboxMetricsRequest,
    ) -> Answer<Messages<StreamPodSandboxMetricsResponse>> {
        let pods = self.engine.list_pod_metrics(&self.owner).await;
        // A pod has some hundred samples: its messages are made one after the other, as they are sent.
        let messages = pods.into_iter().map(|pod| {
            let pod_sandbox_metrics = vec![convert::pod_metrics(&pod)];
            Ok(StreamPodSandboxMetricsResponse { pod_sandbox_metrics })
        });
        Ok(futures::stream::iter(messages).boxed())
    }

    async fn get_container_events(
        &self,
        _: GetEventsRequest,
    ) -> Answer<Messages<ContainerEventResponse>> {
        Ok(super::events::stream(self.engine.events(&self.owner), self.ending.clone()))
    }

    async fn list_images(&self, r: ListImagesRequest) -> Answer<ListImagesResponse> {
        self.images_listed(r.filter).await
    }

    async fn list_images_encoded(
        &self,
        r: ListImagesRequest,
    ) -> Answer<rrun_cri_api::Answer<ListImagesResponse>> {
        self.images_encoded(r.filter).await
    }

    async fn stream_images(
        &self,
        r: StreamImagesRequest,
    ) -> Answer<Messages<StreamImagesResponse>> {
        let list = self.images_listed(r.filter).await?;
        Ok(batches(list.images, |images| StreamImagesResponse { images }))
    }

    async fn image_status(&self, r: ImageStatusRequest) -> Answer<ImageStatusResponse> {
        self.image_found(r.image, r.verbose).await
    }

    async fn pull_image(&self, r: PullImageRequest) -> Answer<PullImageResponse> {
        self.image_pulled(r).await
    }

    async fn remove_image(&self, r: RemoveImageRequest) -> Answer<RemoveImageResponse> {
        self.image_removed(r.image).await
    }

    async fn image_fs_info(&self, _: ImageFsInfoRequest) -> Answer<ImageFsInfoResponse> {
        self.image_usage().await
    }
}

impl Service {
    /// Exec and attach want a running container, before their URL is given out.
    async fn must_run(&self, id: &str) -> Answer<()> {
        let status =
            self.engine.container_status(&self.owner, id, false).await.map_err(to_status)?;
        match status.phase {
            rrun_engine::ContainerPhase::Running => Ok(()),
            phase => {
                let (name, phase) = (&status.config.name, format!("{phase:?}").to_lowercase());
                let words = format!("container {name} is {phase}, not running");
                Err(Status::failed_precondition(words))
            }
        }
    }
}

/// A list in messages of at most [`BATCH`] items; an empty list is an empty stream.
fn batches<I, M>(items: Vec<I>, message: impl Fn(Vec<I>) -> M) -> Messages<M>
where
    I: Send + 'static,
    M: Send + 'static,
{
    let mut items = items.into_iter().peekable();
    let mut messages = Vec::new();
    while items.peek().is_some() {
        messages.push(Ok(message(items.by_ref().take(BATCH).collect())));
    }
    futures::stream::iter(messages).boxed()
}
