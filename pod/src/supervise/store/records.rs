//! Where the records of pods are, and who works on which. Everything here may wait for a disk.
//!
//! `<root>/<namespace>_<name>/` holds the records `definition`, `state` and the list `events`;
//! `<run>/<namespace>_<name>.lock` is locked by the process that works on the pod and holds its uid,
//! and `<run>/<uid>.cri` and `.stop` are its sockets. Death releases the lock. Beside the folders,
//! `<root>/images` is the record of images, `<root>/containers` that of dead containers and
//! `<root>/tombstones` the list of those that were removed; `<run>/images.lock` and
//! `<run>/containers.lock` are held by whoever collects.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::super::definition::Definition;
use crate::error::{Context, Error, Kind, Result};
use crate::events::Event;
use crate::ids::PodUid;
use crate::model::{Meta, Pod};
use crate::record::{Format, try_lock};
use crate::state::PodState;
use crate::status::Phase;

/// Version 2 may be one pod of several.
const DEFINITION: Format = Format { name: "definition", version: 2 };
const STATE: Format = Format { name: "state", version: 1 };
const EVENTS: Format = Format { name: "event", version: 1 };

/// The longest list of events, in bytes; the one before it is kept as well.
const LONGEST_EVENTS: u64 = 1 << 20;

/// The record `definition`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Defined {
    namespace: String,
    name: String,
    uid: String,
    definition: Definition,
}

/// The records of all pods, as whoever may wait for a disk has them.
pub struct Records {
    /// What survives a reboot.
    pub root: PathBuf,
    /// Locks and sockets.
    pub run: PathBuf,
}

/// What came of a try to lock a pod that is on record.
pub enum Locked {
    /// It is this process's.
    Ours(Box<Entry>, LockedFiles),
    /// Another process goes on working on it.
    Attended,
    /// Another process works on it now, perhaps for a moment.
    Busy,
}

/// What is on record of a pod.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pod's.
    pub namespace: String,
    /// The pod's.
    pub name: String,
    /// The pod's, for as long as it is on record.
    pub uid: PodUid,
    /// What was asked for.
    pub definition: Definition,
    /// As it was left; none before anything was known.
    pub state: Option<PodState>,
}

impl Entry {
    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.state.as_ref().map(|state| state.status.phase).unwrap_or_default()
    }

    /// What its definition says.
    ///
    /// # Errors
    /// `Invalid` when this version does not take it.
    pub fn pod(&self) -> Result<Pod> {
        self.definition.pod_with(&self.uid)
    }

    /// `namespace/name`
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}_{name}")
}

/// Where a socket of the process that runs the pod is.
pub fn socket(run: &Path, uid: &PodUid, what: &str) -> PathBuf {
    run.join(format!("{uid}.{what}"))
}

