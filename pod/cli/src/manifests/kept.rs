//! Which pods are there, and which are to be.

use super::folder::File;
use crate::args;
use crate::context::Context;
use crate::many::full_name;
use crate::runtime::Runtime;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use rrun_pod::PodHandle;
use rrun_pod::clock::Clock;
use rrun_pod::error::Kind;
use rrun_pod::events::Recorder;
use rrun_pod::model::Pod;
use rrun_pod::supervise::container_gc::ContainerGc;
use rrun_pod::supervise::rotate::Limits;
use rrun_pod::supervise::{Definition, Ended, Entry, LockedPod, control, supervise};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

/// A pod of a file.
struct Kept {
    pod: Pod,
    file: PathBuf,
    /// None when it has ended.
    handle: Option<Arc<PodHandle>>,
    /// It is to be removed when it has ended.
    goes: Arc<AtomicBool>,
}

/// What a file wants.
struct Wanted {
    definition: Definition,
    pod: Pod,
    file: PathBuf,
}

/// A pod that has ended.
struct Over {
    name: String,
    /// Nothing of it is left.
    is_gone: bool,
    failed: Option<String>,
}

/// Keeps the pods of the folder.
pub struct Keeper {
    context: Context,
    runtime: Arc<Runtime>,
    limits: Limits,
    /// Pods of before that nobody has asked for yet.
    found: BTreeMap<String, LockedPod>,
    kept: BTreeMap<String, Kept>,
    ends: JoinSet<Over>,
    /// What was told of files and pods, until it is otherwise.
    told: BTreeMap<String, String>,
}

impl Keeper {
    /// Takes up what is on record of a process before this one.
    pub async fn open(context: &Context, process: &args::Process) -> Result<Keeper> {
        let mut found = BTreeMap::new();
        for entry in context.pods().await? {
            if entry.definition.file.is_none() {
                continue;
            }
            let name = entry.full_name();
            match context.store.lock_existing(&entry).await? {
                Some(locked) => drop(found.insert(name, locked)),
                // The runtime takes pods over when it is opened, and not later.
                None => bail!("pod {name}: another rrun works on it"),
            }
        }
        let uids: BTreeSet<String> =
            found.values().map(|locked| locked.entry.uid.to_string()).collect();
        let policy = process.containers.policy()?;
        let runtime = Runtime::with_pods(context, uids).await?;
        let runtime = Arc::new(runtime.allowing(process.unsafe_sysctls.clone(), policy));
        // Once for all pods.
        if let Some(images) = runtime.image_gc(context, context.image_gc_policy()?) {
            tokio::spawn(images.run(Recorder::new(Clock::system())));
        }
        let containers = runtime.container_gc(context, policy);
        let containers = ContainerGc { period: process.container_gc_period, ..containers };
        tokio::spawn(containers.run(Recorder::new(Clock::system())));
        let limits = Limits { max_size: process.log_max_size, max_files: process.log_max_files };
        let (context, kept, told) = (context.clone(), BTreeMap::new(), BTreeMap::new());
        Ok(Keeper { context, runtime, limits, found, kept, ends: JoinSet::new(), told })
    }

    /// Begins pods that are wanted and ends others. A folder that cannot be read changes nothing.
    pub async fn bring_up_to_date(&mut self, files: Result<Vec<File>>) {
        let files = match files {
            Ok(files) => files,
            Err(error) => return self.tell("", Some(format!("{error:#}"))),
        };
        self.tell("", None);
        let (wanted, unread) = self.wanted(files);
        let stays = |name: &String, pod: &Pod, file: &PathBuf| match wanted.get(name) {
            Some(wanted) => is_same(&wanted.pod, pod),
            None => unread.contains(file),
        };
        let mut ended = Vec::new();
        for (name, kept) in self.kept.iter().filter(|(name, k)| !stays(name, &k.pod, &k.file)) {
            kept.goes.store(true, Ordering::SeqCst);
            match &kept.handle {
                Some(handle) => handle.stop(None),
                None => ended.push(name.clone()),
            }
        }
        for name in ended {
            self.forget(name).await;
        }
        // What was there before this process: it goes on, or is ended.
        for (name, locked) in std::mem::take(&mut self.found) {
            let begun = self.take_up(&name, locked, &stays).await;
            self.tell(&name, begun.err().map(|error| format!("pod {name}: {error:#}")));
        }
        for (name, wanted) in wanted {
            if !self.kept.contains_key(&name) {
                let begun = self.begin(&name, wanted).await;
                self.tell(&name, begun.err().map(|error| format!("pod {name}: {error:#}")));
            }
        }
    }

    /// The pods of files, and the files that could not be read. Of pods with one name that of the last
    /// file counts, as for the kubelet.
    fn wanted(&mut self, files: Vec<File>) -> (BTreeMap<String, Wanted>, BTreeSet<PathBuf>) {
        let (mut wanted, mut unread) = (BTreeMap::<String, Wanted>::new(), BTreeSet::new());
        let mut seen = BTreeSet::from([String::new()]);
        for File { path: file, pods } in files {
            let key = file.display().to_string();
            let fault = match pods {
                Err(error) => {
                    unread.insert(file);
                    Some(format!("{key}: {error:#}; what it said before goes on"))
                }
                Ok(pods) => add(&mut wanted, &file, pods),
            };
            self.tell(&key, fault);
            seen.insert(key);
        }
        self.told.retain(|key, _| !key.starts_with('/') || seen.contains(key));
        (wanted, unread)
    }

