//! What becomes of a container's control groups.
//!
//! criu takes down the groups of the first process with all that are below, and makes these again.
//! Where a process has no group of its own, such as in a hierarchy that its runtime does not use,
//! these are everybody's.

use super::message::{CgroupRoot, CgroupsMode};
use crate::plan::{CgroupDir, Cgroups};
use crate::{Context, Error, Kind, Result};
use std::path::Path;

/// What is asked of criu for a process that is in a container's groups.
///
/// # Errors
/// `Invalid`, with the group, where what is asked would do to groups of others.
pub(super) fn mode(asked: Option<CgroupsMode>, pid: i32, groups: &Cgroups) -> Result<CgroupsMode> {
    if asked == Some(CgroupsMode::Ignore) {
        return Ok(CgroupsMode::Ignore);
    }
    let text = read(pid)?;
    let shared = lines(&text).find(|(_, path)| !is_own(&groups.dirs, path));
    match (asked, shared) {
        (None, Some(_)) => Ok(CgroupsMode::Ignore),
        (Some(_), Some((controllers, path))) => Err(Error::new(
            Kind::Invalid,
            format!(
                "control group {controllers}:{path} is not the container's alone: \
                 groups can only be left out"
            ),
        )),
        (asked, None) => Ok(asked.unwrap_or(CgroupsMode::Soft)),
    }
}

/// The groups of a process, for each controller.
pub(super) fn roots(pid: i32) -> Result<Vec<CgroupRoot>> {
    let text = read(pid)?;
    let each = lines(&text).flat_map(|(controllers, path)| {
        controllers.split(',').map(|controller| CgroupRoot {
            controller: Some(controller.to_owned()),
            path: path.to_owned(),
        })
    });
    Ok(each.collect())
}

fn read(pid: i32) -> Result<String> {
    let path = format!("/proc/{pid}/cgroup");
    std::fs::read_to_string(&path).context(|| format!("read {path}"))
}

/// Controllers and path of each hierarchy: `4:cpu,cpuacct:/a`, cgroups(7).
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    })
}

/// A group of a process that is none of these, nor below one.
pub(super) fn foreign(pid: i32, groups: &Cgroups) -> Result<Option<String>> {
    let text = read(pid)?;
    // In a hierarchy that the container does not use, its processes are where its maker is.
    let own = read(std::process::id().cast_signed())?;
    let foreign = lines(&text)
        .find(|line| !is_own(&groups.dirs, line.1) && !lines(&own).any(|mine| mine == *line));
    Ok(foreign.map(|(_, path)| path.to_owned()))
}

/// Whether a group is one of these directories, or is below one.
fn is_own(dirs: &[CgroupDir], path: &str) -> bool {
    let mut above = Path::new(path).ancestors().filter_map(|path| path.strip_prefix("/").ok());
    above
        .any(|path| !path.as_os_str().is_empty() && dirs.iter().any(|dir| dir.path.ends_with(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_containers_own_where_it_is_below_one_of_its_directories() {
        let dir =
            |path: &str| CgroupDir { path: path.into(), unified: true, inherit_cpuset: false };
        let dirs = [dir("/sys/fs/cgroup/cpu/pods/web"), dir("/sys/fs/cgroup/unified/pods/web")];
        for own in ["/pods/web", "/pods/web/init"] {
            assert!(is_own(&dirs, own), "{own}");
        }
        for shared in ["/", "/pods", "/pods/web2", "/user/pods/web", ""] {
            assert!(!is_own(&dirs, shared), "{shared}");
        }
        assert!(!is_own(&[], "/pods/web"));
    }

    #[test]
    fn groups_that_are_shared_are_left_out_and_never_anything_else() {
        // Nobody's own: this process is in no container.
        let (pid, groups) = (std::process::id().cast_signed(), Cgroups::default());
        assert_eq!(mode(None, pid, &groups).unwrap(), CgroupsMode::Ignore);
        assert_eq!(mode(Some(CgroupsMode::Ignore), pid, &groups).unwrap(), CgroupsMode::Ignore);
        let error = mode(Some(CgroupsMode::Full), pid, &groups).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("is not the container's alone"), "{error}");
    }
}
