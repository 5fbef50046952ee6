//! The engine: one method per verb.

use crate::blocking::blocking;
use crate::config::{CgroupDriver, Config};
use crate::counts::{self, Counts};
use crate::descriptors::{Descriptors, For};
use crate::error::{Context, Result};
use crate::event::{EventSender, Events};
use crate::id::{ContainerId, Owner, PodId};
use crate::model::{ContainerConfig, PodConfig, Resources};
use crate::plugins::{self, Noted};
use crate::ports::{Ports, WishedUpdate};
use crate::recover::{self, Recovery};
use crate::session::{AttachRequest, ExecOutput, ExecRequest, Forward, Session};
use crate::spec::Planner;
use crate::stats::{ContainerStats, FsUsage, PodMetrics, PodStats};
use crate::status::{
    ContainerFilter, ContainerItem, ContainerStatus, PodFilter, PodItem, PodStatus,
};
use crate::table::{Shared, Table};
use crate::verbs::{
    self, container_end, create_container, remove, run_pod, start_container, stop_pod,
};
use crate::{info, layers, metrics, streams, usage, view};
use std::sync::Arc;
use std::time::Duration;

/// Pods and containers of this machine. Cheap to clone: all clones are one engine.
///
/// Ids may be given by any beginning that is unique. Every call carries its caller's owner: what
/// belongs to another is `NotFound`.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Opens the engine: reads the records, takes what no other process works on, dials the
    /// shims, and brings everything to a state that can be served.
    ///
    /// # Errors
    /// When the state folders cannot be made or read. A broken record is none.
    pub async fn open(config: Config, ports: Ports) -> Result<(Engine, Recovery)> {
        // Those of the network and of the images are run by them, on threads that may block.
        rrun_sys::step::follow(|name| Box::new(tracing::debug_span!("step", name).entered()));
        let planner_config = config.clone();
        let planner = blocking(move || Planner::new(&planner_config)).await?;
        let shared = Arc::new(Shared {
            config,
            ports,
            boot: recover::boot_id(),
            table: Table::default(),
            events: EventSender::new(),
            pod_jobs: Default::default(),
            container_jobs: Default::default(),
            planner,
            host_paths: Default::default(),
            for_commands: Descriptors::new(For::Commands),
            for_attached: Descriptors::new(For::Attached),
            for_forwarded: Descriptors::new(For::Forwarded),
            container_made: Default::default(),
            unlisted: Default::default(),
            scrapers: Default::default(),
            counters: Default::default(),
        });
        layers::watch(&shared);
        metrics::watch(&shared);
        let recovery = recover::recover(&shared).await.context(|| "open engine")?;
        Ok((Engine { shared }, recovery))
    }

    /// What there is of `owner`'s, and what has happened since the engine was opened, in figures.
    pub fn counts(&self, owner: &Owner) -> Counts {
        counts::count(&self.shared, owner)
    }

    /// Ends what the kernel and the network have of a pod of which nothing is on disk, as what is left
    /// of a pod without a record is ended when an engine is opened.
    ///
    /// # Errors
    /// `FailedPrecondition` when there is such a pod by now; what could not be ended.
    pub async fn end_unknown(&self, pod: &PodId) -> Result<()> {
        recover::end_unknown(&self.shared, pod).await
    }

    /// Makes a pod. A retry with the same name, namespace, uid, attempt and config joins the job
    /// that runs, or gets the id of the pod that stands.
    ///
    /// # Errors
    /// `Exists` for another config under that key, or when that pod has been stopped.
    pub async fn run_pod(&self, owner: &Owner, config: PodConfig, handler: &str) -> Result<PodId> {
        run_pod::run(&self.shared, owner, config, handler).await
    }

    /// Stops a pod with all its containers and gives back its network. Unknown and stopped are
    /// done.
    pub async fn stop_pod(&self, owner: &Owner, id: &str) -> Result<()> {
        stop_pod::stop(&self.shared, owner, id).await
    }

    /// Removes a pod with all its containers, running or not. Unknown is done.
    pub async fn remove_pod(&self, owner: &Owner, id: &str) -> Result<()> {
        remove::pod(&self.shared, owner, id).await
    }

    /// A pod as it is now; `info` is there when `verbose`.
    pub async fn pod_status(&self, owner: &Owner, id: &str, verbose: bool) -> Result<PodStatus> {
        let pod = self.shared.table.pod(owner, id)?;
        let mut status = view::pod_status(&pod);
        status.info = verbose.then(|| info::pod(&self.shared, &pod));
        Ok(status)
    }

    /// Pods, in the order in which they were made.
    pub fn list_pods(&self, owner: &Owner, filter: &PodFilter) -> Vec<PodItem> {
        let pods = self.shared.table.pods(owner);
        let mut all: Vec<_> = pods.iter().filter_map(|pod| view::pod_item(pod, filter)).collect();
        all.sort_by_key(|item| item.created_at);
        all
    }

    /// Makes a container that waits for its start. A retry with the same name, attempt and
    /// config joins or gets the finished id, as in [`Engine::run_pod`].
    ///
    /// # Errors
    /// `NotFound` for the pod or the image, `Exists`, `Invalid` for what the config asks in vain.
    pub async fn create_container(
        &self,
        owner: &Owner,
        pod: &str,
        config: ContainerConfig,
    ) -> Result<ContainerId> {
        create_container::create(&self.shared, owner, pod, config).await
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// `FailedPrecondition` in any other state, and when its program cannot be executed; it has
    /// ended then, with code 128 and reason `StartError`.
    pub async fn start_container(&self, owner: &Owner, id: &str) -> Result<()> {
        start_container::start(&self.shared, owner, id).await?;
        self.note_use(owner, id);
        Ok(())
    }

    /// Tells the images that a container of theirs is in use, once a minute at most. Nobody waits
    /// for it, and nothing depends on it but the order in which unused images are collected.
    fn note_use(&self, owner: &Owner, id: &str) {
        let Ok((_, container)) = self.shared.table.container(owner, id) else { return };
        if !container.is_to_be_noted() {
            return;
        }
        let (images, id) = (Arc::clone(&self.shared.ports.images), container.id.to_string());
        tokio::spawn(async move {
            if let Err(error) = images.used(&id).await {
                tracing::debug!("the image of {id} is not marked as used: {error}");
            }
        });
    }

    /// Stops a container: its stop signal once, SIGKILL after `grace`; returns when it has ended
    /// and its log is flushed. Ended, never started and unknown are done. A second call never
    /// signals again, it may shorten the grace.
    pub async fn stop_container(&self, owner: &Owner, id: &str, grace: Duration) -> Result<()> {
        container_end::stop(&self.shared, owner, id, grace).await
    }

    /// Removes a container, running or not. Unknown is done.
    pub async fn remove_container(&self, owner: &Owner, id: &str) -> Result<()> {
        remove::container(&self.shared, owner, id).await
    }

    /// A container as it is now; `info` is there when `verbose`.
    pub async fn container_status(
        &self,
        owner: &Owner,
        id: &str,
        verbose: bool,
    ) -> Result<ContainerStatus> {
        let (pod, container) = self.shared.table.container(owner, id)?;
        let mut status = view::container_status(&pod, &container);
        if verbose {
            status.info = Some(info::container(&pod, &container).await?);
        }
        Ok(status)
    }

    /// The containers of a pod as they are now, in the order in which they were made.
    pub fn pod_containers(&self, owner: &Owner, pod: &str) -> Result<Vec<ContainerStatus>> {
        let pod = self.shared.table.pod(owner, pod)?;
        let rows = self.shared.table.containers_of(&pod.id);
        let listed = rows.iter().filter(|row| row.record().phase.is_listed());
        Ok(listed.map(|row| view::container_status(&pod, row)).collect())
    }

    /// Whether `owner` has a container of this id, in whatever phase: half-made and half-removed
    /// ones, which no list shows, count.
    pub fn has_container(&self, owner: &Owner, id: &str) -> bool {
        self.shared.table.container_to_remove(owner, id).is_ok()
    }

    /// Containers, in the order in which they were made.
    pub fn list_containers(&self, owner: &Owner, filter: &ContainerFilter) -> Vec<ContainerItem> {
        let rows = self.shared.table.containers(owner);
        let line = |(_, container): &(_, Arc<_>)| view::container_item(container, filter);
        let mut all: Vec<_> = rows.iter().filter_map(line).collect();
        all.sort_by_key(|item| item.created_at);
        all
    }

    /// Changes limits of a created or running container; fields that are 0 or empty stay.
    pub async fn update_resources(
        &self,
        owner: &Owner,
        id: &str,
        resources: Resources,
    ) -> Result<()> {
        verbs::update_container::update(&self.shared, owner, id, resources).await
    }

    /// Writes what the processes of a running container are, and what it has changed of its image, into
    /// an archive at `location`, in the format that containerd and CRI-O share; the container goes on.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run, or something is executed in it; `Invalid` and
    /// `NotFound` for the location; `Unimplemented` without criu; `Timeout` when it is not done after
    /// `limit`: it is done behind then, and nothing of it stays.
    pub async fn checkpoint_container(
        &self,
        owner: &Owner,
        id: &str,
        location: &str,
        limit: Option<Duration>,
    ) -> Result<()> {
        verbs::checkpoint::checkpoint(&self.shared, owner, id, (location, limit)).await
    }

    /// Keeps what a pod is said to cost (`overhead`) and to have, and tells it to plugins; the pod's group
    /// is its client's to change.
    pub async fn update_pod_resources(
        &self,
        owner: &Owner,
        id: &str,
        overhead: Option<Resources>,
        resources: Option<Resources>,
    ) -> Result<()> {
        verbs::update_pod::update(&self.shared, owner, id, [overhead, resources]).await
    }

    /// Notes what there is of `owner` at this moment, to be told to a plugin that comes.
    pub fn noted(&self, owner: &Owner) -> Noted {
        Noted::of(&self.shared, owner)
    }

    /// Does what a plugin wishes unasked; what cannot be done comes back.
    pub async fn grant(
        &self,
        owner: &Owner,
        updates: Vec<WishedUpdate>,
        evictions: Vec<(String, String)>,
    ) -> Vec<WishedUpdate> {
        let failed = plugins::grant(&self.shared, owner, updates, evictions).await;
        failed
            .into_iter()
            .map(|(update, error)| {
                tracing::warn!(container = update.container, %error, "a plugin's update");
                update
            })
            .collect()
    }

    /// Opens the log of a running container anew at its path.
    pub async fn reopen_log(&self, owner: &Owner, id: &str) -> Result<()> {
        streams::reopen_log(&self.shared, owner, id).await
    }

    /// Runs a command in a running container to its end.
    ///
    /// # Errors
    /// `Timeout` when it has not ended after `timeout`: its whole tree is killed then.
    pub async fn exec_sync(
        &self,
        owner: &Owner,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        let done = streams::exec_sync(&self.shared, owner, id, command, timeout).await;
        self.note_use(owner, id);
        done
    }

    /// Runs a command in a running container with its streams open.
    pub async fn exec(&self, owner: &Owner, id: &str, request: ExecRequest) -> Result<Session> {
        self.note_use(owner, id);
        streams::exec(&self.shared, owner, id, request).await
    }

    /// Attaches to the streams of a running container; output from now on, no history.
    pub async fn attach(&self, owner: &Owner, id: &str, request: AttachRequest) -> Result<Session> {
        streams::attach(&self.shared, owner, id, request).await
    }

    /// The way for one connection into the network of a ready pod.
    ///
    /// # Errors
    /// `Exhausted` when so many are forwarded that no more may.
    pub async fn forward(&self, owner: &Owner, id: &str) -> Result<Forward> {
        streams::forward(&self.shared, owner, id).await.context(|| "port-forward")
    }

    /// What a container uses.
    pub async fn container_stats(&self, owner: &Owner, id: &str) -> Result<ContainerStats> {
        let (_, container) = self.shared.table.container(owner, id)?;
        Ok(usage::container(&self.shared, &container).await)
    }

    /// What the containers use that run; `phase` of the filter is ignored.
    pub async fn list_container_stats(
        &self,
        owner: &Owner,
        filter: &ContainerFilter,
    ) -> Vec<ContainerStats> {
        usage::containers(&self.shared, owner, filter).await
    }

    /// What a pod uses.
    pub async fn pod_stats(&self, owner: &Owner, id: &str) -> Result<PodStats> {
        let pod = self.shared.table.pod(owner, id)?;
        Ok(usage::pod(&self.shared, &pod).await)
    }

    /// What the ready pods use; `ready` of the filter is ignored.
    pub async fn list_pod_stats(&self, owner: &Owner, filter: &PodFilter) -> Vec<PodStats> {
        usage::pods(&self.shared, owner, filter).await
    }

    /// What metrics tell of the ready pods, as it was read within the last quarter of a minute.
    pub async fn list_pod_metrics(&self, owner: &Owner) -> Vec<PodMetrics> {
        metrics::pods(&self.shared, owner).await
    }

    /// What the writable layers of all containers took when they were measured last; `None` without
    /// any. Layers are on one file system.
    pub fn writable_layers(&self) -> Option<FsUsage> {
        let layers = self.shared.table.all_containers();
        let layers = layers.iter().filter_map(|container| container.layer());
        layers.reduce(|all, one| FsUsage {
            at: all.at.max(one.at),
            bytes: all.bytes + one.bytes,
            inodes: all.inodes + one.inodes,
            mountpoint: all.mountpoint,
            file_system: all.file_system,
        })
    }

    /// Who makes control groups, as the client must know to name a pod's.
    pub fn cgroup_driver(&self) -> CgroupDriver {
        self.shared.config.cgroup_driver
    }

    /// What the kernel has of what is leant on, as it was when the engine was opened.
    pub fn kernel(&self) -> &[rrun_sys::kernel::Feature] {
        self.shared.ports.host.features()
    }

    /// Whether pods may have user namespaces of their own.
    pub fn has_user_namespaces(&self) -> bool {
        self.shared.has_user_namespaces().is_ok()
    }

    /// What happens from now on to the pods of `owner`.
    pub fn events(&self, owner: &Owner) -> Events {
        self.shared.events.subscribe(owner)
    }
}
