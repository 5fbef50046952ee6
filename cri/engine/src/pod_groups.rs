//! The control groups of pods whose owner limits them as a whole, as a kubelet does: made before the
//! pod, named to the engine as its parent, removed after it.

use crate::config::CgroupDriver;
use crate::error::{Context, Error, Kind, Result};
use rrun_runtime::cgroup::{self, Controllers, Layout, Resources, Setting, Value};
use rrun_runtime::plan::{CgroupDir, Cgroups};
use rrun_runtime::systemd::{self, Slice};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How often a group is made again whose parent somebody else removes meanwhile.
const TRIES: u32 = 8;

/// Where groups of pods are made, and by whom.
#[derive(Clone, Debug)]
pub struct PodGroups {
    layout: Layout,
    driver: CgroupDriver,
    parents: Parents,
}

/// The groups above those of pods.
#[derive(Clone, Debug)]
pub struct Parents {
    /// A path below the roots of the hierarchies, for cgroupfs.
    pub path: String,
    /// The name of a slice, for systemd.
    pub slice: String,
}

/// What a pod is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// 2 to 262144, relative.
    pub cpu_shares: u64,
    /// µs of processor time in a period.
    pub cpu_quota: Option<u64>,
    /// µs.
    pub cpu_period: u64,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of each size such as `2MB`.
    pub hugepages: BTreeMap<String, u64>,
}

impl PodGroups {
    /// Looks at the hierarchies below `root`, usually `/sys/fs/cgroup`. Makes nothing.
    ///
    /// # Errors
    /// `Internal` when nothing is mounted there.
    pub fn of_host(root: &Path, driver: CgroupDriver, parents: Parents) -> Result<PodGroups> {
        Ok(PodGroups { layout: Layout::detect(root)?, driver, parents })
    }

    /// Whether the memory of processes is limited by cgroup v2.
    pub fn is_v2(&self) -> bool {
        let controllers = Controllers::find(&self.layout, &self.layout.dirs(Path::new("/")));
        controllers.home("memory").is_some_and(|home| home.v2)
    }

    /// Makes the group of the pod with this uid, or changes its limits, and gives its path. Blocks.
    ///
    /// # Errors
    /// `Invalid` for a uid that is no part of a unit's name; a limit that this host has no
    /// controller for; what systemd or the kernel says.
    pub fn make(&self, uid: &str, limits: &PodLimits) -> Result<String> {
        let (path, slice) = self.place(self.driver, uid)?;
        let shown = path.display().to_string();
        let dirs = self.layout.dirs(&path);
        let controllers = Controllers::find(&self.layout, &dirs);
        let groups = Resources::default().plan(&limits.asked(), &dirs, &controllers)?;
        let made = match slice {
            Some(slice) => systemd::make_slice(&slice, &description(uid), &groups),
            None => make_directories(&groups),
        };
        made.context(|| format!("control group {shown}"))?;
        Ok(shown)
    }

    /// Removes the group of a pod, whoever makes groups now: its driver may have been another one.
    /// Blocks.
    ///
    /// # Errors
    /// `EBUSY` while processes are in it; what systemd or the kernel says.
    pub fn remove(&self, uid: &str) -> Result<()> {
        for driver in [CgroupDriver::Systemd, CgroupDriver::Cgroupfs] {
            let (path, slice) = self.place(driver, uid)?;
            let dirs = self.layout.dirs(&path);
            if driver != self.driver && !dirs.iter().any(|dir| dir.path.exists()) {
                continue;
            }
            let stopped = slice.as_ref().map_or(Ok(()), systemd::stop_slice);
            let removed = stopped.and_then(|()| cgroup::remove_patiently(&dirs));
            removed.context(|| format!("control group {}", path.display()))?;
            if slice.is_none() {
                self.remove_parent();
            }
        }
        Ok(())
    }

