//! Where the control groups of pods, containers and shims are, in cgroupfs spelling.
//!
//! The spelling says who makes a group: one that ends with `.slice` or `.scope` is a unit of
//! systemd. A record holds its groups' paths, so that they are found again under another driver.

use crate::check::PATH_MAX;
use crate::config::{CgroupDriver, Config};
use crate::error::{Error, Result};
use crate::id::{ContainerId, PodId};
use crate::record::PodRecord;
use rrun_runtime::systemd::{Scope, Slice};
use std::path::Path;

/// How many levels of groups a client may name. The kernel sets no limit (`cgroup.max.depth` is `max`),
/// but it works through all of them at each change, and so does whoever makes or removes them. A
/// kubelet's pods are on the third or fourth level, below what its `--cgroup-root` has; runtimes that
/// are nested in containers have a few each.
const LEVELS_MAX: usize = 64;

/// What a path has before and after the client's part: the folder of a hierarchy, the groups of a
/// container and of what it executes, the longest name of a file.
const AROUND: usize = 512;

/// The group of a pod whose client names it: a slice for systemd, and no slice for cgroupfs.
///
/// It is its client's, with all above it. The shim makes what is missing of them, as runc does, and
/// nobody removes it with the pod: the kubelet and other runtimes leave it to whoever named it, who
/// may have other pods and limits there, and makes and removes it at other times than we do.
pub(crate) fn of_client(config: &Config, parent: &str) -> Result<String> {
    let path = spelled(config, parent)?;
    let levels = path.split('/').filter(|name| !matches!(*name, "" | ".")).count();
    if levels > LEVELS_MAX {
        let message = format!("cgroup_parent: {levels} levels of groups, and {LEVELS_MAX} may be");
        return Err(Error::invalid(message));
    }
    let (length, most) = (path.len(), PATH_MAX - AROUND);
    if length > most {
        let message = format!("cgroup_parent: a path of {length} bytes, and {most} may be");
        return Err(Error::invalid(message));
    }
    Ok(path)
}

fn spelled(config: &Config, parent: &str) -> Result<String> {
    let path = parent.trim_end_matches('/');
    match config.cgroup_driver {
        CgroupDriver::Systemd => {
            let slice = Slice::of_path(path)
                .map_err(|error| Error::invalid(format!("{error}, and cgroup.driver is systemd")));
            slice.map(|slice| text(&slice.path())).map_err(|error| error.context("cgroup_parent"))
        }
        CgroupDriver::Cgroupfs if path.ends_with(".slice") => Err(Error::invalid(format!(
            "cgroup_parent {parent:?} is a slice of systemd, and cgroup.driver is cgroupfs"
        ))),
        CgroupDriver::Cgroupfs => Ok(path.to_owned()),
    }
}

/// The group of a pod that names no parent.
pub(crate) fn of_own(config: &Config, id: &PodId) -> Result<String> {
    match config.cgroup_driver {
        CgroupDriver::Cgroupfs => Ok(format!("{}/{id}", config.cgroup_parent)),
        CgroupDriver::Systemd => {
            let slice = slice(config).and_then(|slice| slice.child(id.as_str()));
            slice.map(|slice| text(&slice.path())).map_err(|e| Error::invalid(e.to_string()))
        }
    }
}

/// The group above those of pods that name no parent.
pub(crate) fn of_all(config: &Config) -> Result<String> {
    match config.cgroup_driver {
        CgroupDriver::Cgroupfs => Ok(config.cgroup_parent.clone()),
        CgroupDriver::Systemd => slice(config)
            .map(|slice| text(&slice.path()))
            .map_err(|e| Error::invalid(e.to_string())),
    }
}

/// The pod whose own group, or whose shim's, has this name in the one above.
pub(crate) fn owner(config: &Config, name: &str) -> Option<PodId> {
    let stem = match config.cgroup_driver {
        CgroupDriver::Cgroupfs => name,
        CgroupDriver::Systemd => {
            let stem = name.strip_suffix(".slice").or_else(|| name.strip_suffix(".scope"))?;
            stem.rsplit('-').next()?
        }
    };
    let pod: PodId = stem.parse().ok()?;
    let is_its =
        |group: Result<String>| group.is_ok_and(|group| group.ends_with(&format!("/{name}")));
    (is_its(of_own(config, &pod)) || is_its(of_shim(config, &pod))).then_some(pod)
}

/// The group of the shim of a pod: outside of every pod's, and outside of that of whoever started
/// it. With cgroupfs all shims share one.
pub(crate) fn of_shim(config: &Config, id: &PodId) -> Result<String> {
    match config.cgroup_driver {
        CgroupDriver::Cgroupfs => Ok(format!("{}/shims", config.cgroup_parent)),
        CgroupDriver::Systemd => {
            let scope = slice(config).and_then(|slice| Scope::new(slice, "rrun-shim", id.as_str()));
            scope.map(|scope| text(&scope.path())).map_err(|e| Error::invalid(e.to_string()))
        }
    }
}

/// The group of the reaper: a leaf in the pod's, named by the pod's id.
pub(crate) fn of_reaper(record: &PodRecord) -> String {
    below(&record.cgroup, record.id.as_str())
}

/// The group of a container in its pod's.
pub(crate) fn of_container(pod: &str, id: &ContainerId) -> String {
    below(pod, id.as_str())
}

fn below(pod: &str, id: &str) -> String {
    match pod.ends_with(".slice") {
        true => format!("{pod}/rrun-{id}.scope"),
        false => format!("{pod}/{id}"),
    }
}

