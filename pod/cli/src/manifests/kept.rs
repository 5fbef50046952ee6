//! Which pods are there, and which are to be.

use super::folder::File;
use super::retry::Retries;
use crate::args;
use crate::context::Context;
use crate::many::full_name;
use crate::runtime::Runtime;
use crate::terminal;
use anyhow::{Context as _, Result, anyhow, bail};
use rrun_pod::PodHandle;
use rrun_pod::clock::Clock;
use rrun_pod::error::Kind;
use rrun_pod::events::Recorder;
use rrun_pod::gc::policy::GcPolicy;
use rrun_pod::model::Pod;
use rrun_pod::supervise::container_gc::ContainerGc;
use rrun_pod::supervise::rotate::Limits;
use rrun_pod::supervise::{Definition, Ended, Entry, LockedPod, Redefinition, control, supervise};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// A pod of a file.
struct Kept {
    pod: Pod,
    definition: Definition,
    /// None when it has ended.
    runs: Option<Runs>,
}

/// A pod that runs.
struct Runs {
    handle: Arc<PodHandle>,
    /// It is to be removed when it has ended.
    goes: Arc<AtomicBool>,
    /// None as soon as it has ended: it holds the pod's lock.
    redefinition: Arc<Mutex<Option<Redefinition>>>,
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
    /// Nothing of it is wanted any more.
    is_gone: bool,
    /// What could not be removed of it, and why.
    failed: Option<(Entry, String)>,
}

/// Keeps the pods of the folder.
pub struct Keeper {
    context: Context,
    sysctls: Vec<String>,
    policy: GcPolicy,
    runtime: Arc<Runtime>,
    /// Those of pods, by uid, that another process had when the first one was opened: a runtime takes
    /// pods over when it is opened, and not later.
    late: BTreeMap<String, Arc<Runtime>>,
    /// The uids of all other pods: theirs is the first one.
    own: BTreeSet<String>,
    limits: Limits,
    /// Pods on record that are not kept yet.
    found: BTreeMap<String, Found>,
    kept: BTreeMap<String, Kept>,
    ends: JoinSet<Over>,
    /// What was told of files and pods, until it is otherwise.
    told: BTreeMap<String, String>,
    retries: Retries,
}

/// A pod on record.
enum Found {
    Locked(LockedPod),
    /// It has to be locked first: another process may work on it.
    Unlocked(Entry),
}

impl Keeper {
    /// Takes up what is on record of a process before this one.
    pub async fn open(context: &Context, process: &args::Process) -> Result<Keeper> {
        let (mut found, mut own) = (BTreeMap::new(), BTreeSet::new());
        for entry in context.pods().await? {
            if entry.definition.file.is_none() {
                continue;
            }
            let (name, uid) = (entry.full_name(), entry.uid.to_string());
            let one = match lock(context, &entry).await {
                Ok(locked) => {
                    own.insert(uid);
                    Found::Locked(locked)
                }
                Err(_) => Found::Unlocked(entry),
            };
            found.insert(name, one);
        }
        let policy = process.containers.policy()?;
        let sysctls = process.unsafe_sysctls.clone();
        let runtime = Runtime::with_pods(context, own.clone()).await?;
        let runtime = Arc::new(runtime.allowing(sysctls.clone(), policy));
        // Once for all pods.
        if let Some(images) = runtime.image_gc(context, context.image_gc_policy()?) {
            tokio::spawn(images.run(Recorder::new(Clock::system())));
        }
        let containers = runtime.container_gc(context, policy);
        let containers = ContainerGc { period: process.container_gc_period, ..containers };
        tokio::spawn(containers.run(Recorder::new(Clock::system())));
        Ok(Keeper {
            context: context.clone(),
            sysctls,
            policy,
            runtime,
            late: BTreeMap::new(),
            own,
            limits: Limits { max_size: process.log_max_size, max_files: process.log_max_files },
            found,
            kept: BTreeMap::new(),
            ends: JoinSet::new(),
            told: BTreeMap::new(),
            retries: Retries::default(),
        })
    }

