//! Collection of dead containers over all pods on record
//! (`pkg/kubelet/kuberuntime/kuberuntime_gc.go`).
//!
//! Every process that runs a pod collects for the whole machine, one at a time. A pod that another
//! process runs is reached through that one. One that has ended is looked at once: what is left of it
//! is on record from then on, and its runtime is opened again only to remove something.
//!
//! After the containers come sandboxes that are over and empty, and folders of logs whose pod is on
//! record no more. Links to logs, as a kubelet has them in `/var/log/containers`, are not made here.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::Flock;
use rrun_cri_api::{Cri, v1};
use serde::{Deserialize, Serialize};

use super::control::alongside;
use super::reach::{Reach, Reached};
use super::store::{Entry, Records, Store, make_private};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::events::{Reason, Recorder};
use crate::gc;
use crate::gc::policy::{Dead, GcPolicy, surplus};
use crate::gc::removal::Removal;
use crate::ids::PodUid;
use crate::model::Meta;
use crate::node::Node;
use crate::record::{Format, try_lock};
use crate::sync::observe::{self, Observed, RunState};
use crate::tombstone::Cause;

/// Version 1 has the time of the last collection, and what ended pods have left.
const CONTAINERS: Format = Format { name: "containers", version: 1 };

/// How often the kubelet does (`ContainerGCPeriod`).
pub const PERIOD: Duration = Duration::from_secs(60);

/// How long the runtime of a pod is waited for: it may be in a process that hangs.
const ANSWER: Duration = Duration::from_secs(20);

/// Collects dead containers.
pub struct ContainerGc {
    /// The way to the runtimes.
    pub reach: Arc<dyn Reach>,
    /// The node with the logs.
    pub node: Arc<dyn Node>,
    /// The time.
    pub clock: Clock,
    /// How many are kept.
    pub policy: GcPolicy,
    /// How often.
    pub period: Duration,
    /// The records of pods.
    pub store: Store,
}

/// What one collection has removed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Containers, by `namespace/pod`.
    pub containers: Vec<(String, Dead, Cause)>,
    /// Folders of logs.
    pub log_folders: Vec<String>,
    /// What could not be looked at or removed.
    pub errors: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    collected_at: Timestamp,
    /// By the pod's uid.
    ended: BTreeMap<String, Vec<Dead>>,
}

type Lock = Flock<File>;

/// The lock, if nobody has it, and what the last collection knew. A record that cannot be read costs
/// a look at every pod.
fn take(records: &Records) -> Result<Option<(Lock, Known)>> {
    make_private(&records.run)?;
    let Some(lock) = try_lock(&records.run.join("containers.lock"))? else { return Ok(None) };
    let known = CONTAINERS.read(&records.root.join("containers")).unwrap_or_else(|e| {
        tracing::warn!("{e}");
        None
    });
    Ok(Some((lock, known.unwrap_or_default())))
}

impl ContainerGc {
    /// Collects after a period, and after every one then. A failure is an event.
    pub async fn run(self, events: Recorder) {
        loop {
            tokio::time::sleep(self.period).await;
            let failed = match self.collect_in_turn().await {
                Ok(done) => done.errors.join("; "),
                Err(e) => e.to_string(),
            };
            if !failed.is_empty() {
                tracing::warn!("collect containers: {failed}");
                events.warning(None, Reason::ContainerGcFailed, failed);
            }
        }
    }

    /// Collects, unless another process does or has just done it.
    async fn collect_in_turn(&self) -> Result<Collected> {
        let Some((lock, known)) = self.store.call(take).await? else {
            return Ok(Collected::default());
        };
        let now = self.clock.now();
        // Not quite a period: the one process of a machine is not to come too early each second time.
        let recent = self.period - self.period / 12;
        if known.collected_at <= now && now.since(known.collected_at) < recent {
            return Ok(Collected::default());
        }
        self.with_lock(lock, known, false).await
    }

