//! Opening the engine: what an earlier process of this engine, or of another one, has left.
//!
//! Every pod is looked at alone, and only when its lock can be had: what another process works on
//! is left to it. One bad record becomes one name in quarantine, one dead shim one pod with a
//! reason; neither is a failed start.

use crate::blocking::blocking;
use crate::config::Takeover;
use crate::dirs::{self, Dirs, Lock};
use crate::error::{Context, Error, Result};
use crate::groups;
use crate::id::{ContainerId, PodId};
use crate::on_disk::{
    OnDisk, Read, check_state_is_there, is_there, on_record, pods_on_disk, read_container,
    read_containers, read_pod,
};
use crate::phase::{ContainerPhase, PodPhase};
use crate::record::{self, ContainerRecord, PodRecord};
use crate::steps::run_step;
use crate::table::{Container, Pod, Shared};
use crate::verbs::checkpoint;
use crate::verbs::container_end::REBOOTED;
use crate::verbs::create_container;
use crate::verbs::pod_undo::remove_shim_scope;
use crate::verbs::run_pod::{self, RUN_POD};
use crate::verbs::{ContainerAt, PodAt, SOON};
use rrun_shim_protocol::{Request, exit_record};
use rrun_sys::step;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::Instrument;

/// How long a start waits for containers that were being made when the last daemon ended, to be
/// taken back; what hangs longer is taken back beside it.
const TAKING_BACK: Duration = Duration::from_secs(30);

/// How long a process that has run a pod may take to end, once it has told that it is done.
const HANDOVER: Duration = Duration::from_secs(10);

/// What [`crate::Engine::open`] met.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Pods that are served again.
    pub pods: Vec<PodId>,
    /// Pods that another process works on, or that are not to be taken over.
    pub foreign: Vec<PodId>,
    /// Records that were moved away, with the reason.
    pub quarantined: Vec<(String, String)>,
    /// What could not be undone or released, with the reason; tried again at the next open.
    pub not_undone: Vec<(String, String)>,
    /// Pods that were half-made, half-removed or without a record, and are gone.
    pub taken_back: Vec<PodId>,
    /// Leases of images, and attachments to networks, of which no record tells any more: released.
    pub released: Vec<String>,
}

impl Recovery {
    fn figures(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            ("pods", self.pods.len()),
            ("foreign", self.foreign.len()),
            ("quarantined", self.quarantined.len()),
            ("not_undone", self.not_undone.len()),
            ("taken_back", self.taken_back.len()),
            ("released", self.released.len()),
        ])
    }

    fn tell_release(&mut self, what: String, done: Result<()>) {
        match done {
            Ok(()) => self.released.push(what),
            Err(error) => self.not_undone.push((what, error.to_string())),
        }
    }
}

/// The id of this boot.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}

/// Brings everything on disk to a state that can be served.
pub(crate) async fn recover(engine: &Arc<Shared>) -> Result<Recovery> {
    let config = engine.config.clone();
    let ids = blocking(move || {
        check_state_is_there(&config)?;
        pods_on_disk(&config)
    });
    let ids = ids.await?;
    let folders = [engine.config.root.join("pods"), engine.config.run.join("pods")];
    tokio::spawn(blocking(move || {
        folders.iter().for_each(|pods| dirs::delete_all_removed(pods));
        Ok(())
    }));
    let mut all = JoinSet::new();
    for id in ids {
        let engine = Arc::clone(engine);
        all.spawn(async move { (id.clone(), one(&engine, &id).await) });
    }
    let mut report = Recovery::default();
    while let Some(done) = all.join_next().await {
        match done {
            Ok((id, Ok(found))) => found.tell(id, &mut report),
            Ok((id, Err(error))) => {
                tracing::warn!(pod = %id, %error, "not recovered");
                report.not_undone.push((id.to_string(), error.to_string()));
            }
            Err(error) => report.not_undone.push(("a pod".to_owned(), error.to_string())),
        }
    }
    release_unknown(engine, &mut report).await;
    report.pods.sort();
    engine.counters.opened(report.figures());
    Ok(report)
}

/// What became of one pod.
enum Found {
    Served { broken: Vec<(String, String)> },
    Foreign,
    Cleaned,
    Quarantined(String),
    NotUndone(Vec<(String, String)>),
}

