//! The groups of one more process in a container: the container's, or with `--cgroup` one below.

use crate::config::CGROUP_ROOT;
use crate::first_process::ProcessStart;
use crate::invalid;
use crate::record::Record;
use rrun_runtime::cgroup::Layout;
use rrun_runtime::plan::{CgroupDir, Cgroups};
use rrun_runtime::{Context, Error, Kind, Result};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Which groups are asked for, as runc spells them.
#[derive(Debug, PartialEq, Eq)]
pub enum Subgroup {
    /// One for all controllers.
    All(PathBuf),
    /// Of some controllers of cgroup v1.
    Of(BTreeMap<String, PathBuf>),
}

impl Subgroup {
    /// `GROUP`, or each time `CONTROLLER[,CONTROLLER]:GROUP`; `None` where nothing is asked.
    ///
    /// # Errors
    /// `Invalid` for what is neither, or leads out of the container's groups.
    pub fn parse(asked: &[String]) -> Result<Option<Subgroup>> {
        let mut of = BTreeMap::new();
        for text in asked {
            let wrong = |why: &str| invalid(format!("--cgroup {text:?}: {why}"));
            let Some((controllers, path)) = text.split_once(':') else {
                return match asked {
                    [_] => below(text).map(|path| Some(Subgroup::All(path))),
                    _ => Err(wrong("one of several names its controllers: CONTROLLER:GROUP")),
                };
            };
            let path = below(path)?;
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(wrong("a controller without a name"));
                }
                if of.insert(controller.to_owned(), path.clone()).is_some() {
                    return Err(wrong("a controller is there twice"));
                }
            }
        }
        Ok((!of.is_empty()).then_some(Subgroup::Of(of)))
    }

    /// Changes the groups of an exec, which are the container's.
    ///
    /// # Errors
    /// `NotFound` for a group that is not there, `Invalid` for a controller that is not.
    fn place(&self, exec: &mut Cgroups, container: &Cgroups, layout: &Layout) -> Result<()> {
        match self {
            Subgroup::All(below) => all(exec, container, below),
            Subgroup::Of(of) => some(exec, container, layout, of),
        }
    }
}

/// The groups of one more process in a container. The hierarchies of the host are looked up only for
/// a question that the container's record does not answer.
///
/// # Errors
/// As [`Subgroup::place`].
pub fn of_exec(container: &Record, asked: Option<&Subgroup>) -> Result<Cgroups> {
    let found = OnceCell::new();
    let layout = || found.get_or_init(|| Layout::detect(Path::new(CGROUP_ROOT)).ok()).as_ref();
    let groups = &container.groups;
    let mut exec = beside(container.init, groups, || layout()?.unified.as_deref());
    if let Some(asked) = asked {
        let layout = layout().ok_or_else(|| invalid("--cgroup: no control groups are mounted"))?;
        asked.place(&mut exec, groups, layout)?;
    }
    Ok(exec)
}

/// The container's groups. In the unified hierarchy, whose `root` is asked for, one that hands
/// controllers down takes no process any more: then it is the one that the first process has gone to.
fn beside<'a>(
    init: Option<ProcessStart>,
    container: &Cgroups,
    root: impl Fn() -> Option<&'a Path>,
) -> Cgroups {
    let dirs = container.dirs.iter().map(|dir| {
        let moved = || moved(init?.pid, &dir.path, root()?);
        let path = if dir.unified && hands_down(&dir.path) { moved() } else { None };
        let path = path.unwrap_or_else(|| dir.path.clone());
        CgroupDir { path, unified: dir.unified, inherit_cpuset: false }
    });
    Cgroups { dirs: dirs.collect(), ..Cgroups::default() }
}

fn hands_down(group: &Path) -> bool {
    let enabled = std::fs::read_to_string(group.join("cgroup.subtree_control"));
    enabled.is_ok_and(|enabled| !enabled.trim().is_empty())
}

/// Where a process is below a group.
fn moved(pid: i32, group: &Path, root: &Path) -> Option<PathBuf> {
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = root.join(below(path).ok()?);
    path.starts_with(group).then_some(path)
}

fn all(exec: &mut Cgroups, container: &Cgroups, below: &Path) -> Result<()> {
    let alone = container.dirs.iter().all(|dir| dir.unified);
    for (to, from) in exec.dirs.iter_mut().zip(&container.dirs) {
        let path = from.path.join(below);
        // Beside v1 nobody has to have made the group in the unified hierarchy too.
        if from.unified && !alone && !path.is_dir() {
            continue;
        }
        to.path = existing(path)?;
    }
    Ok(())
}

fn some(
    exec: &mut Cgroups,
    container: &Cgroups,
    layout: &Layout,
    of: &BTreeMap<String, PathBuf>,
) -> Result<()> {
    let mut moved = BTreeMap::new();
    for (controller, below) in of {
        let hierarchy = layout.v1.iter().find(|one| one.controllers.contains(controller));
        let at = hierarchy.and_then(|one| {
            container.dirs.iter().position(|dir| !dir.unified && dir.path.starts_with(&one.path))
        });
        let Some(at) = at else {
            let words = "is no controller of cgroup v1 that the container has";
            return Err(invalid(format!("--cgroup: {controller} {words}")));
        };
        // Controllers of one hierarchy go together.
        if moved.insert(at, below).is_some_and(|other| other != below) {
            return Err(invalid(format!(
                "--cgroup: {controller} is in one hierarchy with another"
            )));
        }
    }
    for (at, below) in moved {
        if let (Some(to), Some(from)) = (exec.dirs.get_mut(at), container.dirs.get(at)) {
            to.path = existing(from.path.join(below))?;
        }
    }
    Ok(())
}

/// A group that is not there is not made: a name that was written wrong would go unnoticed.
fn existing(path: PathBuf) -> Result<PathBuf> {
    let context = || format!("--cgroup: {}", path.display());
    let found = std::fs::metadata(&path).context(context)?;
    if !found.is_dir() {
        return Err(Error::new(Kind::Invalid, "is no group").context(context()));
    }
    Ok(path)
}

/// A path below a group. A first slash is the group's own.
fn below(path: &str) -> Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            // In runc's words.
            _ => return Err(invalid(format!("--cgroup: bad sub cgroup path: {path}"))),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(asked: &[&str]) -> Result<Option<Subgroup>> {
        Subgroup::parse(&asked.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn groups_are_for_all_controllers_or_for_those_that_are_named() {
        let all = |path: &str| Some(Subgroup::All(path.into()));
        assert_eq!(parse(&[]).unwrap(), None);
        assert_eq!(parse(&["a/b"]).unwrap(), all("a/b"));
        assert_eq!(parse(&["/a/./b/"]).unwrap(), all("a/b"));
        assert_eq!(parse(&["/"]).unwrap(), all(""));
        let of = [("cpu", "x"), ("cpuacct", "x"), ("memory", "y")];
        let of = of.map(|(name, path)| (name.to_owned(), path.into())).into();
        assert_eq!(parse(&["memory:y", "cpu,cpuacct:/x"]).unwrap(), Some(Subgroup::Of(of)));
    }

    #[test]
    fn what_leads_out_or_is_said_twice_is_refused() {
        for asked in [
            &[".."][..],
            &["a/../.."],
            &["cpu:../x"],
            &["a", "b"],
            &["cpu:a", "b"],
            &[":a"],
            &["cpu,:a"],
            &["cpu:a", "cpu:b"],
        ] {
            assert_eq!(parse(asked).unwrap_err().kind(), Kind::Invalid, "{asked:?}");
        }
    }
}