    /// Collects now; with `dry_run` removes nothing.
    ///
    /// # Errors
    /// `Unavailable` while another process collects; those of records that cannot be read or written.
    pub async fn collect(&self, dry_run: bool) -> Result<Collected> {
        let Some((lock, known)) = self.store.call(take).await? else {
            let text = "another process collects containers just now";
            return Err(Error::new(Kind::Unavailable, text));
        };
        self.with_lock(lock, known, dry_run).await
    }

    async fn with_lock(&self, lock: Lock, known: Known, dry_run: bool) -> Result<Collected> {
        let now = self.clock.now();
        // Listed first: a folder that is there has its pod on record, or its pod is gone.
        let folders = self.node.log_folders().await?;
        let (entries, broken) = self.store.all().await?;
        let mut done = Collected::default();
        let mut fresh = Known { collected_at: now, ended: BTreeMap::new() };
        let mut dead = Vec::new();
        for entry in &entries {
            if self.is_left_alone(entry).await {
                continue;
            }
            let uid = entry.uid.to_string();
            match self.dead_of(entry, known.ended.get(&uid)).await {
                Ok(found) => {
                    if self.is_at_rest(entry).await {
                        fresh.ended.insert(uid, found.clone());
                    }
                    dead.extend(found);
                }
                Err(e) => self.note(entry, &e, &mut done).await,
            }
        }
        for (uid, gone) in by_pod(surplus(&self.policy, &dead, now)) {
            let Some(entry) = entries.iter().find(|entry| entry.uid.as_str() == uid) else {
                continue;
            };
            self.remove(entry, gone, dry_run, &mut done).await;
            // What is left of it is looked at the next time.
            fresh.ended.remove(uid);
        }
        // A pod whose record is broken is there all the same.
        if broken.is_empty() {
            self.remove_log_folders(folders, &entries, dry_run, &mut done).await;
        }
        if !dry_run {
            let write = move |records: &Records| {
                // Nobody else writes it before this is done, however long that takes.
                let _lock = lock;
                CONTAINERS.write(&records.root.join("containers"), &fresh)
            };
            self.store.call(write).await?;
        }
        Ok(done)
    }

    /// Whether nothing of the pod ends or is made any more.
    async fn is_at_rest(&self, entry: &Entry) -> bool {
        let ours = entry.definition.endpoint.is_none();
        ours && entry.phase().is_terminal() && !self.store.is_locked(entry).await
    }

    /// Whether nobody runs the pod, and somebody may go on with it at any moment: it is not to find the
    /// pod taken then.
    async fn is_left_alone(&self, entry: &Entry) -> bool {
        let ours = entry.definition.endpoint.is_none();
        ours && !entry.phase().is_terminal() && !self.store.is_locked(entry).await
    }

    async fn dead_of(&self, entry: &Entry, known: Option<&Vec<Dead>>) -> Result<Vec<Dead>> {
        if let Some(known) = known
            && self.is_at_rest(entry).await
        {
            return Ok(known.clone());
        }
        let (_reached, seen) = self.look(entry).await?;
        let dead = seen.runs.into_iter().filter(|run| run.state != RunState::Running);
        let dead = dead.map(|run| Dead {
            pod: entry.uid.to_string(),
            name: run.name,
            id: run.id,
            created_at: run.created_at,
        });
        Ok(dead.collect())
    }