impl Found {
    fn tell(self, id: PodId, report: &mut Recovery) {
        match self {
            Found::Served { broken } => {
                report.pods.push(id);
                report.quarantined.extend(broken);
            }
            Found::Foreign => report.foreign.push(id),
            Found::Cleaned => report.taken_back.push(id),
            Found::Quarantined(why) => report.quarantined.push((id.to_string(), why)),
            Found::NotUndone(not_undone) => report.not_undone.extend(not_undone),
        }
    }
}

async fn one(engine: &Arc<Shared>, id: &PodId) -> Result<Found> {
    let dirs = Dirs::new(&engine.config, id);
    let (folders, pod) = (dirs.clone(), id.clone());
    let takeover = engine.config.takeover.clone();
    let read = blocking(move || {
        // Before the lock: taken only to look, it would make the pod's own process believe that
        // another one works on it. Records are renamed into place, and their owner stays.
        let is_ours = match record::read::<PodRecord>(&folders.record()) {
            Ok(record) => takeover.takes(&record.owner, &record.config.uid),
            Err(_) => takeover.takes_nameless(),
        };
        if !is_ours {
            return Ok(None);
        }
        step::run("engine.recover.run-dir", || match &takeover {
            Takeover::Owner(_) | Takeover::Nameless => dirs::make_in_any_case(&folders.run),
            // Its owner may live, and hold a lock that has no name any more.
            Takeover::Pod(..) | Takeover::Pods(..) => dirs::make(&folders.run),
        })?;
        let lock = || match &takeover {
            Takeover::Owner(_) | Takeover::Nameless => Lock::take_in_any_case(&folders.lock()),
            Takeover::Pod(..) | Takeover::Pods(..) => Lock::take_over(&folders.lock(), HANDOVER),
        };
        match step::run("engine.recover.lock", lock)? {
            Some(lock) => Ok(Some((lock, read_pod(&folders, &pod)?))),
            None => Ok(None),
        }
    });
    let Some((lock, read)) = read.await? else { return Ok(Found::Foreign) };
    match read {
        Read::Nothing { has_shim: true } => {
            tracing::warn!(pod = %id, "its record is gone: what is left of it is ended");
            end_broken(engine, id, &dirs).await?;
            let remove = move || dirs::remove_all(&dirs.state);
            run_step("engine.recover.no-state-dir", blocking(remove)).await?;
            drop(lock);
            Ok(Found::Cleaned)
        }
        Read::Nothing { has_shim: false } => {
            blocking(move || {
                step::run("engine.recover.no-state-dir", || dirs::remove_all(&dirs.state))?;
                step::run("engine.recover.no-run-dir", || dirs.remove_run())
            })
            .await?;
            drop(lock);
            Ok(Found::Cleaned)
        }
        Read::Broken(why) => {
            // What is named by its id alone is found without its record; leases are released with
            // all that have none. The record goes last: whoever finds it after a crash begins
            // again.
            end_broken(engine, id, &dirs).await?;
            put_away(engine, dirs.state).await?;
            Ok(Found::Quarantined(why))
        }
        Read::Pod { record, containers } => {
            let pod = Arc::new(Pod::new(*record, dirs));
            pod.hold(lock);
            let at = PodAt { engine: Arc::clone(engine), pod };
            let (queue, span) = (at.pod.queue.clone(), at.span("Recover"));
            let serve = async move { serve(&at, containers).await };
            queue.run(serve.instrument(span)).await
        }
    }
}

/// Ends what the kernel and the network have of a pod of which nothing is on disk.
pub(crate) async fn end_unknown(engine: &Arc<Shared>, id: &PodId) -> Result<()> {
    let dirs = Dirs::new(&engine.config, id);
    let (folders, pod) = (dirs.clone(), id.clone());
    let lock = blocking(move || {
        step::run("engine.recover.run-dir", || dirs::make_in_any_case(&folders.run))?;
        let lock = step::run("engine.recover.lock", || Lock::take(&folders.lock()))?;
        let nothing = matches!(read_pod(&folders, &pod)?, Read::Nothing { .. });
        lock.filter(|_| nothing).ok_or_else(|| Error::precondition("somebody works on it"))
    });
    let lock = lock.await.context(|| format!("pod {id}"))?;
    end_broken(engine, id, &dirs).await?;
    drop(lock);
    Ok(())
}

