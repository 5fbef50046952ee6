//! What is on disk of pods and containers when an engine is opened: which there are, and their
//! records, as they are read and checked.

use crate::config::Config;
use crate::dirs::{self, Dirs};
use crate::error::{Context, Error, Result};
use crate::id::{ContainerId, PodId};
use crate::record::{self, ContainerRecord, PodRecord};
use rrun_shim_protocol::Launch;
use rrun_sys::step;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A pod with this run folder has a shim, or had one that was not ended.
fn has_shim(run: &Path) -> bool {
    is_there(&Launch::socket(run)) || is_there(&run.join("shim.pid"))
}

/// The pods whose record is gone are ended. When nothing at all is left of the state of pods that
/// run, its disk is more likely not mounted yet.
///
/// # Errors
/// `FailedPrecondition`, with what is missing and whose shims there are.
pub(crate) fn check_state_is_there(config: &Config) -> Result<()> {
    let (state, run) = (config.root.join("pods"), config.run.join("pods"));
    if !config.takeover.takes_nameless() || is_there(&state) {
        return Ok(());
    }
    let entries = match fs::read_dir(&run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.context(|| format!("read {}", run.display()))?,
    };
    match entries.filter_map(io::Result::ok).filter(|entry| has_shim(&entry.path())).count() {
        0 => Ok(()),
        shims => {
            let (state, run) = (state.display(), run.display());
            let message = format!(
                "{state} is not there, and {run} has the shims of {shims} pods: if its disk is not \
                 to be mounted, make it, and they are ended"
            );
            Err(Error::precondition(message))
        }
    }
}

/// Every pod that has a state folder, or a run folder without one.
pub(crate) fn pods_on_disk(config: &Config) -> Result<BTreeSet<PodId>> {
    let folders = [config.root.join("pods"), config.run.join("pods")];
    for folder in &folders {
        step::run("engine.open.pods-dir", || dirs::make(folder))?;
    }
    pods_in(&folders)
}

/// The same of these folders, none of which is made.
pub(crate) fn pods_in(folders: &[PathBuf]) -> Result<BTreeSet<PodId>> {
    let mut all = BTreeSet::new();
    for folder in folders {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.context(|| format!("read {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry.context(|| format!("read {}", folder.display()))?;
            // What has no pod's name is not ours to touch.
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                all.insert(id);
            }
        }
    }
    Ok(all)
}

/// Ids of the containers that have a record below `root`, of whatever process, for whoever looks and
/// makes nothing.
///
/// # Errors
/// `FailedPrecondition` while there is the shim of a pod whose record is gone or cannot be read:
/// nobody knows its containers. Else of the disk.
pub fn containers_on_record(root: &Path, run: &Path) -> Result<BTreeSet<ContainerId>> {
    let mut containers = BTreeSet::new();
    for pod in pods_in(&[root.join("pods"), run.join("pods")])? {
        let dirs = Dirs::below(root, run, &pod);
        if has_shim(&dirs.run) && record::read::<PodRecord>(&dirs.record()).is_err() {
            let message = format!("pod {pod} has a shim and no record: rrund ends it at its start");
            return Err(Error::precondition(message));
        }
        containers.extend(containers_in(&dirs));
    }
    Ok(containers)
}

/// By the names of their records. A pod that goes away meanwhile has none.
fn containers_in(dirs: &Dirs) -> BTreeSet<ContainerId> {
    let entries = fs::read_dir(dirs.containers()).into_iter().flatten().flatten();
    let id = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok();
    entries.filter_map(|entry| id(entry.path())).collect()
}

/// What is read of a pod.
pub(crate) enum Read {
    /// Folders without a record: their maker died before its first effect, or after its last. Or
    /// somebody has removed it: then there was a shim.
    Nothing {
        has_shim: bool,
    },
    Broken(String),
    Pod {
        record: Box<PodRecord>,
        containers: OnDisk,
    },
}

/// What a pod has on disk of its containers.
pub(crate) struct OnDisk {
    /// By age.
    pub(crate) records: Vec<ContainerRecord>,
    /// The names of those that are broken, with the reason.
    pub(crate) broken: Vec<(String, String)>,
}

pub(crate) fn read_pod(dirs: &Dirs, id: &PodId) -> Result<Read> {
    let path = dirs.record();
    if !is_there(&path) {
        return Ok(Read::Nothing { has_shim: has_shim(&dirs.run) });
    }
    let record = match record::read::<PodRecord>(&path) {
        Ok(record) if record.id == *id => record,
        Ok(record) => return Ok(Read::Broken(of_another(&path, "pod", record.id.as_str()))),
        Err(error) => return Ok(Read::Broken(error.to_string())),
    };
    Ok(Read::Pod { record: Box::new(record), containers: read_containers(dirs, id)? })
}

pub(crate) fn read_containers(dirs: &Dirs, pod: &PodId) -> Result<OnDisk> {
    let (mut records, mut broken) = (Vec::new(), Vec::new());
    let folder = dirs.containers();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => {
            let entries = other.context(|| format!("read {}", folder.display()))?;
            entries.flatten().map(|entry| entry.path()).collect()
        }
    };
    for path in entries.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
        match read_container(path, pod) {
            Ok(record) => records.push(record),
            Err(error) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                broken.push((name, error.to_string()));
            }
        }
    }
    records.sort_by_key(|container| container.created_at);
    Ok(OnDisk { records, broken })
}

/// The record of a container of `pod`. One that stands where another container's belongs is broken.
pub(crate) fn read_container(path: &Path, pod: &PodId) -> Result<ContainerRecord> {
    let record = record::read::<ContainerRecord>(path)?;
    if path.file_stem().is_none_or(|name| name != record.id.as_str()) {
        return Err(Error::internal(of_another(path, "container", record.id.as_str())));
    }
    if record.pod != *pod {
        let what = format!("container {} of pod", record.id);
        return Err(Error::internal(of_another(path, &what, record.pod.as_str())));
    }
    Ok(record)
}

/// What is wrong with a copy.
fn of_another(path: &Path, what: &str, id: &str) -> String {
    format!("{}: it is the record of {what} {id}", path.display())
}

/// Pods and containers that have a record, of whatever process.
pub(crate) fn on_record(config: &Config) -> Result<(BTreeSet<PodId>, BTreeSet<ContainerId>)> {
    let pods = pods_on_disk(config)?;
    let mut containers = BTreeSet::new();
    for pod in &pods {
        containers.extend(containers_in(&Dirs::new(config, pod)));
    }
    Ok((pods, containers))
}