impl Records {
    /// All pods, by namespace and name, and why those that cannot be read cannot.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn all(&self) -> Result<(Vec<Entry>, Vec<Error>)> {
        let folders = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            other => other.context(|| format!("read {}", self.root.display()))?,
        };
        let (mut entries, mut broken) = (Vec::new(), Vec::new());
        // The names of what is no pod's have no `_`, as those of namespaces and pods have none.
        let of_pods = folders.flatten().filter(|e| e.file_name().as_bytes().contains(&b'_'));
        for folder in of_pods.map(|entry| entry.path()) {
            match read(&folder) {
                Ok((entry, fault)) => {
                    entries.extend(entry);
                    broken.extend(fault);
                }
                Err(e) => broken.push(e),
            }
        }
        entries.sort_by_key(Entry::key);
        Ok((entries, broken))
    }

    /// The pod that `text` names: `name`, `namespace/name`, a uid or a unique beginning of one.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when several are called so.
    pub fn find(&self, text: &str) -> Result<Entry> {
        let (all, broken) = self.all()?;
        let named = |entry: &&Entry| {
            entry.uid.as_str() == text
                || entry.full_name() == text
                || (entry.name == text && entry.namespace == "default")
        };
        if let Some(entry) = all.iter().find(named) {
            return Ok(entry.clone());
        }
        let near = |entry: &&Entry| entry.name == text || entry.uid.as_str().starts_with(text);
        let near: Vec<_> = all.iter().filter(near).collect();
        match near.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(broken.into_iter().find(|e| e.to_string().contains(text)).unwrap_or_else(
                || Error::new(Kind::NotFound, format!("pod {text}: not found (rrun ps --all)")),
            )),
            several => {
                let names: Vec<_> = several.iter().map(|entry| entry.full_name()).collect();
                let text = format!("pod {text}: which of {}?", names.join(", "));
                Err(Error::new(Kind::Invalid, text))
            }
        }
    }

    /// The pod of that uid, name or full name that a process runs now, and can be asked. No record
    /// is read for that: their disk may hang.
    pub fn find_attended(&self, text: &str) -> Option<Attended> {
        let locks = fs::read_dir(&self.run).ok()?.flatten();
        let attended = |lock: fs::DirEntry| {
            let name = lock.file_name().into_string().ok()?;
            let (namespace, name) = name.strip_suffix(".lock")?.split_once('_')?;
            let uid = PodUid::parse(rrun_sys::record::read_text(&lock.path()).ok()?.trim()).ok()?;
            let full_name = format!("{namespace}/{name}");
            let is_meant = uid.as_str() == text
                || full_name == text
                || (namespace == "default" && name == text);
            let is_there = is_meant && socket(&self.run, &uid, "stop").exists();
            is_there.then_some(Attended { full_name, uid })
        };
        locks.filter_map(attended).find(|found| {
            let (namespace, name) = found.full_name.split_once('/').unwrap_or_default();
            is_held(&self.lock_path(&key(namespace, name)))
        })
    }

    /// Whether a process works on the pod now.
    pub fn is_locked(&self, key: &str) -> bool {
        is_held(&self.lock_path(key))
    }

    /// The number of the process that works on the pod now, where the kernel tells it.
    pub fn holder(&self, key: &str) -> Option<i32> {
        rrun_sys::record::holder(&self.lock_path(key))
    }

    /// The events on record, oldest first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn events(&self, key: &str) -> Result<Vec<Event>> {
        let path = self.folder(key).join("events");
        let mut events = EVENTS.read_list(&path.with_extension("before"))?;
        events.extend(EVENTS.read_list(&path)?);
        Ok(events)
    }

    /// How many bytes the events on record take: another number when there are new ones.
    pub fn events_size(&self, key: &str) -> u64 {
        let path = self.folder(key).join("events");
        let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        size(&path) + size(&path.with_extension("before"))
    }

    /// The file in which the process that runs a pod in the background says what it could not do.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn diagnostics(&self, key: &str) -> Result<File> {
        to_append(&self.folder(key).join("diagnostics"))
    }

    /// Takes a pod that is to be run. What is on record of it stays, if it is the same manifest.
    ///
    /// # Errors
    /// `Exists` when another process works on it, or when a pod with this name and another
    /// manifest, or one that has ended, is on record.
    pub fn lock_to_run(&self, definition: Definition, meta: &Meta) -> Result<(Entry, LockedFiles)> {
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        let uid = meta.uid.clone();
        let mut entry = Entry { namespace, name, uid, definition, state: None };
        let full = entry.full_name();
        let exists = |why: &str| Error::new(Kind::Exists, format!("pod {full}: {why}"));
        let Some(files) = self.lock(&entry)? else {
            return Err(exists("another rrun works on it"));
        };
        if let Some(before) = read(&files.folder)?.0 {
            if !before.definition.is_same_pod(&entry.definition) {
                let why = "there is one with another manifest: rrun rm it first";
                return Err(exists(why));
            }
            if before.phase().is_terminal() {
                let phase = before.phase().as_str();
                return Err(exists(&format!("it has ended ({phase}): rrun rm it first")));
            }
            (entry.uid, entry.state) = (before.uid, before.state);
        }
        make_private(&files.folder)?;
        files.define(&entry)?;
        Ok((entry, files))
    }

    /// Takes a pod that is on record.
    ///
    /// # Errors
    /// `NotFound` when it is gone by now.
    pub fn lock_existing(&self, entry: &Entry) -> Result<Locked> {
        let Some(files) = self.lock(entry)? else {
            let attended = socket(&self.run, &entry.uid, "stop").exists();
            return Ok(if attended { Locked::Attended } else { Locked::Busy });
        };
        match read(&files.folder)?.0 {
            Some(entry) => Ok(Locked::Ours(Box::new(entry), files)),
            None => {
                let text = format!("pod {}: it is gone", entry.full_name());
                Err(Error::new(Kind::NotFound, text))
            }
        }
    }

    fn lock(&self, entry: &Entry) -> Result<Option<LockedFiles>> {
        let (folder, path) = (self.folder(&entry.key()), self.lock_path(&entry.key()));
        make_private(&self.run)?;
        loop {
            let Some(lock) = try_lock(&path)? else { return Ok(None) };
            // Whoever held it may have removed it: a lock that nobody else finds is none.
            let inode = lock.metadata().map(|m| m.ino()).ok();
            if inode.is_some() && inode == fs::symlink_metadata(&path).map(|m| m.ino()).ok() {
                // Left by one that was killed: nobody is behind them.
                for what in ["cri", "stop"] {
                    let _ = fs::remove_file(socket(&self.run, &entry.uid, what));
                }
                return Ok(Some(LockedFiles { folder, path, lock }));
            }
        }
    }

    /// The addresses of a pod that runs; `None` where there is none of that name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn addresses(&self, namespace: &str, name: &str) -> Result<Option<Vec<String>>> {
        let key = key(namespace, name);
        let found = self.addresses_at(&key)?;
        if found.is_some() {
            return Ok(found);
        }
        // In the place of a Job's pod that has failed another one is made.
        match self.newest_try(&key)? {
            Some(key) => self.addresses_at(&key),
            None => Ok(None),
        }
    }

    /// The last of the pods that were made in the place of one.
    fn newest_try(&self, key: &str) -> Result<Option<String>> {
        let before = format!("{key}-retry");
        let folders = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.context(|| format!("read {}", self.root.display()))?,
        };
        let names = folders.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let tries = names.filter_map(|name| name.strip_prefix(&before)?.parse::<u32>().ok());
        let Some(newest) = tries.max() else { return Ok(None) };
        let key = format!("{before}{newest}");
        let defined: Option<Defined> = DEFINITION.read(&self.folder(&key).join("definition"))?;
        // Another pod may be called like one.
        Ok(defined.filter(|defined| defined.definition.is_another_try()).map(|_| key))
    }

    fn addresses_at(&self, key: &str) -> Result<Option<Vec<String>>> {
        let folder = self.folder(key);
        if !folder.join("definition").exists() {
            return Ok(None);
        }
        let state: Option<PodState> = STATE.read(&folder.join("state"))?;
        if state.as_ref().is_some_and(|state| state.status.phase.is_terminal()) {
            return Ok(None);
        }
        Ok(Some(state.map(|state| state.addresses).unwrap_or_default()))
    }

    fn folder(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.run.join(format!("{key}.lock"))
    }
}