async fn end_broken(engine: &Arc<Shared>, id: &PodId, dirs: &Dirs) -> Result<()> {
    let ports = &engine.ports;
    // While its namespace is there. What fails stays on the network's record and is tried again.
    if let Err(error) = ports.network.del(id).await {
        tracing::warn!(pod = %id, %error, "its network is not taken back");
    }
    run_step("engine.end-broken.shim", ports.shims.kill(&dirs.run)).await?;
    remove_shim_scope(engine, id).await?;
    ports.host.unpin(&run_pod::netns_path(&engine.config, id)).await?;
    // Of containers whose records are there the groups are known, wherever the client put them.
    let (folders, pod) = (dirs.clone(), id.clone());
    for container in blocking(move || read_containers(&folders, &pod)).await?.records {
        engine.end_group(&container.cgroup).await?;
    }
    engine.end_group(&groups::of_own(&engine.config, id)?).await?;
    let run = dirs.run.clone();
    run_step("engine.end-broken.run-dir", blocking(move || dirs::remove_all(&run))).await
}

/// Moves what cannot be read out of the way, under a name that is free.
async fn put_away(engine: &Shared, path: PathBuf) -> Result<()> {
    let quarantine = engine.config.root.join("quarantine");
    blocking(move || {
        step::run("engine.recover.quarantine-dir", || dirs::make(&quarantine))?;
        step::run("engine.recover.put-away", || move_to(&path, &quarantine))
    })
    .await
}

fn move_to(path: &Path, folder: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    let free = |n: u32| -> PathBuf {
        let mut target = folder.join(name);
        if n > 0 {
            target.as_mut_os_string().push(format!(".{n}"));
        }
        target
    };
    let target = (0..).map(free).find(|target| !is_there(target));
    let target = target.unwrap_or_else(|| free(u32::MAX));
    fs::rename(path, &target).context(|| format!("move {} away", path.display()))
}

/// Takes a pod into service, or takes back what is half-made of it. Within the pod's queue.
async fn serve(at: &PodAt, OnDisk { records, broken }: OnDisk) -> Result<Found> {
    match at.pod.record().phase {
        PodPhase::Making => {
            let not_undone = RUN_POD.undo(at).await;
            at.keep_not_undone(&not_undone, SOON).await;
            return Ok(taken_back(not_undone));
        }
        PodPhase::Removing => return remove_on(at, records).await,
        PodPhase::Ready | PodPhase::Ending | PodPhase::Stopped => {}
    }
    let engine = &at.engine;
    engine.table.add_pod(&at.pod);
    let digest = run_pod::config_digest(&at.pod.config, &at.pod.record().handler)?;
    let key = (at.pod.owner.clone(), at.pod.config.key());
    engine.pod_jobs.adopt(key, digest, at.pod.id.clone());
    for record in records {
        let container = at.with(&Arc::new(Container::new(record, &at.pod)));
        match container.container.record().phase {
            ContainerPhase::Making => at.pod.keep_half_made(&container.container),
            ContainerPhase::Removing => {
                engine.table.add_container(&at.pod, &container.container);
                if let Err(error) = container.remove().await {
                    tracing::warn!(container = %container.container.id, %error, "not removed");
                }
            }
            _ => adopt(&container)?,
        }
    }
    checkpoint::take_over(at).await;
    revive(at).await;
    // A shim that has heard of them must forget them, and is dialled now.
    at.undo_half_made_beside(TAKING_BACK).await;
    for (name, _) in &broken {
        drop_broken(at, name).await;
    }
    Ok(Found::Served { broken })
}

fn adopt(at: &ContainerAt) -> Result<()> {
    let (engine, container) = (&at.at.engine, &at.container);
    engine.table.add_container(&at.at.pod, container);
    let key = (at.at.pod.id.clone(), container.config.name.clone(), container.config.attempt);
    let digest = create_container::config_digest(&container.config)?;
    engine.container_jobs.adopt(key, digest, container.id.clone());
    Ok(())
}

fn taken_back(not_undone: crate::steps::NotUndone) -> Found {
    match not_undone.is_empty() {
        true => Found::Cleaned,
        false => Found::NotUndone(
            not_undone
                .into_iter()
                .map(|(step, error)| (step.to_owned(), error.to_string()))
                .collect(),
        ),
    }
}

/// Goes on with a removal.
async fn remove_on(at: &PodAt, containers: Vec<ContainerRecord>) -> Result<Found> {
    for record in containers {
        at.engine.table.add_container(&at.pod, &Arc::new(Container::new(record, &at.pod)));
    }
    checkpoint::take_over(at).await;
    at.remove().await?;
    Ok(Found::Cleaned)
}

