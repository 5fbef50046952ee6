//! Where the control groups of pods, containers and shims are, in cgroupfs spelling.
//!
//! The spelling says who makes a group: one that ends with `.slice` or `.scope` is a unit of
//! systemd. A record holds its groups' paths, so that they are found again under another driver.

use crate::config::{CgroupDriver, Config};
use crate::error::{Error, Result};
use crate::id::{ContainerId, PodId};
use crate::record::PodRecord;
use rrun_runtime::systemd::{Scope, Slice};
use std::path::Path;

/// The group of a pod whose client names it: a slice for systemd, and no slice for cgroupfs.
pub(crate) fn of_client(config: &Config, parent: &str) -> Result<String> {
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
    }
}
