//! What is wrong with what is on disk and in the kernel of pods, found without changing anything.
//!
//! Other processes may work on pods. Whatever they make has a record before it: so the kernel is asked
//! first, then the folders. A pod that somebody has locked is his to mend, and what is seen once and
//! not a second time was somebody's work in progress. What is to be done is nothing new: a start of
//! `rrund` does it, or whoever takes a pod over.

use crate::config::{Config, Takeover};
use crate::dirs::Dirs;
use crate::error::{Context, Result};
use crate::groups;
use crate::id::PodId;
use crate::on_disk::{OnDisk, Read, check_state_is_there, is_there, pods_in, read_pod};
use crate::phase::{ContainerPhase, PodPhase};
use crate::record::PodRecord;
use crate::verbs::run_pod::{is_netns_name, netns_path};
use rrun_runtime::cgroup::{self, Layout};
use rrun_runtime::plan::Cgroups;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A pod: its record, or that nobody goes on with it.
    Pod,
    /// A container, likewise.
    Container,
    /// A shim whose pod has no record.
    Shim,
    /// The state folder of a pod that has no record.
    StateFolder,
    /// The run folder of a pod that has no state folder.
    RunFolder,
    /// A control group of a pod of which nothing is on disk.
    Group,
    /// A pinned network namespace of such a pod.
    Namespace,
}

impl Fault {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Pod => "pod",
            Fault::Container => "container",
            Fault::Shim => "shim",
            Fault::StateFolder => "state folder",
            Fault::RunFolder => "run folder",
            Fault::Group => "control group",
            Fault::Namespace => "namespace",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind of thing.
    pub fault: Fault,
    /// Which one: an id, or a path.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// Who does something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Whoever opens an engine with this.
    TakeOver(Takeover),
    /// [`crate::Engine::end_unknown`].
    End,
    /// A person: why nobody else.
    Nobody(&'static str),
}

/// Something that is wrong, with what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is wrong.
    pub finding: Finding,
    /// The pod that it is of.
    pub pod: PodId,
    /// Who does something about it.
    pub remedy: Remedy,
    /// What was done then.
    pub done: &'static str,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What is wrong.
    pub found: Vec<Found>,
    /// What is not wrong and should be known.
    pub notes: BTreeSet<String>,
    /// Pods whose records were read.
    pub pods: usize,
    /// Containers likewise.
    pub containers: usize,
}

/// Looks at the pods of `config`, of whatever owner; of those that are `attached` to a network the
/// namespaces are known too. Blocks.
///
/// # Errors
/// `FailedPrecondition` where the state of all pods is gone and their shims run; else of the disk.
/// What is wrong with pods is none.
pub fn look(config: &Config, attached: &BTreeSet<String>) -> Result<Look> {
    check_state_is_there(&Config { takeover: Takeover::Nameless, ..config.clone() })?;
    let mut seen = once(config, attached)?;
    if !seen.found.is_empty() {
        sleep(PAUSE);
        let again = once(config, attached)?;
        seen.found.retain(|one| again.found.contains(one));
    }
    seen.found.sort_by(|a, b| a.finding.cmp(&b.finding));
    Ok(seen)
}

fn once(config: &Config, attached: &BTreeSet<String>) -> Result<Look> {
    let mut look = Look::default();
    let grouped = own_groups(config, &mut look);
    let pinned = names(&config.netns_dir)?;
    let folders = [config.root.join("pods"), config.run.join("pods")];
    let pods = pods_in(&folders)?;
    for folder in &folders {
        for name in names(folder)?.iter().filter(|name| name.parse::<PodId>().is_err()) {
            look.notes.insert(format!("{}: no pod's, left alone", folder.join(name).display()));
        }
    }
    for pod in &pods {
        judge(&mut look, config, pod)?;
    }
    let attached = attached.iter().filter_map(|id| id.parse().ok());
    let mut known: BTreeSet<PodId> = attached.collect();
    for (pod, processes) in grouped.iter().filter(|(pod, _)| !pods.contains(*pod)) {
        let (mut what, mut remedy) = ("its pod is not on record".to_owned(), Remedy::End);
        if *processes > 0 {
            what += ", and processes are in it";
        }
        // It may be of a pod that is on record below another root.
        if *processes > 0 && !known.contains(pod) {
            remedy = Remedy::Nobody(
                "whose they are is nowhere on record: end them, if they are nobody's",
            );
        } else {
            known.insert(pod.clone());
        }
        look.add(pod, Fault::Group, groups::of_own(config, pod)?, what, (remedy, "removed"));
    }
    namespaces(&mut look, config, &pinned, (&pods, &known));
    let put_away = names(&config.root.join("quarantine"))?.len();
    if put_away > 0 {
        let folder = config.root.join("quarantine");
        look.notes.insert(format!("{}: {put_away} put away so far", folder.display()));
    }
    Ok(look)
}