    /// Tells what is wrong, once until it is over or something else.
    fn tell(&mut self, about: &str, fault: Option<String>) {
        match fault {
            None => drop(self.told.remove(about)),
            Some(text) => {
                if self.told.get(about) != Some(&text) {
                    terminal::tell(&text);
                    self.told.insert(about.to_owned(), text);
                }
            }
        }
    }

    /// Goes on with a pod of before.
    async fn take_up(
        &mut self,
        name: &str,
        locked: LockedPod,
        stays: &impl Fn(&String, &Pod, &PathBuf) -> bool,
    ) -> Result<()> {
        let file = locked.entry.definition.file.clone().unwrap_or_default();
        // One of which this version cannot tell what it is has nobody who wants it so.
        let is_wanted = locked.entry.pod().is_ok_and(|pod| stays(&name.to_owned(), &pod, &file));
        if locked.entry.phase().is_terminal() {
            if is_wanted {
                let (pod, handle, goes) = (locked.entry.pod()?, None, Arc::default());
                self.kept.insert(name.to_owned(), Kept { pod, file, handle, goes });
                return Ok(());
            }
            self.runtime.forget(locked).await?;
            return Ok(());
        }
        let kept = self.attend(name, locked).await?;
        if !is_wanted {
            kept.goes.store(true, Ordering::SeqCst);
            kept.handle.iter().for_each(|handle| handle.stop(None));
        }
        Ok(())
    }

    /// Begins a pod that is not there.
    async fn begin(&mut self, name: &str, wanted: Wanted) -> Result<()> {
        match self.context.store.find(name).await {
            Ok(entry) => return self.refuse(&entry),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
        self.runtime.pods.admit(&wanted.pod)?;
        let locked = self.context.store.lock_to_run(wanted.definition, &wanted.pod.meta).await?;
        self.attend(name, locked).await?;
        Ok(())
    }

    fn refuse(&self, entry: &Entry) -> Result<()> {
        match &entry.definition.file {
            Some(file) => bail!("what is left of it is on record, of {}", file.display()),
            None => {
                bail!("there is one of that name that is of no file here: rrun delete it first")
            }
        }
    }

    /// Runs a pod until it ends.
    async fn attend(&mut self, name: &str, locked: LockedPod) -> Result<&Kept> {
        let pod = locked.entry.pod()?;
        let file = locked.entry.definition.file.clone().unwrap_or_default();
        let attended = self.runtime.attend(&self.context, &locked).await?;
        let logs = self.context.logs(&locked.entry);
        let supervision = self.runtime.supervision(&logs, self.limits);
        let goes = Arc::new(AtomicBool::new(false));
        let (runtime, is_unwanted, of) = (self.runtime.clone(), goes.clone(), name.to_owned());
        let handle = attended.handle.clone();
        self.ends.spawn(async move {
            let (handle, requests) = (attended.handle, attended.requests);
            let Ended { pod, remove, asked, .. } =
                supervise(locked, handle, requests, supervision).await;
            // One that somebody has ended comes back as long as its file is there.
            let is_gone = remove || !asked.is_empty() || is_unwanted.load(Ordering::SeqCst);
            let work = async { if is_gone { runtime.forget(pod).await } else { Ok(()) } };
            let failed = control::answer_with(asked, work).await.err().map(|e| e.to_string());
            drop(attended.sockets);
            Over { name: of, is_gone, failed }
        });
        let kept = Kept { pod, file, handle: Some(handle), goes };
        self.kept.insert(name.to_owned(), kept);
        self.kept.get(name).context("it is kept")
    }

    /// Removes what is left of an ended pod.
    async fn forget(&mut self, name: String) {
        let forgotten = async {
            let entry = self.context.store.find(&name).await?;
            match self.context.store.lock_existing(&entry).await? {
                Some(locked) => Ok(self.runtime.forget(locked).await?),
                None => bail!("another rrun works on it"),
            }
        };
        match forgotten.await {
            Ok(()) => drop(self.kept.remove(&name)),
            Err(error) => self.tell(&name, Some(format!("pod {name}: {error:#}"))),
        }
    }

    /// Waits until one has ended.
    pub async fn pod_ended(&mut self) {
        let over = match self.ends.join_next().await {
            None => return std::future::pending().await,
            Some(Ok(over)) => over,
            Some(Err(error)) => return self.tell("task", Some(format!("a pod's task: {error}"))),
        };
        if let Some(failed) = over.failed {
            terminal::tell(format_args!("pod {}: {failed}", over.name));
        }
        if over.is_gone {
            self.kept.remove(&over.name);
        } else if let Some(kept) = self.kept.get_mut(&over.name) {
            kept.handle = None;
        }
    }
}

/// Adds the pods of a file; the answer says which name another file had.
fn add(
    wanted: &mut BTreeMap<String, Wanted>,
    file: &Path,
    pods: Vec<(Definition, Pod)>,
) -> Option<String> {
    let mut fault = None;
    for (definition, pod) in pods {
        let name = full_name(&pod);
        let one = Wanted { definition, pod, file: file.to_owned() };
        if let Some(before) = wanted.insert(name.clone(), one) {
            let (file, before) = (file.display(), before.file.display());
            fault = Some(format!("{file}: pod {name} is in {before} too: this file counts"));
        }
    }
    fault
}

/// Whether a file still says the same of a pod, however it is written.
fn is_same(one: &Pod, other: &Pod) -> bool {
    let mut one = one.clone();
    one.meta.uid = other.meta.uid.clone();
    one.notes.clone_from(&other.notes);
    one == *other
}
