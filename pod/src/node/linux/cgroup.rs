//! The pod's cgroup: one folder in every hierarchy that carries limits.
//!
//! Containers are made below it by the runtime; here only the pod's sums are set. cgroupfs only:
//! the folder is ours on a systemd host too (below `/rrun`, not a slice).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Kind, Result};
use crate::node::CgroupMode;
use crate::resources::{CPU_PERIOD, PodCgroup};

/// Where the hierarchies are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// v1: mount point and its controllers.
    v1: Vec<(PathBuf, Vec<String>)>,
    /// v1 without controllers (`name=systemd`): the runtime may make the pod's folder there too.
    named: Vec<PathBuf>,
    /// v2, with or without controllers.
    v2: Option<PathBuf>,
}

impl Hierarchies {
    /// Reads this process' mount table.
    pub fn read() -> Result<Self> {
        // Names of mount points are bytes, and whoever mounts chooses them.
        let table = fs::read("/proc/self/mountinfo").context(|| "read mountinfo")?;
        Ok(Self::parse(&String::from_utf8_lossy(&table)))
    }

    fn parse(table: &str) -> Self {
        let mut found = Hierarchies { v1: Vec::new(), named: Vec::new(), v2: None };
        for line in table.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut fields = left.split(' ').skip(3);
            let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
            // A hierarchy seen through a cgroup namespace or a bind of a part is not the root.
            if root != "/" {
                continue;
            }
            match kind {
                "cgroup2" if found.v2.is_none() => found.v2 = Some(point.into()),
                "cgroup" if options.contains("name=") => found.named.push(point.into()),
                "cgroup" => {
                    let words = options
                        .split(',')
                        .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"));
                    found.v1.push((point.into(), words.map(str::to_owned).collect()));
                }
                _ => {}
            }
        }
        found
    }

    /// v1 as soon as one controller is there.
    pub fn mode(&self) -> CgroupMode {
        if self.v1.is_empty() { CgroupMode::V2 } else { CgroupMode::V1 }
    }

    /// Makes `path` and sets its limits. Idempotent.
    pub fn make(&self, path: &str, limits: &PodCgroup) -> Result<()> {
        match (self.mode(), &self.v2) {
            (CgroupMode::V1, _) => self.v1.iter().try_for_each(|h| make_v1(h, path, limits)),
            (CgroupMode::V2, Some(root)) => make_v2(root, path, limits),
            (CgroupMode::V2, None) => {
                Err(Error::new(Kind::Unavailable, "no cgroup hierarchy is mounted"))
            }
        }
    }

    /// Removes `path` from every hierarchy, and `parent` if it is empty then. Idempotent.
    pub fn remove(&self, path: &str, parent: &str) -> Result<()> {
        for root in self.v1.iter().map(|(root, _)| root).chain(&self.named).chain(&self.v2) {
            remove_empty(&below(root, path))?;
            // Another pod may hold it, or another process may be about to use it: it makes the
            // parent again if this wins the race.
            if !parent.trim_matches('/').is_empty() {
                let _ = fs::remove_dir(below(root, parent));
            }
        }
        Ok(())
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// mkdir -p that survives another process removing an empty parent meanwhile.
fn make_dirs(dir: &Path) -> Result<()> {
    let mut tries = 0;
    loop {
        match fs::create_dir_all(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound && tries < 8 => tries += 1,
            other => return other.context(|| format!("mkdir {}", dir.display())),
        }
    }
}

fn set(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    fs::write(&path, value).context(|| format!("write {value:?} to {}", path.display()))
}

fn make_v1(
    (root, controllers): &(PathBuf, Vec<String>),
    path: &str,
    limits: &PodCgroup,
) -> Result<()> {
    let dir = below(root, path);
    make_dirs(&dir)?;
    for controller in controllers {
        match controller.as_str() {
            "cpuset" => inherit_cpuset(root, path)?,
            "cpu" => {
                set(&dir, "cpu.shares", &limits.shares.max(2).to_string())?;
                set(&dir, "cpu.cfs_period_us", &CPU_PERIOD.to_string())?;
                let quota = limits.quota.filter(|q| *q > 0).unwrap_or(-1);
                set(&dir, "cpu.cfs_quota_us", &quota.to_string())?;
            }
            "memory" => {
                let memory = limits.memory.filter(|m| *m > 0).unwrap_or(-1);
                set(&dir, "memory.limit_in_bytes", &memory.to_string())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A new cpuset is empty, and no task may enter it: copy what the parent has, level by level.
fn inherit_cpuset(root: &Path, path: &str) -> Result<()> {
    let mut dir = root.to_owned();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |d: &Path| {
                fs::read_to_string(d.join(file))
                    .context(|| format!("read {}", d.join(file).display()))
            };
            if read(&dir)?.trim().is_empty() {
                set(&dir, file, read(&parent)?.trim())?;
            }
        }
    }
    Ok(())
}

fn make_v2(root: &Path, path: &str, limits: &PodCgroup) -> Result<()> {
    let dir = below(root, path);
    make_dirs(&dir)?;
    let mut at = root.to_owned();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        delegate(&at)?;
        at.push(part);
    }
    // The pod's containers are one level further down.
    delegate(&at)?;
    let weight = 1 + ((limits.shares.max(2) - 2) * 9_999) / 262_142;
    let quota = limits.quota.filter(|q| *q > 0).map_or("max".to_owned(), |q| q.to_string());
    let memory = limits.memory.filter(|m| *m > 0);
    let wants = limits.quota.is_some() || memory.is_some();
    let settings = [
        ("cpu.weight", weight.to_string(), false),
        ("cpu.max", format!("{quota} {CPU_PERIOD}"), limits.quota.is_some()),
        ("memory.max", memory.map_or("max".to_owned(), |m| m.to_string()), memory.is_some()),
    ];
    for (file, value, required) in settings {
        if dir.join(file).exists() {
            set(&dir, file, &value)?;
        } else if required && wants {
            let text =
                format!("{file}: the hierarchy has no such controller, and the pod has a limit");
            return Err(Error::new(Kind::Unavailable, text));
        }
    }
    Ok(())
}

/// Passes every controller on to children, one at a time: one that is refused keeps no other.
fn delegate(dir: &Path) -> Result<()> {
    let file = dir.join("cgroup.controllers");
    let text = fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
    for controller in text.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

/// Removes a cgroup and what the runtime may have left empty below it. A process in it is an
/// error: killing is the runtime's.
fn remove_empty(dir: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_empty(&entry.path())?;
        }
    }
    let mut tries = 0;
    loop {
        match fs::remove_dir(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            // The kernel counts a dying task for a moment after it was reaped.
            Err(e) if e.kind() == ErrorKind::ResourceBusy && tries < 20 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            other => return other.context(|| format!("rmdir {}", dir.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_v1_and_v2_tables_are_told_apart() {
        let hybrid = "30 1 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 1 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 1 0:26 /sub /mnt/part rw - cgroup cgroup rw,memory
";
        let found = Hierarchies::parse(hybrid);
        assert_eq!(found.mode(), CgroupMode::V1);
        assert_eq!(found.v1.len(), 2);
        assert_eq!(found.v1[1].1, ["cpu", "cpuacct"]);
        assert_eq!(found.named, [Path::new("/sys/fs/cgroup/systemd")]);
        let unified = Hierarchies::parse("33 1 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!((unified.mode(), unified.v2), (CgroupMode::V2, Some("/sys/fs/cgroup".into())));
    }
}
