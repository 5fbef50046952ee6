//! Which hierarchies the host has mounted.

use crate::plan::CgroupDir;
use crate::{Context, Error, Kind, Result};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use std::path::{Path, PathBuf};

/// How a host has set up its control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// v1 hierarchies, and no v2.
    V1,
    /// v1 hierarchies for limits, v2 beside them for process control.
    Hybrid,
    /// v2 alone.
    V2,
}

/// One mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Controllers (`cpu`, `cpuacct`, …), or one `name=…`.
    pub controllers: Vec<String>,
}

/// The mounted hierarchies of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How they are set up.
    pub mode: Mode,
    /// The v1 hierarchies.
    pub v1: Vec<Hierarchy>,
    /// Where v2 is mounted.
    pub unified: Option<PathBuf>,
    /// The controllers that v2 offers at its root.
    pub unified_controllers: Vec<String>,
    /// Memory can be swapped out here, so that a limit of it must be taken.
    pub swap: bool,
}

impl Layout {
    /// Reads the layout below `root`, usually `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// `NotFound` when nothing is mounted there.
    pub fn detect(root: &Path) -> Result<Layout> {
        let context = || format!("control groups at {}", root.display());
        // A v2 mount at the root hides whatever is mounted below its directory.
        let kind = statfs(root).context(context)?.filesystem_type();
        let (v1, unified) = if kind == CGROUP2_SUPER_MAGIC {
            (Vec::new(), Some(root.to_owned()))
        } else if let Some(found) = at_their_names(root) {
            found
        } else {
            // Names of mount points are bytes, and whoever mounts chooses them.
            let mounts = rrun_sys::procfs::read("/proc/self/mountinfo").context(context)?;
            below(root, &String::from_utf8_lossy(&mounts))
        };
        let mode = match (v1.is_empty(), &unified) {
            (true, None) => {
                return Err(
                    Error::new(Kind::NotFound, "no hierarchy is mounted").context(context())
                );
            }
            (true, Some(_)) => Mode::V2,
            (false, None) => Mode::V1,
            (false, Some(_)) => Mode::Hybrid,
        };
        let mut unified_controllers = Vec::new();
        if let Some(unified) = &unified {
            let file = unified.join("cgroup.controllers");
            let offered = std::fs::read_to_string(file).context(context)?;
            unified_controllers = offered.split_whitespace().map(str::to_owned).collect();
        }
        // proc(5): a line of headings, then one for each device or file.
        let swap =
            std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
        Ok(Layout { mode, v1, unified, unified_controllers, swap })
    }

    /// Containers are held back from devices by programs of v2, as v1 has no controller for it.
    pub fn filters_devices(&self) -> bool {
        let mut v1 = self.v1.iter().flat_map(|hierarchy| &hierarchy.controllers);
        self.unified.is_some() && !v1.any(|name| name == "devices")
    }

    /// The directories of a group, one in each hierarchy; `path` is below their roots.
    pub fn dirs(&self, path: &Path) -> Vec<CgroupDir> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let v1 = self.v1.iter().map(|hierarchy| CgroupDir {
            path: hierarchy.path.join(path),
            unified: false,
            inherit_cpuset: hierarchy.controllers.iter().any(|name| name == "cpuset"),
        });
        let unified = self.unified.iter().map(|root| CgroupDir {
            path: root.join(path),
            unified: true,
            inherit_cpuset: false,
        });
        v1.chain(unified).collect()
    }
}

/// The hierarchies where hosts mount them: each at its name, and v2 beside them. `None` where one of
/// them is somewhere else or not mounted: then only the table of mounts tells, which is long where
/// many containers run.
fn at_their_names(root: &Path) -> Option<(Vec<Hierarchy>, Option<PathBuf>)> {
    let is_at = |path: &Path, kind| {
        let found = statfs(path).map(|found| found.filesystem_type());
        // A link is another name, or leads anywhere.
        found == Ok(kind) && !path.is_symlink()
    };
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let hierarchies = hierarchies(root, &own);
    let unified = root.join("unified");
    let are_there = hierarchies.iter().all(|one| is_at(&one.path, CGROUP_SUPER_MAGIC));
    (are_there && is_at(&unified, CGROUP2_SUPER_MAGIC)).then_some((hierarchies, Some(unified)))
}

