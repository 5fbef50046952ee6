//! Pods and containers in memory: what lists are served from.

use crate::config::{Config, Settings};
use crate::counters::Counters;
use crate::descriptors::Descriptors;
use crate::dirs::{Dirs, Lock};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::event::EventSender;
use crate::host_paths::HostPaths;
use crate::id::{ContainerId, Owner, PodId};
use crate::jobs::Jobs;
use crate::measured::Measured;
use crate::model::{ContainerConfig, PodConfig, PodKey};
use crate::ports::{Ports, Shim, USER_NAMESPACES};
use crate::queue::Queue;
use crate::record::{ContainerRecord, PodRecord};
use crate::recorded::Recorded;
use crate::scrapers::Scrapers;
use crate::sessions::Sessions;
use crate::spec::ExecTemplate;
use crate::stats::{Counts, FsUsage, InterfaceUsage, Usage};
use rrun_runtime::plan::Cgroups;
use rrun_runtime::planning::RuntimeHooks;
use rrun_sys::kernel::Feature;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// How often the images are told that a container is in use: a container that is probed every
/// second must not write to their records as often.
const USE_NOTED: Duration = Duration::from_secs(60);

/// What all verbs share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) ports: Ports,
    /// The id of this boot.
    pub(crate) boot: String,
    pub(crate) table: Table,
    pub(crate) events: EventSender,
    pub(crate) pod_jobs: Jobs<(Owner, PodKey), PodId>,
    pub(crate) container_jobs: Jobs<(PodId, String, u32), ContainerId>,
    pub(crate) planner: crate::spec::Planner,
    pub(crate) host_paths: HostPaths,
    pub(crate) for_commands: Descriptors,
    pub(crate) for_attached: Descriptors,
    pub(crate) for_forwarded: Descriptors,
    /// A container was made: its writable layer is not measured yet.
    pub(crate) container_made: Arc<Notify>,
    /// Who asks for metrics.
    /// What plugins have heard of and no list shows. Locked for single look-ups only.
    pub(crate) unlisted: Mutex<Unlisted>,
    pub(crate) scrapers: Arc<Scrapers>,
    pub(crate) counters: Counters,
}

impl Shared {
    /// What of the configuration may change, as it is now.
    pub(crate) fn settings(&self) -> Settings {
        self.config.settings.borrow().clone()
    }

    pub(crate) fn unlisted(&self) -> MutexGuard<'_, Unlisted> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what needs a user namespace where pods cannot have their own.
    pub(crate) fn has_user_namespaces(&self) -> Result<()> {
        let features = self.ports.host.features();
        match features.iter().find(|feature| feature.name == USER_NAMESPACES) {
            Some(Feature { missing: Some(_), .. }) => {
                let message = format!("userns_options: this host lacks {USER_NAMESPACES}");
                Err(Error::invalid(message))
            }
            _ => Ok(()),
        }
    }
}

/// A pod that this process works on.
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) owner: Owner,
    pub(crate) config: Arc<PodConfig>,
    pub(crate) dirs: Dirs,
    /// Its verbs, one after the other. Only they change records.
    pub(crate) queue: Queue,
    pub(crate) disk: Disk,
    pub(crate) record: Recorded<PodRecord>,
    shim: Mutex<Option<Arc<dyn Shim>>>,
    /// The read end of its shim's own pipe, while containers' pipes are held.
    shim_pipe: Mutex<Option<Arc<OwnedFd>>>,
    /// Containers that could be neither made nor taken back.
    half_made: Mutex<Vec<Arc<Container>>>,
    /// Containers that will ask for something. Locked for single look-ups only.
    asking: Mutex<BTreeMap<String, Help>>,
    /// How many containers are being made or taken back, beside the queue.
    making: watch::Sender<usize>,
    /// How many stops and removals of the pod wait for what is under way in it.
    stops: watch::Sender<usize>,
    /// What its group counts, and its interfaces.
    pub(crate) usage: Measured<Usage>,
    pub(crate) interfaces: Measured<Vec<InterfaceUsage>>,
    /// Numbers execs.
    pub(crate) execs: AtomicU64,
    lock: Mutex<Option<Lock>>,
}