/// Brings a pod's records to what is true now.
async fn revive(at: &PodAt) {
    let record = at.pod.record();
    if record.boot != at.engine.boot {
        return end_after_reboot(at).await;
    }
    // One that is ending may have been cut off in its stop: its shim, if there is one, is asked
    // again by the next.
    if matches!(record.phase, PodPhase::Ready | PodPhase::Ending) {
        at.reconnect().await;
    }
}

/// After a reboot nothing runs: the pod has ended, and what outlives a boot is given back.
async fn end_after_reboot(at: &PodAt) {
    at.end_without_shim(REBOOTED).await;
    if let Err(error) = at.stop().await {
        tracing::warn!(pod = %at.pod.id, %error, "not cleaned up after the reboot");
    }
}

/// Takes back what is left of a container whose record cannot be read, and puts the record away:
/// last, so that whoever finds it after a crash begins again.
async fn drop_broken(at: &PodAt, name: &str) {
    let cleaned = async {
        if let Ok(id) = name.parse::<ContainerId>()
            && !is_of_another_pod(at, &id).await?
        {
            end_broken_container(at, &id).await?;
        }
        put_away(&at.engine, at.pod.dirs.containers().join(format!("{name}.json"))).await
    };
    if let Err(error) = cleaned.await {
        tracing::warn!(container = name, %error, "not cleaned up");
    }
}

/// Whether nothing that bears this container's name is of this pod, because what stands here is
/// another pod's record, or because another pod has it.
async fn is_of_another_pod(at: &PodAt, id: &ContainerId) -> Result<bool> {
    let (config, pod, id) = (at.engine.config.clone(), at.pod.id.clone(), id.clone());
    blocking(move || {
        let here = Dirs::new(&config, &pod).container(&id);
        if record::read::<ContainerRecord>(&here).is_ok_and(|record| record.id == id) {
            return Ok(true);
        }
        let mut others = pods_on_disk(&config)?.into_iter().filter(|other| *other != pod);
        Ok(others.any(|other| {
            read_container(&Dirs::new(&config, &other).container(&id), &other).is_ok()
        }))
    })
    .await
}

async fn end_broken_container(at: &PodAt, id: &ContainerId) -> Result<()> {
    if let Some(shim) = at.pod.shim() {
        let container = id.to_string();
        let stop = Request::Stop { container: container.clone(), signal: 9, grace_ms: 0 };
        let _ = shim.call(stop, Vec::new()).await;
        let _ = shim.call(Request::Delete { container }, Vec::new()).await;
    }
    at.engine.end_group(&groups::of_container(&at.pod.record().cgroup, id)).await?;
    at.engine.ports.images.release(id.as_str()).await?;
    let (of_pod, id) = (at.pod.dirs.clone(), id.clone());
    let remove = move || {
        // A runtime of another kind knows of it by a folder with its id.
        for folder in [of_pod.bundle(&id), of_pod.programs().join(id.as_str())] {
            dirs::remove_all(&folder)?;
        }
        exit_record::remove(&of_pod.run, id.as_str()).context(|| format!("exit record of {id}"))?;
        dirs::remove_file(&of_pod.spec(&id))
    };
    run_step("engine.end-broken.spec", blocking(remove)).await
}

/// Releases what the stores of images and networks hold for pods and containers that have no
/// record any more.
///
/// The stores are asked first and the records read afterwards: a record is written before its
/// object is made, so whatever another process makes meanwhile is found on record.
async fn release_unknown(engine: &Arc<Shared>, report: &mut Recovery) {
    let ports = &engine.ports;
    let holders = ports.images.holders().await.unwrap_or_default();
    let attached = ports.network.attached().await.unwrap_or_default();
    let config = engine.config.clone();
    let (pods, containers) = match blocking(move || on_record(&config)).await {
        Ok(known) => known,
        Err(error) => return report.not_undone.push(("records".to_owned(), error.to_string())),
    };
    for holder in holders {
        // What has no container's name is not ours to touch.
        let Ok(id) = holder.parse::<ContainerId>() else { continue };
        if !containers.contains(&id) {
            let released = ports.images.release(&holder).await;
            report.tell_release(holder, released);
        }
    }
    for entry in attached {
        let Ok(id) = entry.parse::<PodId>() else { continue };
        if !pods.contains(&id) {
            let released = ports.network.del(&id).await;
            report.tell_release(entry, released);
        }
    }
}
