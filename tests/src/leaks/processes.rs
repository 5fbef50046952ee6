//! Processes of the programs under test, and of the pods that they run.

use super::View;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long ends may take: the first process of a PID namespace ends when the machine's init has
/// reaped those that came from outside of it, and that may look only now and then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Processes that were seen to bear no mark, by number, start and name: to look for marks takes
/// four files, and most processes of a machine are never ours.
pub(super) type Strangers = Mutex<HashSet<(u32, String, String)>>;

struct Process {
    parent: u32,
    /// `name`, or `name (zombie)`.
    line: String,
    marked: bool,
    /// A child of the test process.
    own: bool,
}

/// Processes that bear a mark in their command line, environment, cgroups or mounts, and all of
/// their descendants; the test process itself and its ancestors are never among them.
pub fn processes(view: &View) -> Result<BTreeSet<String>> {
    Ok(find(view)?.into_iter().map(|(pid, process)| format!("{pid} {}", process.line)).collect())
}

/// Kills them all, waits for their ends, and removes the cgroups that become empty.
pub fn end_all(view: &View) -> Result<()> {
    let (mut groups, mut killed) = (BTreeSet::new(), BTreeSet::new());
    let deadline = Instant::now() + PATIENCE;
    // Again until none is left: one may have been forking.
    while Instant::now() < deadline {
        let mut found = find(view)?;
        // Zombies are another's to reap; our own children are their owners' to kill and reap.
        found.retain(|_, process| !process.line.ends_with("(zombie)") && !process.own);
        // One that is dying loses its marks before it is dead.
        if found.is_empty() && killed.iter().all(|pid| is_dead(*pid)) {
            break;
        }
        for pid in found.into_keys() {
            groups.extend(cgroups(pid));
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            killed.insert(pid);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for group in groups {
        let mut folder = group.as_path();
        // Only empty ones go.
        while fs::remove_dir(folder).is_ok() {
            let Some(parent) = folder.parent() else { break };
            folder = parent;
        }
    }
    Ok(())
}

fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// The directories that a process is in, those of the whole machine left out.
fn cgroups(pid: u32) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(names), Some(path)) = (fields.next(), fields.next())
            && path != "/"
        {
            let hierarchy = match names.strip_prefix("name=").unwrap_or(names) {
                "" if Path::new("/sys/fs/cgroup/unified").exists() => "/unified".to_owned(),
                "" => String::new(),
                names => format!("/{names}"),
            };
            found.push(PathBuf::from(format!("/sys/fs/cgroup{hierarchy}{path}")));
        }
    }
    found
}

fn find(view: &View) -> Result<BTreeMap<u32, Process>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<u32>();
        // A process may end while this reads.
        if let Ok(pid) = pid
            && let Some(process) = read(view, pid, &entry.path())
        {
            all.insert(pid, process);
        }
    }
    let exempt = ancestors(&all);
    let found: BTreeSet<u32> = all
        .keys()
        .copied()
        .filter(|pid| !exempt.contains(pid) && marked(&all, &exempt, *pid))
        .collect();
    all.retain(|pid, _| found.contains(pid));
    Ok(all)
}

fn read(view: &View, pid: u32, folder: &Path) -> Option<Process> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name may contain spaces and parentheses: fields begin after the last one.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let state = rest.next()?;
    let parent = rest.next()?.parse().ok()?;
    // It is the machine's init that has to reap it.
    if state == "Z" && parent == 1 {
        return None;
    }
    // Field 22 of proc_pid_stat(5): the start.
    let key = (pid, rest.nth(17)?.to_owned(), name.to_owned());
    let mut strangers = view.strangers.lock().unwrap_or_else(PoisonError::into_inner);
    // All that a zombie has left is its name.
    let marked = !strangers.contains(&key) && (view.marks(name) || bears_mark(view, folder));
    if !marked {
        strangers.insert(key);
    }
    let line = if state == "Z" { format!("{name} (zombie)") } else { name.to_owned() };
    Some(Process { parent, line, marked, own: parent == std::process::id() })
}

fn bears_mark(view: &View, folder: &Path) -> bool {
    ["cmdline", "environ", "cgroup", "mountinfo"].into_iter().any(|file| {
        // The machine's own mount table bears every mark while a pod runs.
        let own = file == "mountinfo" && same_mounts(folder);
        let read = || fs::read(folder.join(file)).unwrap_or_default();
        !own && view.marks(&String::from_utf8_lossy(&read()))
    })
}

fn same_mounts(folder: &Path) -> bool {
    let ours = fs::read_link("/proc/self/ns/mnt").ok();
    fs::read_link(folder.join("ns/mnt")).ok() == ours
}

fn ancestors(all: &BTreeMap<u32, Process>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut pid = std::process::id();
    while pid != 0 && found.insert(pid) {
        pid = all.get(&pid).map_or(0, |process| process.parent);
    }
    found
}

fn marked(all: &BTreeMap<u32, Process>, exempt: &BTreeSet<u32>, mut pid: u32) -> bool {
    while let Some(process) = all.get(&pid) {
        if exempt.contains(&pid) {
            return false;
        }
        if process.marked {
            return true;
        }
        pid = process.parent;
    }
    false
}
