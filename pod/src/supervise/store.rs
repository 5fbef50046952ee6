//! The records of pods, for asynchronous code: whatever looks at their disk, which may hang, does so
//! on threads that may block. What stands where, [`records`] says.

mod records;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use nix::fcntl::Flock;
use rrun_blocking::Blocking;
use tokio::time::Instant;

use super::definition::Definition;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::ids::PodUid;
use crate::model::Meta;
use crate::node::OtherPods;
use crate::record::try_lock;
use crate::state::PodState;

pub use records::{Attended, Entry};
use records::{Locked, LockedFiles, socket};
pub(super) use records::{Records, make_private};

/// Calls of one store at a time: what hangs of a pod's takes one.
const CALLS: usize = 32;

/// How long a command waits for another one that works on the pod for a moment.
const BUSY: Duration = Duration::from_secs(10);

/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// The records of all pods.
#[derive(Clone, Debug)]
pub struct Store {
    run: PathBuf,
    records: Blocking<Records>,
}

impl Store {
    /// Records below `root`, which survives a reboot; locks and sockets below `run`, which does
    /// not. Makes nothing.
    pub fn new(root: PathBuf, run: PathBuf) -> Store {
        let records = Records { root, run: run.clone() };
        Store { run, records: Blocking::new(records, CALLS) }
    }

    /// Does something with the records, on a thread that may block.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Records) -> R + Send + 'static,
    ) -> R {
        self.records.call(work).await
    }

    /// All pods, by namespace and name, and why those that cannot be read cannot.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub async fn all(&self) -> Result<(Vec<Entry>, Vec<Error>)> {
        self.call(Records::all).await
    }

    /// The pod that `text` names: `name`, `namespace/name`, a uid or a unique beginning of one.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when several are called so.
    pub async fn find(&self, text: &str) -> Result<Entry> {
        let text = text.to_owned();
        self.call(move |records| records.find(&text)).await
    }

    /// The pod of that uid, name or full name that a process runs now, and can be asked. No record
    /// is read for that: their disk may hang.
    pub async fn find_attended(&self, text: &str) -> Option<Attended> {
        let text = text.to_owned();
        self.call(move |records| records.find_attended(&text)).await
    }

    /// Whether a process works on the pod now.
    pub async fn is_locked(&self, entry: &Entry) -> bool {
        let key = entry.key();
        self.call(move |records| records.is_locked(&key)).await
    }

    /// The number of the process that works on the pod now, where the kernel tells it.
    pub async fn holder(&self, entry: &Entry) -> Option<i32> {
        let key = entry.key();
        self.call(move |records| records.holder(&key)).await
    }

    /// The events on record, oldest first.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn events(&self, entry: &Entry) -> Result<Vec<Event>> {
        let key = entry.key();
        self.call(move |records| records.events(&key)).await
    }

    /// How many bytes the events on record take: another number when there are new ones.
    pub async fn events_size(&self, entry: &Entry) -> u64 {
        let key = entry.key();
        self.call(move |records| records.events_size(&key)).await
    }

    /// Where a socket of the process that runs the pod is.
    pub fn socket(&self, uid: &PodUid, what: &str) -> PathBuf {
        socket(&self.run, uid, what)
    }

    /// The file in which the process that runs a pod in the background says what it could not do.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn diagnostics(&self, entry: &Entry) -> Result<File> {
        let key = entry.key();
        self.call(move |records| records.diagnostics(&key)).await
    }

    /// For the one process that runs the pods of a folder of manifests; `None` while there is another.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn lock_manifests(&self) -> Result<Option<ManifestsLock>> {
        let lock = self.call(|records| {
            make_private(&records.run)?;
            try_lock(&records.run.join("manifests.lock"))
        });
        Ok(lock.await?.map(ManifestsLock))
    }

    /// Takes a pod that is to be run. What is on record of it stays, if it is the same manifest.
    ///
    /// # Errors
    /// `Exists` when another process works on it, or when a pod with this name and another
    /// manifest, or one that has ended, is on record.
    pub async fn lock_to_run(&self, definition: Definition, meta: &Meta) -> Result<LockedPod> {
        let meta = meta.clone();
        let (entry, files) = self.call(move |r| r.lock_to_run(definition, &meta)).await?;
        Ok(LockedPod::new(entry, files))
    }

    /// Takes a pod that is on record; waits a moment for a command that is about to end. `None`
    /// when somebody goes on working on it.
    ///
    /// # Errors
    /// `NotFound` when it is gone by now.
    pub async fn lock_existing(&self, entry: &Entry) -> Result<Option<LockedPod>> {
        let end = Instant::now() + BUSY;
        loop {
            let wanted = entry.clone();
            match self.call(move |records| records.lock_existing(&wanted)).await? {
                Locked::Ours(entry, files) => return Ok(Some(LockedPod::new(*entry, files))),
                Locked::Busy if Instant::now() < end => tokio::time::sleep(LOOK).await,
                Locked::Busy | Locked::Attended => return Ok(None),
            }
        }
    }
}

/// Released when it is dropped.
#[derive(Debug)]
pub struct ManifestsLock(#[allow(dead_code)] Flock<File>);

#[async_trait]
impl OtherPods for Store {
    async fn addresses(&self, namespace: &str, name: &str) -> Result<Option<Vec<String>>> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.call(move |records| records.addresses(&namespace, &name)).await
    }
}

/// A pod that this process alone works on, until this is dropped and nothing of it is being written.
#[derive(Debug)]
pub struct LockedPod {
    /// What is on record of it.
    pub entry: Entry,
    files: Blocking<LockedFiles>,
}

impl LockedPod {
    fn new(entry: Entry, files: LockedFiles) -> LockedPod {
        // In the order in which they are asked for.
        LockedPod { entry, files: Blocking::new(files, 1) }
    }

    /// Says in the lock which pod it is of.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) async fn announce(&self) -> Result<()> {
        let uid = self.entry.uid.clone();
        self.files.call(move |files| files.announce(&uid)).await
    }

    /// The way to put another definition of the pod on record, beside its state.
    #[must_use]
    pub fn redefinition(&self) -> Redefinition {
        let entry = Entry { state: None, ..self.entry.clone() };
        Redefinition { entry, files: self.files.clone() }
    }

    /// Puts the pod's state on record.
    ///
    /// # Errors
    /// Those of the file system; what was on record is still there.
    pub async fn save(&mut self, state: PodState) -> Result<()> {
        self.entry.state = Some(state.clone());
        self.files.call(move |files| files.save(&state)).await
    }

    /// Puts an event on record.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn record(&self, event: Event) -> Result<()> {
        self.files.call(move |files| files.record(&event)).await
    }

    /// Forgets the pod.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn discard(self) -> Result<()> {
        self.files.call(LockedFiles::discard).await
    }
}

/// What was asked for of a pod that is taken, to be replaced.
#[derive(Debug)]
pub struct Redefinition {
    entry: Entry,
    files: Blocking<LockedFiles>,
}

impl Redefinition {
    /// Puts this on record. The pod's uid stays.
    ///
    /// # Errors
    /// Those of the file system; what was on record is still there.
    pub async fn write(&mut self, definition: Definition) -> Result<()> {
        self.entry.definition = definition;
        let entry = self.entry.clone();
        self.files.call(move |files| files.define(&entry)).await
    }
}

#[cfg(test)]
mod tests;