/// Pods and containers on their way into the lists, or back.
#[derive(Default)]
pub(crate) struct Unlisted {
    pub(crate) pods: BTreeMap<PodId, Arc<Pod>>,
    pub(crate) containers: BTreeMap<ContainerId, (Arc<Pod>, Arc<Container>)>,
}

/// What a container that is being made may ask for.
#[derive(Clone, Default)]
pub(crate) struct Help {
    /// Its group, and what is written there.
    pub(crate) groups: Option<(String, Cgroups)>,
    pub(crate) hooks: Option<Arc<RuntimeHooks>>,
}

/// A container of such a pod.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) record: Recorded<ContainerRecord>,
    /// What execs have in common; made at the first.
    pub(crate) template: OnceLock<Arc<ExecTemplate>>,
    pub(crate) sessions: Sessions,
    /// Its init, so that its exit code can be asked for when its shim is gone.
    pidfd: Mutex<Option<Arc<OwnedFd>>>,
    /// While it has not ended.
    pipes: Mutex<Option<Pipes>>,
    /// What its group counts.
    pub(crate) usage: Measured<Usage>,
    /// The same and more, for metrics.
    pub(crate) counts: Measured<Counts>,
    /// What its writable layer takes.
    layer: Mutex<Option<FsUsage>>,
    /// When its image was last told of its use.
    noted: Mutex<Option<Instant>>,
}

/// Duplicates of a container's ends of pipes, held while it lives.
pub(crate) struct Pipes {
    /// Its shim's own pipe.
    pub(crate) shim_pipe: Arc<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// The write end of its stdin.
    pub(crate) stdin: Option<OwnedFd>,
}

