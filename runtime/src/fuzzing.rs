//! What fuzz targets call: claims that hold whatever is read.

use crate::cgroup::{Hierarchy, Layout, Mode};
use crate::plan::Plan;
use crate::planning::{self, Host, Overrides};
use crate::seccomp;

/// A configuration becomes a plan or a refusal, on either kind of host; a plan survives its encoding.
pub fn config(json: &[u8]) {
    let Ok(loaded) = planning::load(json) else { return };
    for layout in [hybrid(), unified()] {
        let host = Host {
            cgroups: Some(layout),
            capabilities: (1 << 41) - 1,
            last_cap: 40,
            page_size: 4096,
            seccomp: true,
            apparmor: true,
            selinux: false,
            files: None,
        };
        let over = Overrides { cgroup: Some("/fuzz".into()), ..Overrides::default() };
        if let Ok(made) = planning::plan(&loaded.value, &host, &over) {
            again(&made);
        }
    }
}

/// What is read as a plan survives its encoding.
pub fn plan(bytes: &[u8]) {
    if let Ok(read) = minicbor::decode::<Plan>(bytes) {
        again(&read);
    }
}

/// A filter answers as its profile says.
pub fn profile(json: &[u8]) {
    if let Ok(profile) = serde_json::from_slice(json) {
        seccomp::is_as_the_profile_says(&profile);
    }
}

/// A `mountinfo` gives hierarchies below the root that was asked for, and nothing else.
pub fn mountinfo(text: &str) {
    crate::cgroup::fuzz_mountinfo(text);
}

/// Files of control groups are read, whatever is in them.
pub fn cgroup_files(text: &str) {
    crate::cgroup::stats::fuzz(text);
}

fn again(plan: &Plan) {
    let bytes = minicbor::to_vec(plan);
    let bytes = bytes.unwrap_or_else(|error| panic!("{error}"));
    let read = minicbor::decode::<Plan>(&bytes);
    assert_eq!(&read.unwrap_or_else(|error| panic!("{error}")), plan);
}

fn hybrid() -> Layout {
    let all = ["cpu", "cpuset", "memory", "devices", "blkio", "pids", "hugetlb", "freezer"];
    let v1 = all.map(|name| Hierarchy {
        path: format!("/sys/fs/cgroup/{name}").into(),
        controllers: vec![name.to_owned()],
    });
    let unified = Some("/sys/fs/cgroup/unified".into());
    Layout { mode: Mode::Hybrid, v1: v1.into(), unified, ..unified_of(&[]) }
}

fn unified() -> Layout {
    unified_of(&["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"])
}

fn unified_of(controllers: &[&str]) -> Layout {
    Layout {
        mode: Mode::V2,
        v1: Vec::new(),
        unified: Some("/sys/fs/cgroup".into()),
        unified_controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        swap: true,
    }
}
