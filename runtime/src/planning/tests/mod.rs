//! Configurations and what becomes of them, in tables.

mod changes;
mod fields;
mod hooks;
mod mounts;
mod process;
mod refusals;
mod resources;

use super::{Host, Overrides, load, plan};
use crate::Result;
use crate::cgroup::{Hierarchy, Layout, Mode};
use crate::plan::{Cgroups, Plan};
use serde_json::{Value, json};

/// CAP_SYS_RESOURCE is missing, as on some build machines.
fn host(layout: Layout) -> Host {
    Host {
        files: None,
        cgroups: Some(layout),
        capabilities: !(1 << 24) & ((1 << 41) - 1),
        last_cap: 40,
        page_size: 4096,
        seccomp: true,
        apparmor: false,
        selinux: false,
    }
}

fn hierarchy(name: &str, controllers: &[&str]) -> Hierarchy {
    Hierarchy {
        path: format!("/sys/fs/cgroup/{name}").into(),
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
    }
}

fn v2(controllers: &[&str]) -> Layout {
    Layout {
        mode: Mode::V2,
        v1: Vec::new(),
        unified: Some("/sys/fs/cgroup".into()),
        unified_controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        swap: true,
    }
}

fn full_v2() -> Layout {
    v2(&["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"])
}

fn hybrid() -> Layout {
    Layout {
        mode: Mode::Hybrid,
        v1: vec![
            hierarchy("cpu,cpuacct", &["cpu", "cpuacct"]),
            hierarchy("cpuset", &["cpuset"]),
            hierarchy("memory", &["memory"]),
            hierarchy("devices", &["devices"]),
            hierarchy("blkio", &["blkio"]),
            hierarchy("pids", &["pids"]),
            hierarchy("net_cls", &["net_cls", "net_prio"]),
            hierarchy("systemd", &["name=systemd"]),
        ],
        unified: Some("/sys/fs/cgroup/unified".into()),
        unified_controllers: vec!["hugetlb".into()],
        swap: true,
    }
}

/// A configuration with nothing that is not needed.
fn config() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/bin/true"], "cwd": "/" },
        "linux": { "cgroupsPath": "/pod/c", "namespaces": [
            { "type": "mount" }, { "type": "pid" }, { "type": "uts" }, { "type": "ipc" },
            { "type": "network" }
        ] }
    })
}

/// Puts `patch` over `base`, object by object.
fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

fn over() -> Overrides {
    Overrides { bundle: "/bundle".into(), ..Overrides::default() }
}

fn planned_on(layout: Layout, patch: &Value) -> Result<Plan> {
    let mut config = config();
    merge(&mut config, patch);
    let spec = load(config.to_string().as_bytes())?.value;
    plan(&spec, &host(layout), &over())
}

fn planned(patch: &Value) -> Plan {
    planned_on(hybrid(), patch).unwrap()
}

/// `<hierarchy>/<file>=<value>`, with `?` behind a file that may be missing, without device rules.
fn writes(groups: &Cgroups) -> Vec<String> {
    let writes = groups.writes.iter().filter(|write| !write.file.starts_with("devices."));
    writes
        .map(|write| {
            let dir = &groups.dirs[usize::from(write.dir)];
            let root = dir.path.strip_prefix("/sys/fs/cgroup").unwrap();
            let root = root.to_str().unwrap().strip_suffix("pod/c").unwrap();
            let mark = if write.optional { "?" } else { "" };
            format!("{root}{}{mark}={}", write.file, write.value)
        })
        .collect()
}

#[test]
fn a_container_lives_in_one_group_of_each_hierarchy() {
    let groups = planned(&json!({})).cgroups;
    let dirs: Vec<_> = groups.dirs.iter().map(|dir| dir.path.to_str().unwrap()).collect();
    assert_eq!(dirs.len(), 9);
    assert!(dirs.contains(&"/sys/fs/cgroup/systemd/pod/c"));
    assert!(dirs.contains(&"/sys/fs/cgroup/unified/pod/c"));
    let cpuset: Vec<_> = groups.dirs.iter().filter(|dir| dir.inherit_cpuset).collect();
    assert_eq!(cpuset.len(), 1);
    let unified: Vec<_> = groups.dirs.iter().filter(|dir| dir.unified).collect();
    assert_eq!(unified[0].path.to_str(), Some("/sys/fs/cgroup/unified/pod/c"));
    assert_eq!(groups.device_filter, None, "v1 has its rules among the writes");

    let groups = planned_on(full_v2(), &json!({})).unwrap().cgroups;
    assert_eq!(groups.dirs.len(), 1);
    assert!(groups.writes.is_empty());
    assert!(groups.device_filter.is_some());
}

#[test]
fn a_callers_group_counts_where_the_configuration_has_none() {
    let mut config = config();
    config["linux"]["cgroupsPath"] = Value::Null;
    let spec = load(config.to_string().as_bytes()).unwrap().value;
    let over = Overrides { cgroup: Some("/a/b".into()), ..over() };
    let plan = plan(&spec, &host(full_v2()), &over).unwrap();
    assert_eq!(plan.cgroups.dirs[0].path.to_str(), Some("/sys/fs/cgroup/a/b"));
}

#[test]
fn an_exec_gets_a_group_of_its_own_in_the_unified_hierarchy_alone() {
    let groups = planned(&json!({})).cgroups;
    let process = load(config().to_string().as_bytes()).unwrap().value.process().clone().unwrap();
    let exec = super::exec_plan(&process, &groups, &host(hybrid()), None).unwrap();
    assert!(exec.cgroups.writes.is_empty());
    for (dir, container) in exec.groups("exec-1").dirs.iter().zip(&groups.dirs) {
        let expected =
            if dir.unified { container.path.join("exec-1") } else { container.path.clone() };
        assert_eq!(dir.path, expected);
    }
}