    /// Begins pods that are wanted and ends others. A folder that cannot be read changes nothing.
    pub async fn bring_up_to_date(&mut self, files: Result<Vec<File>>) {
        let files = match files {
            Ok(files) => files,
            Err(error) => return self.tell("", Some(format!("{error:#}"))),
        };
        self.tell("", None);
        let (wanted, unread) = self.wanted(files);
        let stays = |name: &String, pod: &Pod, file: Option<&PathBuf>| match wanted.get(name) {
            Some(wanted) => is_same(&wanted.pod, pod),
            None => file.is_some_and(|file| unread.contains(file)),
        };
        self.end_others(&stays).await;
        // What was there before this process: it goes on, or is ended.
        for (name, one) in std::mem::take(&mut self.found) {
            if !self.retries.is_due(&name, None) {
                self.found.insert(name, one);
                continue;
            }
            let begun = self.take_up(&name, one, &stays).await;
            self.note(&name, None, begun);
        }
        for (name, wanted) in wanted {
            let pod = wanted.pod.clone();
            if self.found.contains_key(&name) || !self.retries.is_due(&name, Some(&pod)) {
                continue;
            }
            let done = match self.kept.get_mut(&name) {
                Some(kept) if is_same(&pod, &kept.pod) => {
                    redefine(&self.context, kept, wanted.definition).await
                }
                // It begins when that has ended.
                Some(_) => continue,
                None => self.begin(&name, wanted).await,
            };
            self.note(&name, Some(&pod), done);
        }
        self.retries.tried();
    }

    /// Until something that has failed may be tried again.
    pub fn next_retry(&self) -> impl Future<Output = ()> + use<> {
        self.retries.due()
    }

    /// Ends those that are not wanted as they are.
    async fn end_others(&mut self, stays: &impl Fn(&String, &Pod, Option<&PathBuf>) -> bool) {
        let mut ended = Vec::new();
        for (name, kept) in &self.kept {
            if stays(name, &kept.pod, kept.definition.file.as_ref()) {
                continue;
            }
            match &kept.runs {
                Some(runs) => {
                    runs.goes.store(true, Ordering::SeqCst);
                    runs.handle.stop(None);
                }
                None => ended.push(name.clone()),
            }
        }
        for name in ended {
            self.kept.remove(&name);
            if let Ok(entry) = self.context.store.find(&name).await {
                self.found.insert(name, Found::Unlocked(entry));
            }
        }
    }

    /// Tells how it went with a pod, and tries it again if it did not.
    fn note(&mut self, name: &str, pod: Option<&Pod>, done: Result<()>) {
        if done.is_err() {
            self.retries.failed(name, pod);
        }
        self.tell(name, done.err().map(|error| format!("pod {name}: {error:#}")));
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
        one: Found,
        stays: &impl Fn(&String, &Pod, Option<&PathBuf>) -> bool,
    ) -> Result<()> {
        let locked = match one {
            Found::Locked(locked) => locked,
            Found::Unlocked(entry) => match lock(&self.context, &entry).await {
                Ok(locked) => locked,
                Err(error) if kind(&error) == Some(Kind::NotFound) => return Ok(()),
                Err(error) => {
                    self.found.insert(name.to_owned(), Found::Unlocked(entry));
                    return Err(error);
                }
            },
        };
        let entry = locked.entry.clone();
        let gone_on = self.go_on(name, locked, stays).await;
        if gone_on.is_err() {
            self.found.insert(name.to_owned(), Found::Unlocked(entry));
        }
        gone_on
    }

    async fn go_on(
        &mut self,
        name: &str,
        locked: LockedPod,
        stays: &impl Fn(&String, &Pod, Option<&PathBuf>) -> bool,
    ) -> Result<()> {
        let definition = locked.entry.definition.clone();
        let file = definition.file.as_ref();
        // One of which this version cannot tell what it is has nobody who wants it so.
        let is_wanted = locked.entry.pod().is_ok_and(|pod| stays(&name.to_owned(), &pod, file));
        if locked.entry.phase().is_terminal() {
            if is_wanted {
                let kept = Kept { pod: locked.entry.pod()?, definition, runs: None };
                self.kept.insert(name.to_owned(), kept);
                return Ok(());
            }
            let runtime = self.runtime_of(&locked.entry).await?;
            runtime.forget(locked).await?;
            return Ok(());
        }
        let runs = self.attend(name, locked).await?;
        if !is_wanted {
            runs.goes.store(true, Ordering::SeqCst);
            runs.handle.stop(None);
        }
        Ok(())
    }