impl Look {
    fn add(
        &mut self,
        pod: &PodId,
        fault: Fault,
        object: impl ToString,
        what: impl ToString,
        (remedy, done): (Remedy, &'static str),
    ) {
        let finding = Finding { fault, object: object.to_string(), what: what.to_string() };
        self.found.push(Found { finding, pod: pod.clone(), remedy, done });
    }
}

fn judge(look: &mut Look, config: &Config, pod: &PodId) -> Result<()> {
    let dirs = Dirs::new(config, pod);
    let nameless = Remedy::TakeOver(Takeover::Nameless);
    match read_pod(&dirs, pod)? {
        Read::Pod { record, containers } => judge_pod(look, &dirs, &record, containers)?,
        Read::Broken(why) => {
            let done = "ended, what is left of it is in quarantine";
            look.add(pod, Fault::Pod, pod, why, (nameless, done));
        }
        Read::Nothing { .. } if is_worked_on(&dirs) => {}
        Read::Nothing { has_shim: true } => {
            let what = format!("its pod {pod} has no record");
            let object = dirs.run.display();
            look.add(pod, Fault::Shim, object, what, (nameless, "ended, with its pod"));
        }
        Read::Nothing { has_shim: false } if is_there(&dirs.state) => {
            let object = dirs.state.display();
            look.add(pod, Fault::StateFolder, object, "it has no record", (nameless, "removed"));
        }
        Read::Nothing { has_shim: false } if is_there(&dirs.run) => {
            let (object, what) = (dirs.run.display(), "it has no state folder");
            look.add(pod, Fault::RunFolder, object, what, (nameless, "removed"));
        }
        Read::Nothing { .. } => {}
    }
    Ok(())
}

/// Of a pod that somebody works on, what he has in hand is his. A record that is broken is told all
/// the same: it was written whole, whoever has the pod.
fn judge_pod(look: &mut Look, dirs: &Dirs, record: &PodRecord, of: OnDisk) -> Result<()> {
    look.pods += 1;
    look.containers += of.records.len();
    let pod = &record.id;
    let by = Remedy::TakeOver(Takeover::Pod(record.owner.clone(), record.config.uid.clone()));
    for (name, why) in of.broken {
        let done = "ended, its record is in quarantine";
        look.add(pod, Fault::Container, name, why, (by.clone(), done));
    }
    for name in names(&dirs.containers())? {
        let path = dirs.containers().join(&name);
        let known = ["json", "spec", "tmp"];
        if !path.extension().is_some_and(|end| known.iter().any(|known| end == *known)) {
            look.notes.insert(format!("{}: no container's, left alone", path.display()));
        }
    }
    if is_worked_on(dirs) {
        return Ok(());
    }
    let cut = match record.phase {
        PodPhase::Making => Some(("its making was cut off", "taken back")),
        PodPhase::Removing => Some(("its removal was cut off", "removed")),
        PodPhase::Ready | PodPhase::Ending | PodPhase::Stopped => None,
    };
    if let Some((what, done)) = cut {
        look.add(pod, Fault::Pod, pod, what, (by, done));
        return Ok(());
    }
    for container in of.records {
        let (what, done) = match container.phase {
            ContainerPhase::Making => ("its making was cut off", "taken back"),
            ContainerPhase::Removing => ("its removal was cut off", "removed"),
            _ => continue,
        };
        look.add(pod, Fault::Container, container.id, what, (by.clone(), done));
    }
    Ok(())
}

/// Whether another process has the pod's lock. It is not tried: whoever wants it at that moment
/// would believe that somebody works on the pod.
fn is_worked_on(dirs: &Dirs) -> bool {
    let us = nix::unistd::getpid().as_raw();
    rrun_sys::record::holder(&dirs.lock()).is_some_and(|pid| pid != us)
}

/// The pods that have a control group of their own, by its name, below the one of all pods, with how
/// many processes are in it.
fn own_groups(config: &Config, look: &mut Look) -> BTreeMap<PodId, usize> {
    let found = || -> Result<BTreeMap<PodId, usize>> {
        let (parent, layout) = (groups::of_all(config)?, Layout::detect(&config.cgroup_root)?);
        let mut pods = BTreeMap::new();
        for dir in layout.dirs(Path::new(&parent)) {
            for pod in names(&dir.path)?.iter().filter_map(|name| groups::owner(config, name)) {
                let dirs = layout.dirs(Path::new(&groups::of_own(config, &pod)?));
                let in_it = cgroup::processes(&Cgroups { dirs, ..Cgroups::default() })?;
                pods.insert(pod, in_it.len());
            }
        }
        Ok(pods)
    };
    found().unwrap_or_else(|error| {
        look.notes.insert(format!("control groups are not looked at: {error}"));
        BTreeMap::new()
    })
}

/// Namespaces that are pinned where those of pods are. Others (containerd) give them names of the same
/// form, so that one is known to be ours by its pod's id alone.
fn namespaces(
    look: &mut Look,
    config: &Config,
    pinned: &[String],
    (pods, known): (&BTreeSet<PodId>, &BTreeSet<PodId>),
) {
    let path = |pod: &PodId| netns_path(config, pod);
    let of_pods: BTreeSet<PathBuf> = pods.iter().map(path).collect();
    let mut others = 0;
    for name in pinned.iter().filter(|name| is_netns_name(name)) {
        let pin = config.netns_dir.join(name);
        if of_pods.contains(&pin) {
            continue;
        }
        match known.iter().find(|pod| path(pod) == pin) {
            Some(pod) => {
                let what = format!("its pod {pod} is not on record");
                let object = pin.display();
                look.add(pod, Fault::Namespace, object, what, (Remedy::End, "unpinned"));
            }
            None => others += 1,
        }
    }
    if others > 0 {
        let folder = config.netns_dir.display();
        let what = "are of no pod on record and may be another runtime's: left alone";
        look.notes.insert(format!("{folder}: {others} namespaces {what}"));
    }
}

/// Names in a folder; none if there is none.
fn names(folder: &Path) -> Result<Vec<String>> {
    let what = || format!("read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        entries => entries.context(what)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.context(what)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Ids of the pods of which anything is on disk, of whatever process, for whoever looks and makes
/// nothing.
///
/// # Errors
/// `FailedPrecondition` where the state of all pods is gone and their shims run; else of the disk.
pub fn pods_on_record(config: &Config) -> Result<BTreeSet<PodId>> {
    check_state_is_there(&Config { takeover: Takeover::Nameless, ..config.clone() })?;
    pods_in(&[config.root.join("pods"), config.run.join("pods")])
}