/// The v1 hierarchies of a kernel, from `/proc/self/cgroup`, each at its name below `root`:
/// cgroups(7).
fn hierarchies(root: &Path, own: &str) -> Vec<Hierarchy> {
    let lists = own.lines().filter_map(|line| line.split(':').nth(1));
    let lists = lists.filter(|list| !list.is_empty());
    let named = |list: &str| root.join(list.strip_prefix("name=").unwrap_or(list));
    let controllers = |list: &str| list.split(',').map(str::to_owned).collect();
    lists.map(|list| Hierarchy { path: named(list), controllers: controllers(list) }).collect()
}

/// Flags among a v1 mount's options, which are no controllers.
const FLAGS: [&str; 7] =
    ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"];

/// The v1 hierarchies and the v2 mount below `root`, from `/proc/self/mountinfo`: proc(5).
fn below(root: &Path, mountinfo: &str) -> (Vec<Hierarchy>, Option<PathBuf>) {
    let (mut v1, mut unified) = (Vec::<Hierarchy>::new(), None);
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let Some(path) = mount.split(' ').nth(4).map(Path::new) else { continue };
        if !path.starts_with(root) {
            continue;
        }
        let mut source = source.split(' ');
        match (source.next(), source.nth(1)) {
            (Some("cgroup2"), _) => unified = Some(path.to_owned()),
            (Some("cgroup"), Some(options)) => {
                let words = options
                    .split(',')
                    .filter(|word| !FLAGS.contains(word) && !word.starts_with("release_agent="));
                let controllers: Vec<String> = words.map(str::to_owned).collect();
                // One hierarchy may be mounted twice (cpu and cpu,cpuacct).
                if !v1.iter().any(|seen| seen.controllers == controllers) {
                    v1.push(Hierarchy { path: path.to_owned(), controllers });
                }
            }
            _ => {}
        }
    }
    (v1, unified)
}

/// What fuzzing claims of [`below`].
#[cfg(fuzzing)]
pub(crate) fn fuzz_mountinfo(text: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let (v1, unified) = below(root, text);
    let paths = v1.iter().map(|hierarchy| &hierarchy.path).chain(&unified);
    paths.for_each(|path| assert!(path.starts_with(root), "{path:?}"));
    for (at, one) in v1.iter().enumerate() {
        assert!(v1.iter().skip(at + 1).all(|other| other.controllers != one.controllers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_from_flags_and_from_what_is_mounted_elsewhere() {
        let text = "\
30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/a,name=systemd
34 20 0:28 / /mnt/cpu rw - cgroup cgroup rw,cpu,cpuacct
torn line";
        let (v1, unified) = below(Path::new("/sys/fs/cgroup"), text);
        assert_eq!(unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        let found: Vec<_> = v1.iter().map(|h| h.controllers.join("+")).collect();
        assert_eq!(found, ["cpu+cpuacct", "name=systemd"]);
    }

    #[test]
    fn a_host_that_mounts_hierarchies_at_their_names_is_told_what_its_mounts_tell() {
        let root = Path::new("/sys/fs/cgroup");
        let Some((mut found, unified)) = at_their_names(root) else { return };
        let mounts = rrun_sys::procfs::read("/proc/self/mountinfo").unwrap();
        let (mut told, told_unified) = below(root, &String::from_utf8_lossy(&mounts));
        assert_eq!(unified, told_unified);
        let sort = |all: &mut Vec<Hierarchy>| all.sort_by(|a, b| a.path.cmp(&b.path));
        [&mut found, &mut told].into_iter().for_each(sort);
        assert_eq!(found, told);
    }

    #[test]
    fn a_kernels_hierarchies_are_those_with_a_name_or_controllers() {
        let own = "12:name=systemd:/a\n4:cpu,cpuacct:/x:y\n0::/z\n";
        let told: Vec<_> = hierarchies(Path::new("/c"), own)
            .into_iter()
            .map(|one| format!("{} {}", one.path.display(), one.controllers.join("+")))
            .collect();
        assert_eq!(told, ["/c/systemd name=systemd", "/c/cpu,cpuacct cpu+cpuacct"]);
    }

    #[test]
    fn devices_are_filtered_by_v2_where_v1_does_not_hold_them_back() {
        let layout = |text: &str, v2: bool| {
            let controllers = text.split_whitespace().map(str::to_owned).collect();
            Layout {
                mode: Mode::Hybrid,
                v1: vec![Hierarchy { path: PathBuf::new(), controllers }],
                unified: v2.then(PathBuf::new),
                unified_controllers: Vec::new(),
                swap: false,
            }
        };
        assert!(layout("cpu", true).filters_devices());
        assert!(!layout("cpu devices", true).filters_devices());
        assert!(!layout("cpu", false).filters_devices());
    }
}
