//! What /proc tells about a namespace: mounts, cgroups, unix sockets, names.

use super::View;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One mount: where, of which type, from what; with a number when it stands there twice.
pub fn mounts(view: &View) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for mount in table(&view.proc)? {
        let line = format!("{} ({} {})", mount.point, mount.kind, mount.source);
        let mut name = line.clone();
        let mut count = 1;
        while !found.insert(name) {
            count += 1;
            name = format!("{line} #{count}");
        }
    }
    Ok(found)
}

/// Every cgroup directory of every hierarchy that the machine has mounted.
pub fn cgroups(view: &View) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let roots = table(Path::new("/proc/self"))?;
    let roots = roots.into_iter().filter(|mount| ["cgroup", "cgroup2"].contains(&&*mount.kind));
    let mut folders: Vec<_> = roots.map(|mount| PathBuf::from(mount.point)).collect();
    while let Some(folder) = folders.pop() {
        // A group may go away while this walks.
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let line = entry.path().display().to_string();
            if view.cgroups.iter().any(|mark| line.contains(mark.as_str())) {
                found.insert(line);
            }
            folders.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes the view's cgroups that hold no process, lower ones first.
pub fn remove_cgroups(view: &View) -> Result<()> {
    for folder in cgroups(view)?.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Bound unix sockets of the network namespace that bear one of the view's marks.
pub fn sockets(view: &View) -> Result<BTreeSet<String>> {
    let path = view.proc.join("net/unix");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7));
    Ok(names.filter(|name| view.marks(name)).map(str::to_owned).collect())
}

/// The names of the UTS namespace that this thread is in, which is the host's: a sandbox has none.
pub fn names() -> Result<BTreeSet<String>> {
    let name = |file: &&str| {
        let path = format!("/proc/sys/kernel/{file}");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok(format!("{file} {}", text.trim()))
    };
    ["hostname", "domainname"].iter().map(name).collect()
}

struct Mount {
    point: String,
    kind: String,
    source: String,
}

/// proc_pid_mountinfo(5): the fields after ` - ` are type, source and options.
fn table(proc: &Path) -> Result<Vec<Mount>> {
    let path = proc.join("mountinfo");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    Some(Mount {
        point: left.split(' ').nth(4)?.to_owned(),
        kind: right.next()?.to_owned(),
        source: right.next()?.to_owned(),
    })
}