/// The scope whose group this is, if systemd makes it.
pub(crate) fn scope(cgroup: &str) -> Option<Scope> {
    Scope::of_path(Path::new(cgroup))
}

/// What an OCI configuration says of a group: `slice:prefix:name` for a scope.
pub(crate) fn in_configuration(cgroup: &str) -> String {
    let parts = scope(cgroup).and_then(|scope| {
        let (prefix, name) = scope.name().strip_suffix(".scope")?.split_once('-')?;
        Some(format!("{}:{prefix}:{name}", scope.slice()))
    });
    parts.unwrap_or_else(|| cgroup.to_owned())
}

fn slice(config: &Config) -> rrun_runtime::Result<Slice> {
    Slice::of_path(&config.cgroup_parent)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(driver: CgroupDriver) -> Config {
        let parent = match driver {
            CgroupDriver::Cgroupfs => "/rrun",
            CgroupDriver::Systemd => "rrun.slice",
        };
        Config { cgroup_driver: driver, cgroup_parent: parent.to_owned(), ..Config::of_host() }
    }

    const SLICE: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice";

    #[test]
    fn a_client_of_systemd_names_a_slice_by_its_name_or_by_its_path() {
        let config = config(CgroupDriver::Systemd);
        for parent in [SLICE, "kubepods-burstable-pod1_2.slice", &format!("{SLICE}/")] {
            assert_eq!(of_client(&config, parent).unwrap(), SLICE);
        }
        for parent in ["/kubepods/pod1", "/x/kubepods.slice"] {
            let error = of_client(&config, parent).unwrap_err().to_string();
            assert!(error.starts_with("cgroup_parent: ") && error.contains("systemd"), "{error}");
        }
    }

    #[test]
    fn a_slice_is_refused_by_name_where_systemd_does_not_make_the_groups() {
        let config = config(CgroupDriver::Cgroupfs);
        assert_eq!(of_client(&config, "/kubepods/pod1/").unwrap(), "/kubepods/pod1");
        for parent in [SLICE, "kubepods-pod1.slice"] {
            let error = of_client(&config, parent).unwrap_err().to_string();
            assert!(error.contains(parent) && error.contains("cgroupfs"), "{error}");
        }
    }

    #[test]
    fn a_group_that_is_too_deep_or_whose_containers_would_have_no_path_is_refused_by_name() {
        let (ours, systemds) = (config(CgroupDriver::Cgroupfs), config(CgroupDriver::Systemd));
        let slice = |levels: usize| format!("{}a.slice", "a-".repeat(levels - 1));
        assert!(of_client(&ours, &"/a".repeat(LEVELS_MAX)).is_ok());
        assert!(of_client(&systemds, &slice(50)).is_ok());
        let long = format!("/{}", "n".repeat(255)).repeat(14);
        let longer = "-a".repeat(40);
        for (config, parent, why) in [
            (&ours, "/a".repeat(2000), "2000 levels of groups, and 64 may be"),
            (&systemds, slice(65), "65 levels of groups, and 64 may be"),
            (&ours, long, "a path of 3584 bytes, and 3583 may be"),
            (&systemds, format!("{}{longer}.slice", "n".repeat(160)), "bytes, and 3583 may be"),
        ] {
            let error = of_client(config, &parent).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Invalid);
            assert!(error.to_string().starts_with("cgroup_parent: "), "{error}");
            assert!(error.to_string().ends_with(why), "{error}");
        }
    }

    #[test]
    fn what_a_pod_has_is_spelled_as_its_driver_spells_it() {
        let (pod, container): (PodId, ContainerId) =
            ("0a".repeat(32).parse().unwrap(), "1b".repeat(32).parse().unwrap());
        let with = config(CgroupDriver::Systemd);
        let own = of_own(&with, &pod).unwrap();
        assert_eq!(own, format!("/rrun.slice/rrun-{pod}.slice"));
        let scope = of_container(&own, &container);
        assert_eq!(scope, format!("{own}/rrun-{container}.scope"));
        assert_eq!(in_configuration(&scope), format!("rrun-{pod}.slice:rrun:{container}"));
        let shim = of_shim(&with, &pod).unwrap();
        assert_eq!(shim, format!("/rrun.slice/rrun-shim-{pod}.scope"));

        let without = config(CgroupDriver::Cgroupfs);
        let own = of_own(&without, &pod).unwrap();
        assert_eq!(own, format!("/rrun/{pod}"));
        let group = of_container(&own, &container);
        assert_eq!((group.as_str(), in_configuration(&group)), (group.as_str(), group.clone()));
        assert_eq!(of_shim(&without, &pod).unwrap(), "/rrun/shims");

        assert_eq!(of_all(&with).unwrap(), "/rrun.slice");
        assert_eq!(of_all(&without).unwrap(), "/rrun");
        let slice = format!("rrun-{pod}.slice");
        for (config, name) in [
            (&with, &slice),
            (&with, &format!("rrun-shim-{pod}.scope")),
            (&without, &pod.to_string()),
        ] {
            assert_eq!(owner(config, name).as_ref(), Some(&pod), "{name}");
        }
        for (config, name) in [
            (&with, format!("kubepods-{pod}.slice")),
            (&with, pod.to_string()),
            (&with, format!("rrun-{pod}.scope")),
            (&with, "rrun-pod0a_1b.slice".to_owned()),
            (&without, slice),
            (&without, "shims".to_owned()),
            (&without, "pod0a-1b".to_owned()),
        ] {
            assert_eq!(owner(config, &name), None, "{name}");
        }
    }
}