impl Pod {
    pub(crate) fn new(record: PodRecord, dirs: Dirs) -> Pod {
        let disk = Disk::new();
        Pod {
            id: record.id.clone(),
            owner: record.owner.clone(),
            config: Arc::clone(&record.config),
            record: Recorded::new(record, dirs.record(), disk.clone()),
            dirs,
            queue: Queue::new(),
            disk,
            shim: Mutex::default(),
            shim_pipe: Mutex::default(),
            half_made: Mutex::default(),
            asking: Mutex::default(),
            making: watch::Sender::default(),
            stops: watch::Sender::default(),
            usage: Measured::default(),
            interfaces: Measured::default(),
            execs: AtomicU64::new(1),
            lock: Mutex::default(),
        }
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<PodRecord> {
        self.record.get()
    }

    /// The connection to its shim, if there is one.
    pub(crate) fn shim(&self) -> Option<Arc<dyn Shim>> {
        self.shim.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_shim(&self, shim: Option<Arc<dyn Shim>>) {
        *self.shim.lock().unwrap_or_else(PoisonError::into_inner) = shim;
    }

    /// The one that is held already, else `pipe`.
    pub(crate) fn hold_shim_pipe(&self, pipe: OwnedFd) -> Arc<OwnedFd> {
        let mut held = self.shim_pipe.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.get_or_insert_with(|| Arc::new(pipe)))
    }

    /// Counts a container that is being made, or taken back, while the value lives.
    pub(crate) fn making(&self) -> Counted {
        Counted::new(&self.making)
    }

    /// Waits until no container is being made or taken back.
    pub(crate) async fn nothing_is_made(&self) {
        // The sender lives as long as self.
        let _ = self.making.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Tells what is under way in the pod that a stop waits for it, while the value lives.
    pub(crate) fn stop_waits(&self) -> Counted {
        Counted::new(&self.stops)
    }

    /// Lasts until a stop of the pod waits for what is under way in it.
    pub(crate) async fn until_a_stop_waits(&self) {
        let _ = self.stops.subscribe().wait_for(|count| *count > 0).await;
    }

    pub(crate) fn keep_half_made(&self, container: &Arc<Container>) {
        let mut all = self.half_made.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(container));
    }

    pub(crate) fn take_half_made(&self) -> Vec<Arc<Container>> {
        std::mem::take(&mut self.half_made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn expect_asks(&self, container: &str, help: Help) {
        let mut all = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(container.to_owned(), help);
    }

    pub(crate) fn expect_no_asks(&self, container: &str) {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }

    pub(crate) fn help_for(&self, container: &str) -> Option<Help> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned()
    }

    pub(crate) fn hold(&self, lock: Lock) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    }
}

/// One of those that are counted, until it is dropped.
pub(crate) struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Counted {
        count.send_modify(|count| *count += 1);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, pod: &Pod) -> Container {
        let file = pod.dirs.container(&record.id);
        Container {
            id: record.id.clone(),
            config: Arc::clone(&record.config),
            record: Recorded::new(record, file, pod.disk.clone()),
            template: OnceLock::new(),
            sessions: Sessions::default(),
            pidfd: Mutex::default(),
            pipes: Mutex::default(),
            usage: Measured::default(),
            counts: Measured::default(),
            layer: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// Its image is to be told of its use now: it was not within the last minute.
    pub(crate) fn is_to_be_noted(&self) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = noted.is_none_or(|at| at.elapsed() >= USE_NOTED);
        if is_due {
            *noted = Some(Instant::now());
        }
        is_due
    }

    /// Lets go of the pipes that were held before.
    pub(crate) fn set_pipes(&self, pipes: Option<Pipes>) -> Option<Pipes> {
        std::mem::replace(&mut self.pipes.lock().unwrap_or_else(PoisonError::into_inner), pipes)
    }

    /// Lets its input end.
    pub(crate) fn close_stdin(&self) {
        if let Some(pipes) = &mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner) {
            pipes.stdin = None;
        }
    }