    async fn look(&self, entry: &Entry) -> Result<(Reached, Observed)> {
        let look = async {
            let reached = self.reach.reach(entry).await?;
            let (seen, _) = observe::observe(&*reached.cri, &meta(entry)).await?;
            Ok((reached, seen))
        };
        tokio::time::timeout(ANSWER, look).await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Timeout, format!("its runtime does not answer in {ANSWER:?}")))
        })
    }

    async fn remove(
        &self,
        entry: &Entry,
        gone: Vec<(&Dead, Cause)>,
        dry_run: bool,
        done: &mut Collected,
    ) {
        let full_name = entry.full_name();
        if dry_run {
            let all = gone.into_iter().map(|(one, cause)| (full_name.clone(), one.clone(), cause));
            done.containers.extend(all);
            return;
        }
        let removed = self.remove_from(entry, gone, done);
        let removed = match entry.definition.endpoint {
            Some(_) => removed.await,
            None => {
                let heard = alongside(&self.store, &entry.uid, removed, |_| ()).await;
                heard.and_then(|removed| removed)
            }
        };
        if let Err(e) = removed {
            self.note(entry, &e, done).await;
        }
    }

    /// What is said of a pod that was removed meanwhile is no fault.
    async fn note(&self, entry: &Entry, fault: &Error, done: &mut Collected) {
        let now = self.store.find(entry.uid.as_str()).await;
        if !now.is_err_and(|e| e.kind() == Kind::NotFound) {
            done.errors.push(format!("pod {}: {fault}", entry.full_name()));
        }
    }

    async fn remove_from(
        &self,
        entry: &Entry,
        gone: Vec<(&Dead, Cause)>,
        done: &mut Collected,
    ) -> Result<()> {
        let (reached, mut seen) = self.look(entry).await?;
        let cri = &*reached.cri;
        let meta = meta(entry);
        let removal = Removal { cri, node: &*self.node, pod: &meta, now: self.clock.now() };
        for (one, cause) in gone {
            let run = seen.runs.iter().find(|run| run.id == one.id);
            let Some(run) = run.filter(|run| run.state != RunState::Running) else { continue };
            match removal.remove(run, cause.clone()).await {
                Ok(()) => done.containers.push((entry.full_name(), one.clone(), cause)),
                Err(e) => done.errors.push(format!("pod {}: {e}", entry.full_name())),
            }
            let id = run.id.clone();
            seen.runs.retain(|run| run.id != id);
        }
        remove_sandboxes(cri, &seen).await
    }

    async fn remove_log_folders(
        &self,
        folders: Vec<String>,
        entries: &[Entry],
        dry_run: bool,
        done: &mut Collected,
    ) {
        let is_known = |uid: &PodUid| entries.iter().any(|entry| entry.uid == *uid);
        for folder in folders {
            if pod_of(&folder).is_none_or(|uid| is_known(&uid)) {
                continue;
            }
            let removed = if dry_run { Ok(()) } else { self.node.remove_log_folder(&folder).await };
            match removed {
                Ok(()) => done.log_folders.push(folder),
                Err(e) => done.errors.push(e.to_string()),
            }
        }
    }
}

/// Those that are over and empty, but the newest: its attempt counts.
async fn remove_sandboxes(cri: &dyn Cri, seen: &Observed) -> Result<()> {
    for sandbox in gc::sandboxes(seen) {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        let removed = cri.remove_pod_sandbox(request).await;
        removed.map_err(|e| Error::status(format!("remove sandbox {}", sandbox.id), &e))?;
    }
    Ok(())
}

fn by_pod(gone: Vec<(&Dead, Cause)>) -> BTreeMap<&str, Vec<(&Dead, Cause)>> {
    let mut by_pod = BTreeMap::<_, Vec<_>>::new();
    for (one, cause) in gone {
        by_pod.entry(one.pod.as_str()).or_default().push((one, cause));
    }
    by_pod
}

/// As much of it as a look at the runtime needs.
fn meta(entry: &Entry) -> Meta {
    Meta {
        name: entry.name.clone(),
        namespace: entry.namespace.clone(),
        uid: entry.uid.clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        generation: 0,
    }
}

/// The pod that a folder `<namespace>_<name>_<uid>` is of; `None` of any other.
fn pod_of(folder: &str) -> Option<PodUid> {
    match folder.split('_').collect::<Vec<_>>()[..] {
        [_, _, uid] => PodUid::parse(uid).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
