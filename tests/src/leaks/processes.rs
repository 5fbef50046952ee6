//! Processes of the programs under test, and of the pods that they run.

use super::View;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

struct Process {
    parent: u32,
    /// `name`, or `name (zombie)`.
    line: String,
    marked: bool,
}

/// Processes that bear a mark in their command line, environment, cgroups or mounts, and all of
/// their descendants; the test process itself and its ancestors are never among them.
pub fn processes(view: &View) -> Result<BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<u32>();
        // A process may end while this reads.
        if let Ok(pid) = pid
            && let Some(process) = read(view, &entry.path())
        {
            all.insert(pid, process);
        }
    }
    let exempt = ancestors(&all);
    let mut found = BTreeSet::new();
    for (pid, process) in &all {
        if !exempt.contains(pid) && marked(&all, &exempt, *pid) {
            found.insert(format!("{pid} {}", process.line));
        }
    }
    Ok(found)
}

fn read(view: &View, folder: &Path) -> Option<Process> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name may contain spaces and parentheses: fields begin after the last one.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let state = rest.next()?;
    let parent = rest.next()?.parse().ok()?;
    let marked = ["cmdline", "environ", "cgroup", "mountinfo"].into_iter().any(|file| {
        let bytes = fs::read(folder.join(file)).unwrap_or_default();
        // The machine's own mount table bears every mark while a pod runs.
        let own = file == "mountinfo" && same_mounts(folder);
        !own && view.marks(&String::from_utf8_lossy(&bytes))
    });
    // All that a zombie has left is its name.
    let marked = marked || view.marks(name);
    let line = if state == "Z" { format!("{name} (zombie)") } else { name.to_owned() };
    Some(Process { parent, line, marked })
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