    pub(crate) fn pidfd(&self) -> Option<Arc<OwnedFd>> {
        self.pidfd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_pidfd(&self, pidfd: Option<OwnedFd>) {
        *self.pidfd.lock().unwrap_or_else(PoisonError::into_inner) = pidfd.map(Arc::new);
    }

    /// What its writable layer took when it was measured last.
    pub(crate) fn layer(&self) -> Option<FsUsage> {
        self.layer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_layer(&self, usage: FsUsage) {
        *self.layer.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<ContainerRecord> {
        self.record.get()
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> Arc<ContainerRecord> {
        self.record.until(|record| record.exit.is_some()).await
    }
}

/// What exists, by id. Locked for single look-ups only.
#[derive(Default)]
pub(crate) struct Table {
    rows: RwLock<Rows>,
}

#[derive(Default)]
struct Rows {
    pods: BTreeMap<PodId, Arc<Pod>>,
    containers: BTreeMap<ContainerId, (Arc<Pod>, Arc<Container>)>,
}

impl Table {
    pub(crate) fn add_pod(&self, pod: &Arc<Pod>) {
        self.write(|rows| rows.pods.insert(pod.id.clone(), Arc::clone(pod)));
    }

    pub(crate) fn add_container(&self, pod: &Arc<Pod>, container: &Arc<Container>) {
        let row = (Arc::clone(pod), Arc::clone(container));
        self.write(|rows| rows.containers.insert(container.id.clone(), row));
    }

    pub(crate) fn drop_pod(&self, id: &PodId) {
        self.write(|rows| rows.pods.remove(id));
    }

    pub(crate) fn drop_container(&self, id: &ContainerId) {
        self.write(|rows| rows.containers.remove(id));
    }

    /// The listed pod of `owner` that an id or its beginning names.
    pub(crate) fn pod(&self, owner: &Owner, id: &str) -> Result<Arc<Pod>> {
        self.read(|rows| {
            let seen = |pod: &&Arc<Pod>| pod.owner == *owner && pod.record().phase.is_listed();
            exactly_one("pod", id, begin_with(&rows.pods, id).filter(seen)).cloned()
        })
    }

    /// The listed container of `owner` that an id or its beginning names.
    pub(crate) fn container(&self, owner: &Owner, id: &str) -> Result<(Arc<Pod>, Arc<Container>)> {
        self.read(|rows| {
            let seen = |row: &&(Arc<Pod>, Arc<Container>)| {
                row.0.owner == *owner && row.1.record().phase.is_listed()
            };
            exactly_one("container", id, begin_with(&rows.containers, id).filter(seen)).cloned()
        })
    }

    /// As [`Table::pod`], with those whose removal failed half-way.
    pub(crate) fn pod_to_remove(&self, owner: &Owner, id: &str) -> Result<Arc<Pod>> {
        self.read(|rows| {
            let seen = |pod: &&Arc<Pod>| pod.owner == *owner;
            exactly_one("pod", id, begin_with(&rows.pods, id).filter(seen)).cloned()
        })
    }

    /// As [`Table::container`], with those whose removal failed half-way.
    pub(crate) fn container_to_remove(
        &self,
        owner: &Owner,
        id: &str,
    ) -> Result<(Arc<Pod>, Arc<Container>)> {
        self.read(|rows| {
            let seen = |row: &&(Arc<Pod>, Arc<Container>)| row.0.owner == *owner;
            exactly_one("container", id, begin_with(&rows.containers, id).filter(seen)).cloned()
        })
    }

    /// The pods of `owner`.
    pub(crate) fn pods(&self, owner: &Owner) -> Vec<Arc<Pod>> {
        self.read(|rows| rows.pods.values().filter(|pod| pod.owner == *owner).cloned().collect())
    }

    /// All pods.
    pub(crate) fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.read(|rows| rows.pods.values().cloned().collect())
    }

    /// The containers of the pods of `owner`.
    pub(crate) fn containers(&self, owner: &Owner) -> Vec<(Arc<Pod>, Arc<Container>)> {
        self.read(|rows| {
            rows.containers.values().filter(|row| row.0.owner == *owner).cloned().collect()
        })
    }

    /// The containers of all pods.
    pub(crate) fn all_containers(&self) -> Vec<Arc<Container>> {
        self.read(|rows| rows.containers.values().map(|row| Arc::clone(&row.1)).collect())
    }

    /// The containers of a pod, in the order in which they were made.
    pub(crate) fn containers_of(&self, pod: &PodId) -> Vec<Arc<Container>> {
        let mut all: Vec<Arc<Container>> = self.read(|rows| {
            let all = rows.containers.values();
            all.filter(|row| row.0.id == *pod).map(|row| Arc::clone(&row.1)).collect()
        });
        all.sort_by_key(|container| container.record().created_at);
        all
    }

    fn read<T>(&self, look: impl FnOnce(&Rows) -> T) -> T {
        look(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Rows) -> T) {
        change(&mut self.rows.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn begin_with<'a, K: Ord + Borrow<str>, V>(
    rows: &'a BTreeMap<K, V>,
    prefix: &'a str,
) -> impl Iterator<Item = &'a V> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let rows = rows.range::<str, _>(from);
    rows.take_while(move |(id, _)| (*id).borrow().starts_with(prefix)).map(|(_, row)| row)
}

fn exactly_one<T>(what: &str, id: &str, mut found: impl Iterator<Item = T>) -> Result<T> {
    if id.is_empty() {
        return Err(Error::invalid(format!("no {what} id given")));
    }
    let first = found.next().ok_or_else(|| Error::not_found(format!("{what} {id}: not found")))?;
    if found.next().is_some() {
        return Err(Error::invalid(format!("{what} {id}: more than one id begins so")));
    }
    Ok(first)
}