    /// Uids of the pods that have a group, by its name. Blocks.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn uids(&self) -> Result<BTreeSet<String>> {
        let above = self.above()?;
        let mut uids = BTreeSet::new();
        for CgroupDir { path, .. } in self.layout.dirs(&above) {
            let entries = match std::fs::read_dir(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.context(|| format!("read {}", path.display()))?,
            };
            for entry in entries {
                let name = entry.context(|| format!("read {}", path.display()))?.file_name();
                uids.extend(name.to_str().and_then(|name| self.uid(name)));
            }
        }
        Ok(uids)
    }

    /// The pod whose group has this name.
    fn uid(&self, name: &str) -> Option<String> {
        let uid = match self.driver {
            CgroupDriver::Cgroupfs => name.strip_prefix("pod")?.to_owned(),
            CgroupDriver::Systemd => {
                let stem = name.strip_suffix(".slice")?.rsplit('-').next()?;
                stem.strip_prefix("pod")?.replace('_', "-")
            }
        };
        let (path, _) = self.place(self.driver, &uid).ok()?;
        path.ends_with(name).then_some(uid)
    }

    /// The group above those of pods.
    fn above(&self) -> Result<PathBuf> {
        match self.driver {
            CgroupDriver::Cgroupfs => Ok(PathBuf::from(&self.parents.path)),
            CgroupDriver::Systemd => {
                let slice = Slice::of_path(&self.parents.slice).map_err(of_parent)?;
                Ok(slice.path())
            }
        }
    }

    /// Where the group of a pod is, and its slice if it is one.
    fn place(&self, driver: CgroupDriver, uid: &str) -> Result<(PathBuf, Option<Slice>)> {
        match driver {
            CgroupDriver::Cgroupfs => {
                Ok((Path::new(&self.parents.path).join(format!("pod{uid}")), None))
            }
            CgroupDriver::Systemd => {
                // As the kubelet writes it: a `-` in a slice's name is a level.
                let name = format!("pod{}", uid.replace('-', "_"));
                let slice = Slice::of_path(&self.parents.slice).and_then(|s| s.child(&name));
                let slice = slice.map_err(of_parent)?;
                Ok((slice.path(), Some(slice)))
            }
        }
    }

    /// Removes the directory above those of pods, unless somebody needs it.
    fn remove_parent(&self) {
        let parent = Path::new(&self.parents.path);
        if parent == Path::new("/") {
            return;
        }
        for CgroupDir { path, .. } in self.layout.dirs(parent) {
            // Another pod may hold it, or another process may be about to use it: it makes the
            // directory again if this wins the race.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// What is wrong with the group above.
fn of_parent(error: rrun_runtime::Error) -> Error {
    Error::from_chain(Kind::Invalid, error.chain()).context("cgroup.parent")
}

/// Whose a slice is.
fn description(uid: &str) -> String {
    format!("pod {uid} of rrun")
}

fn make_directories(groups: &Cgroups) -> rrun_runtime::Result<()> {
    let mut tries = TRIES;
    loop {
        match cgroup::make(groups) {
            Err(error) if error.kind() == rrun_runtime::Kind::NotFound && tries > 0 => tries -= 1,
            made => return made,
        }
    }
}

impl PodLimits {
    /// All that a pod's group has, so that a limit which is gone goes from the group too.
    fn asked(&self) -> Resources {
        let limit = |limit: Option<u64>| limit.map_or(Value::Unset, Value::Number);
        let mut asked = Resources::default();
        asked.set(Setting::CpuShares, Value::Number(self.cpu_shares));
        asked.set(Setting::CpuPeriod, Value::Number(self.cpu_period));
        asked.set(Setting::CpuQuota, limit(self.cpu_quota));
        asked.set(Setting::Memory, limit(self.memory));
        // Nobody is let alone by a default of systemd's.
        asked.set(Setting::Pids, Value::Unset);
        for (size, bytes) in &self.hugepages {
            asked.set(Setting::HugePages(size.clone()), Value::Number(*bytes));
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_runtime::cgroup::Mode;
    use std::fs;

    fn limits() -> PodLimits {
        PodLimits {
            cpu_shares: 512,
            cpu_quota: Some(50_000),
            cpu_period: 100_000,
            memory: Some(64 << 20),
            ..PodLimits::default()
        }
    }

    /// Groups of a test of this name, below a directory of its own.
    fn groups(name: &str, driver: CgroupDriver) -> PodGroups {
        let name = format!("rruntest{}{name}", std::process::id());
        let parents = Parents { path: format!("/{name}"), slice: format!("{name}.slice") };
        PodGroups::of_host(Path::new("/sys/fs/cgroup"), driver, parents).unwrap()
    }

    fn is_there(groups: &PodGroups, path: &str) -> bool {
        groups.layout.dirs(Path::new(path)).iter().any(|dir| dir.path.exists())
    }

    #[test]
    fn a_pods_group_is_a_directory_or_the_slice_that_the_kubelet_would_name() {
        let uid = "0a-1b";
        let of = |driver| groups("", driver).place(driver, uid).unwrap();
        let name = format!("rruntest{}", std::process::id());
        assert_eq!(of(CgroupDriver::Cgroupfs), (format!("/{name}/pod{uid}").into(), None));
        let whose = |driver, name: &str| groups("", driver).uid(name);
        assert_eq!(whose(CgroupDriver::Cgroupfs, "pod0a-1b").as_deref(), Some(uid));
        assert_eq!(whose(CgroupDriver::Cgroupfs, "shims"), None);
        let slice = format!("{name}-pod0a_1b.slice");
        assert_eq!(whose(CgroupDriver::Systemd, &slice).as_deref(), Some(uid));
        assert_eq!(whose(CgroupDriver::Systemd, "kubepods-pod0a_1b.slice"), None);
        let (path, slice) = of(CgroupDriver::Systemd);
        let slice = slice.unwrap();
        assert_eq!(slice.name(), format!("{name}-pod0a_1b.slice"));
        assert_eq!(path, Path::new(&format!("/{name}.slice/{slice}")));
    }

    #[test]
    fn a_pods_group_has_its_limits_in_every_hierarchy_and_loses_them_with_the_pods() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let groups = groups("limits", CgroupDriver::Cgroupfs);
        let pages = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
        let pages = pages.then(|| ("2MB".to_owned(), 4 << 20));
        let limits = PodLimits { hugepages: pages.into_iter().collect(), ..limits() };
        let path = groups.make("u1", &limits).unwrap();
        let dirs = groups.layout.dirs(Path::new(&path));
        let controllers = Controllers::find(&groups.layout, &dirs);
        let read = |controller: &str, [v1, v2]: [&str; 2]| {
            let home = controllers.home(controller).unwrap();
            let file = dirs[usize::from(home.dir)].path.join(if home.v2 { v2 } else { v1 });
            fs::read_to_string(file).unwrap().trim().to_owned()
        };
        let memory = ["memory.limit_in_bytes", "memory.max"];
        let quota = ["cpu.cfs_quota_us", "cpu.max"];
        assert_eq!(read("memory", memory), "67108864");
        assert!(read("cpu", quota).starts_with("50000"));
        assert_eq!(
            read("cpu", ["cpu.shares", "cpu.weight"]),
            if groups.is_v2() { "59" } else { "512" }
        );
        if !limits.hugepages.is_empty() {
            let file = ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"];
            assert_eq!(read("hugetlb", file), (4 << 20).to_string());
        }
        if groups.layout.mode != Mode::V2 {
            assert_ne!(read("cpuset", ["cpuset.cpus", "cpuset.cpus.effective"]), "");
        }
        let open = PodLimits { cpu_quota: None, memory: None, ..limits };
        assert_eq!(groups.make("u1", &open).unwrap(), path);
        assert_ne!(read("memory", memory), "67108864");
        assert!(!read("cpu", quota).starts_with("50000"));
        groups.remove("u1").unwrap();
        assert!(!is_there(&groups, &path) && !is_there(&groups, &groups.parents.path));
    }

    #[test]
    fn a_group_goes_under_another_driver_too_and_its_parent_with_the_last_pod() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let made = groups("driver", CgroupDriver::Cgroupfs);
        let [one, two] = ["one", "two"].map(|uid| made.make(uid, &limits()).unwrap());
        assert_eq!(made.uids().unwrap(), ["one", "two"].map(str::to_owned).into());
        made.remove("one").unwrap();
        made.remove("one").unwrap();
        assert!(!is_there(&made, &one) && is_there(&made, &two));
        if systemd::is_running() {
            PodGroups { driver: CgroupDriver::Systemd, ..made.clone() }.remove("two").unwrap();
        } else {
            made.remove("two").unwrap();
        }
        assert!(!is_there(&made, &made.parents.path));
    }

    #[test]
    fn what_refuses_a_group_names_it() {
        let groups = groups("", CgroupDriver::Systemd);
        let error = groups.make("not a uid", &limits()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("not a uid"), "{error}");
    }
}