    /// Begins a pod that is not there.
    async fn begin(&mut self, name: &str, wanted: Wanted) -> Result<()> {
        match self.context.store.find(name).await {
            Ok(entry) if entry.definition.file.is_some() => {
                let why = format!("what is left of it is on record, of uid {}", entry.uid);
                self.found.insert(name.to_owned(), Found::Unlocked(entry));
                bail!(why)
            }
            Ok(_) => {
                bail!("there is one of that name that is of no file here: rrun delete it first")
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
        self.runtime.pods.admit(&wanted.pod)?;
        let locked = self.context.store.lock_to_run(wanted.definition, &wanted.pod.meta).await?;
        self.own.insert(locked.entry.uid.to_string());
        let entry = locked.entry.clone();
        if let Err(error) = self.attend(name, locked).await {
            // Nothing of it is there but its record.
            if let Ok(locked) = lock(&self.context, &entry).await {
                locked.discard().await?;
            }
            return Err(error);
        }
        Ok(())
    }

    /// The runtime that has a pod, which is locked.
    async fn runtime_of(&mut self, entry: &Entry) -> Result<Arc<Runtime>> {
        let uid = entry.uid.to_string();
        if self.own.contains(&uid) {
            return Ok(self.runtime.clone());
        }
        if let Some(runtime) = self.late.get(&uid) {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::open(&self.context, entry).await?;
        let runtime = Arc::new(runtime.allowing(self.sysctls.clone(), self.policy));
        self.late.insert(uid, runtime.clone());
        Ok(runtime)
    }

    /// Runs a pod until it ends.
    async fn attend(&mut self, name: &str, locked: LockedPod) -> Result<&Runs> {
        let runtime = self.runtime_of(&locked.entry).await?;
        let (pod, definition) = (locked.entry.pod()?, locked.entry.definition.clone());
        let attended = runtime.attend(&self.context, &locked).await?;
        let logs = self.context.logs(&locked.entry);
        let supervision = runtime.supervision(&logs, self.limits);
        let goes = Arc::new(AtomicBool::new(false));
        let redefinition = Arc::new(Mutex::new(Some(locked.redefinition())));
        let (is_unwanted, redefined) = (goes.clone(), redefinition.clone());
        let (of, entry, handle) = (name.to_owned(), locked.entry.clone(), attended.handle.clone());
        self.ends.spawn(async move {
            let (handle, requests) = (attended.handle, attended.requests);
            let Ended { pod, remove, asked, .. } =
                supervise(locked, handle, requests, supervision).await;
            drop(redefined.lock().await.take());
            // One that somebody has ended comes back as long as its file is there.
            let is_gone = remove || !asked.is_empty() || is_unwanted.load(Ordering::SeqCst);
            let work = async { if is_gone { Box::pin(runtime.forget(pod)).await } else { Ok(()) } };
            let failed = control::answer_with(asked, work).await.err();
            drop(attended.sockets);
            Over { name: of, is_gone, failed: failed.map(|error| (entry, error.to_string())) }
        });
        let kept = Kept { pod, definition, runs: Some(Runs { handle, goes, redefinition }) };
        self.kept.insert(name.to_owned(), kept);
        let kept = self.kept.get(name).and_then(|kept| kept.runs.as_ref());
        kept.context("it is kept")
    }

    /// Waits until one has ended.
    pub async fn pod_ended(&mut self) {
        let over = match self.ends.join_next().await {
            None => return std::future::pending().await,
            Some(Ok(over)) => over,
            Some(Err(error)) => return self.tell("task", Some(format!("a pod's task: {error}"))),
        };
        if let Some((entry, failed)) = over.failed {
            self.found.insert(over.name.clone(), Found::Unlocked(entry));
            self.note(&over.name, None, Err(anyhow!(failed)));
        }
        if over.is_gone {
            self.kept.remove(&over.name);
        } else if let Some(kept) = self.kept.get_mut(&over.name) {
            kept.runs = None;
        }
    }
}

/// Takes a pod that no other process works on now.
async fn lock(context: &Context, entry: &Entry) -> Result<LockedPod> {
    // It is waited for by whoever tries again.
    if context.store.is_locked(entry).await {
        bail!("another rrun works on it");
    }
    context.store.lock_existing(entry).await?.context("another rrun works on it")
}

fn kind(error: &anyhow::Error) -> Option<Kind> {
    error.downcast_ref::<rrun_pod::error::Error>().map(rrun_pod::error::Error::kind)
}

/// Puts on record what a pod's file is called now, and how it is written there.
async fn redefine(context: &Context, kept: &mut Kept, definition: Definition) -> Result<()> {
    if kept.definition == definition {
        return Ok(());
    }
    match &kept.runs {
        Some(runs) => match runs.redefinition.lock().await.as_mut() {
            Some(on_record) => on_record.write(definition.clone()).await?,
            // It has ended meanwhile.
            None => return Ok(()),
        },
        None => {
            let entry = context.store.find(&full_name(&kept.pod)).await?;
            let locked = lock(context, &entry).await?;
            locked.redefinition().write(definition.clone()).await?;
        }
    }
    kept.definition = definition;
    Ok(())
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
