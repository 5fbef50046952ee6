//! What this version does not do, and says so.

use super::*;
use crate::plan::CgroupDir;
use crate::planning::check_usage;

#[test]
fn what_is_not_supported_is_refused_by_its_name() {
    let hook = json!([{ "path": "/bin/true" }]);
    let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    for (patch, name) in [
        (json!({ "hooks": { "prestart": hook } }), "hooks.prestart"),
        (json!({ "hooks": { "createRuntime": hook } }), "hooks.createRuntime"),
        (json!({ "hooks": { "createContainer": hook } }), "hooks.createContainer"),
        (json!({ "hooks": { "startContainer": hook } }), "hooks.startContainer"),
        (json!({ "hooks": { "poststart": hook } }), "hooks.poststart"),
        (json!({ "hooks": { "poststop": hook } }), "hooks.poststop"),
        (json!({ "linux": { "uidMappings": ids } }), "linux.uidMappings"),
        (json!({ "linux": { "gidMappings": ids } }), "linux.gidMappings"),
        (
            json!({ "linux": { "namespaces": [{ "type": "mount" }, { "type": "user" }] } }),
            "linux.uidMappings: a user namespace needs them",
        ),
        (json!({ "linux": { "namespaces": [{ "type": "pid" }] } }), "mount namespace"),
        (
            json!({ "linux": { "namespaces": [{ "type": "mount", "path": "/x" }] } }),
            "mount namespace",
        ),
        (json!({ "linux": { "namespaces": [{ "type": "mount" }, { "type": "mount" }] } }), "twice"),
        (
            json!({ "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid", "path": "x" }] } }),
            "not absolute",
        ),
        (json!({ "linux": { "timeOffsets": { "boottime": { "secs": 5 } } } }), "linux.timeOffsets"),
        (json!({ "linux": { "intelRdt": { "closID": "a" } } }), "linux.intelRdt"),
        (json!({ "linux": { "netDevices": { "eth1": {} } } }), "linux.netDevices"),
        (json!({ "linux": { "personality": { "domain": "LINUX32" } } }), "LINUX32"),
        (
            json!({ "linux": { "seccomp": { "defaultAction": "SCMP_ACT_NOTIFY" } } }),
            "linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath",
        ),
        (
            json!({ "linux": { "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s",
                "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]
            } } }),
            "linux.seccomp.listenerPath is not supported",
        ),
        (json!({ "linux": { "cgroupsPath": "a.slice:b:c" } }), "systemd"),
        (json!({ "linux": { "cgroupsPath": "/a/../b" } }), "cgroupsPath"),
        (json!({ "linux": { "cgroupsPath": "/" } }), "cgroupsPath"),
        (json!({ "linux": { "rootfsPropagation": "wide" } }), "rootfsPropagation"),
        (json!({ "linux": null }), "linux is missing"),
        (json!({ "process": null }), "process is missing"),
        (json!({ "root": null }), "root.path"),
        (json!({ "ociVersion": "2.0.0" }), "ociVersion"),
        (
            json!({ "process": { "scheduler": { "policy": "SCHED_FIFO", "priority": 1 } } }),
            "process.scheduler",
        ),
        (
            json!({ "process": { "ioPriority": { "class": "IOPRIO_CLASS_RT", "priority": 1 } } }),
            "process.ioPriority",
        ),
        (
            json!({ "process": { "execCPUAffinity": { "initial": "0" } } }),
            "process.execCPUAffinity",
        ),
        (
            json!({ "linux": { "devices": [{ "path": "/dev/x", "type": "a", "major": 1, "minor": 1 }] } }),
            "/dev/x",
        ),
        (
            json!({ "linux": { "devices": [{ "path": "/dev/x", "type": "c", "major": 5000, "minor": 1 }] } }),
            "/dev/x",
        ),
    ] {
        let error = planned_on(hybrid(), &patch).unwrap_err();
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert_eq!(error.kind(), crate::Kind::Invalid);
    }
}

#[test]
fn what_asks_for_nothing_is_no_reason_to_refuse() {
    for patch in [
        json!({ "hooks": { "prestart": [], "poststop": [] } }),
        json!({ "linux": { "uidMappings": [] } }),
        json!({ "linux": { "personality": { "domain": "LINUX" } } }),
        json!({ "linux": { "timeOffsets": {} } }),
    ] {
        planned(&patch);
    }
}

#[test]
fn a_limit_below_what_the_groups_use_is_refused_where_that_is_asked() {
    let group = std::env::temp_dir().join(format!("rrun-usage-{}", std::process::id()));
    // The files of either version.
    for (unified, files) in [
        (true, ["memory.current", "memory.max", "memory.events"]),
        (false, ["memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"]),
    ] {
        std::fs::create_dir(&group).unwrap();
        for file in files.into_iter().chain(["memory.stat"]) {
            std::fs::write(group.join(file), "8192\n").unwrap();
        }
        let dir = CgroupDir { path: group.clone(), unified, inherit_cpuset: false };
        let groups = Cgroups { dirs: vec![dir], ..Cgroups::default() };
        let check = |limit: i64, asked: bool| {
            let memory = json!({ "memory": { "limit": limit, "checkBeforeUpdate": asked } });
            check_usage(&serde_json::from_value(memory).unwrap(), &groups)
        };
        let words = check(8191, true).unwrap_err().to_string();
        assert!(words.contains("checkBeforeUpdate: 8192 bytes are used"), "{words}");
        for (limit, asked) in [(8191, false), (8192, true), (-1, true)] {
            check(limit, asked).unwrap();
        }
        std::fs::remove_dir_all(&group).unwrap();
    }
}