/// A pod that some process runs.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `namespace/name`
    pub full_name: String,
    /// Its uid.
    pub uid: PodUid,
}

fn is_held(lock: &Path) -> bool {
    rrun_sys::record::open(lock).is_ok_and(|file| {
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    })
}

/// The files of a pod that this process alone works on.
pub struct LockedFiles {
    pub(super) folder: PathBuf,
    path: PathBuf,
    lock: Flock<File>,
}

impl LockedFiles {
    /// Says in the lock which pod it is of.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn announce(&self, uid: &PodUid) -> Result<()> {
        let write = || {
            self.lock.set_len(0)?;
            self.lock.write_all_at(uid.as_str().as_bytes(), 0)
        };
        write().context(|| format!("write {}", self.path.display()))
    }

    /// Puts on record what was asked for.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn define(&self, entry: &Entry) -> Result<()> {
        let Entry { namespace, name, uid, definition, .. } = entry;
        let defined = Defined {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.to_string(),
            definition: definition.clone(),
        };
        DEFINITION.write(&self.folder.join("definition"), &defined)
    }

    /// Puts the pod's state on record.
    ///
    /// # Errors
    /// Those of the file system; what was on record is still there.
    pub fn save(&self, state: &PodState) -> Result<()> {
        STATE.write(&self.folder.join("state"), state)
    }

    /// Puts an event on record.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn record(&self, event: &Event) -> Result<()> {
        let path = self.folder.join("events");
        if fs::metadata(&path).is_ok_and(|file| file.len() > LONGEST_EVENTS) {
            fs::rename(&path, path.with_extension("before"))
                .context(|| format!("rename {}", path.display()))?;
        }
        EVENTS.append(&mut to_append(&path)?, event)
    }

    /// Forgets the pod.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn discard(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).context(|| format!("remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for LockedFiles {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The records in a folder. A state that cannot be read is set aside, and its fault returned: what
/// the runtime has of the pod is found again without it.
fn read(folder: &Path) -> Result<(Option<Entry>, Option<Error>)> {
    let Some(defined) = DEFINITION.read::<Defined>(&folder.join("definition"))? else {
        return Ok((None, None));
    };
    let Defined { namespace, name, uid, definition } = defined;
    let uid = PodUid::parse(&uid).context(|| folder.display().to_string())?;
    let path = folder.join("state");
    let (state, fault) = match STATE.read(&path) {
        Ok(state) => (state, None),
        Err(e) => {
            let aside = path.with_extension("broken");
            let _ = fs::rename(&path, &aside);
            (None, Some(e.context(format!("set aside as {}", aside.display()))))
        }
    };
    Ok((Some(Entry { namespace, name, uid, definition, state }), fault))
}

fn to_append(path: &Path) -> Result<File> {
    rrun_sys::record::append(path, 0o600).context(|| format!("open {}", path.display()))
}

/// Definitions may hold secrets.
pub fn make_private(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.context(|| format!("make {}", folder.display()))
}
