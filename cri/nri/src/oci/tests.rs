//! What plugins are told of a configuration, and what they change in it.

use super::*;
use crate::api::{
    ContainerAdjustment, KeyValue, LinuxContainerAdjustment, LinuxCpu, LinuxIoPriority,
    LinuxMemory, LinuxRdt, LinuxResources, LinuxScheduler, OptionalInt64, OptionalString,
    OptionalUInt64,
};
use serde_json::json;

fn spec() -> Value {
    json!({
        "annotations": {"a": "1"},
        "process": {"args": ["sleep"], "env": ["A=1", "B=2=3"], "user": {"uid": 5, "gid": 6}},
        "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/opt/x"}],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "network", "path": "/n"}],
            "cgroupsPath": "/pod/c",
            "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438}],
            "resources": {
                "memory": {"limit": 100, "swap": 200}, "cpu": {"shares": 2},
                "unified": {"memory.high": "1"}, "devices": [{"allow": false, "access": "rwm"}],
                "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            },
        },
    })
}

fn adjusted(linux: LinuxContainerAdjustment) -> Result<Value, String> {
    let mut spec = spec();
    let wish = ContainerAdjustment { linux: Some(linux), ..Default::default() };
    adjust(&mut spec, &wish).map(|()| spec)
}

#[test]
fn a_configuration_is_told_field_by_field() {
    let mut container = Container::default();
    describe(&spec(), &mut container);
    assert_eq!(container.env, ["A=1", "B=2=3"]);
    assert_eq!(container.user.unwrap().uid, 5);
    let linux = container.linux.unwrap();
    assert_eq!(linux.namespaces[1].path, "/n");
    assert_eq!(linux.devices[0].file_mode.unwrap().value, 0o666);
    let limits = linux.resources.unwrap();
    assert_eq!(limits.memory.unwrap().limit.unwrap().value, 100);
    let back = limits_to_json(&limits).unwrap();
    let mut expected = spec()["linux"]["resources"].clone();
    expected.as_object_mut().unwrap().remove("devices");
    assert_eq!(Value::Object(back), expected);
}

#[test]
fn entries_are_set_and_those_with_a_mark_go() {
    let mut spec = spec();
    let variable = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
    let mount = |destination: &str| Mount { destination: destination.into(), ..Mount::default() };
    let hook = Hook { path: "/h".into(), ..Hook::default() };
    let wish = ContainerAdjustment {
        annotations: [("-a".to_owned(), String::new()), ("b".to_owned(), "2".to_owned())].into(),
        env: vec![variable("-A", ""), variable("B", "4"), variable("C", "5")],
        mounts: vec![mount("-/proc"), mount("/opt")],
        args: vec!["echo".into()],
        hooks: Some(Hooks { poststop: vec![hook], ..Hooks::default() }),
        rlimits: vec![PosixRlimit { r#type: "RLIMIT_NOFILE".into(), hard: 9, soft: 8 }],
        ..Default::default()
    };
    adjust(&mut spec, &wish).unwrap();
    assert_eq!(spec["annotations"], json!({"b": "2"}));
    assert_eq!(spec["process"]["env"], json!(["B=4", "C=5"]));
    assert_eq!(spec["process"]["args"], json!(["echo"]));
    let rlimit = json!([{"type": "RLIMIT_NOFILE", "hard": 9, "soft": 8}]);
    assert_eq!(spec["process"]["rlimits"], rlimit);
    let places: Vec<_> =
        spec["mounts"].as_array().unwrap().iter().map(|m| &m["destination"]).collect();
    assert_eq!(places, ["/opt", "/opt/x"]);
    assert_eq!(spec["hooks"]["poststop"], json!([{"path": "/h", "args": [], "env": []}]));
}

#[test]
fn limits_are_set_one_by_one_and_a_device_comes_with_its_rule() {
    let memory = LinuxMemory { limit: Some(OptionalInt64 { value: 50 }), ..Default::default() };
    let cpu = LinuxCpu {
        quota: Some(OptionalInt64 { value: 7 }),
        period: Some(OptionalUInt64 { value: 8 }),
        ..Default::default()
    };
    let device = LinuxDevice {
        path: "/dev/x".into(),
        r#type: "c".into(),
        major: 5,
        minor: 6,
        ..Default::default()
    };
    let spec = adjusted(LinuxContainerAdjustment {
        resources: Some(LinuxResources {
            memory: Some(memory),
            cpu: Some(cpu),
            unified: [("memory.low".to_owned(), "3".to_owned())].into(),
            ..Default::default()
        }),
        devices: vec![device, LinuxDevice { path: "-/dev/null".into(), ..Default::default() }],
        oom_score_adj: Some(OptionalInt { value: 17 }),
        cgroups_path: "/pod/c".into(),
        ..Default::default()
    });
    let spec = spec.unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"], json!({"limit": 50, "swap": 200}));
    assert_eq!(resources["cpu"], json!({"shares": 2, "quota": 7, "period": 8}));
    assert_eq!(resources["unified"], json!({"memory.high": "1", "memory.low": "3"}));
    let rule = json!({"allow": true, "type": "c", "major": 5, "minor": 6, "access": "rwm"});
    assert_eq!(resources["devices"][1], rule);
    let node = json!([{"path": "/dev/x", "type": "c", "major": 5, "minor": 6}]);
    assert_eq!((&spec["linux"]["devices"], &spec["process"]["oomScoreAdj"]), (&node, &json!(17)));
}

#[test]
fn a_container_that_may_not_swap_may_not_with_another_limit_of_memory_either() {
    let memory = LinuxMemory { limit: Some(OptionalInt64 { value: 900 }), ..Default::default() };
    let resources = LinuxResources { memory: Some(memory), ..Default::default() };
    let linux = LinuxContainerAdjustment { resources: Some(resources), ..Default::default() };
    let wish = ContainerAdjustment { linux: Some(linux), ..Default::default() };
    for (held, expected) in [
        (json!({"limit": 100, "swap": 100}), json!({"limit": 900, "swap": 900})),
        (json!({"limit": 100, "swap": 2000}), json!({"limit": 900, "swap": 2000})),
        (json!({}), json!({"limit": 900})),
    ] {
        let mut spec = spec();
        spec["linux"]["resources"]["memory"] = held;
        adjust(&mut spec, &wish).unwrap();
        assert_eq!(spec["linux"]["resources"]["memory"], expected);
    }
}

#[test]
fn what_is_not_a_plugins_to_choose_is_refused_by_its_name() {
    let namespace = LinuxNamespace { r#type: "network".into(), path: "/n".into() };
    let class = Some(OptionalString { value: "gold".into() });
    let resources = LinuxResources { rdt_class: class, ..Default::default() };
    for (linux, words) in [
        (
            LinuxContainerAdjustment { cgroups_path: "/else".into(), ..Default::default() },
            "linux.cgroups_path",
        ),
        (
            LinuxContainerAdjustment { namespaces: vec![namespace], ..Default::default() },
            "linux.namespaces: network is the pod's",
        ),
        (
            LinuxContainerAdjustment { resources: Some(resources), ..Default::default() },
            "linux.resources.rdt_class is not supported",
        ),
        (
            LinuxContainerAdjustment {
                memory_policy: Some(Default::default()),
                ..Default::default()
            },
            "linux.memory_policy",
        ),
    ] {
        let error = adjusted(linux).unwrap_err();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn what_the_runtime_may_refuse_is_in_its_configuration() {
    let spec = adjusted(LinuxContainerAdjustment {
        io_priority: Some(LinuxIoPriority { class: 1, priority: 4 }),
        scheduler: Some(LinuxScheduler { policy: 2, priority: 3, ..Default::default() }),
        net_devices: [("eth1".to_owned(), Default::default())].into(),
        rdt: Some(LinuxRdt {
            clos_id: Some(OptionalString { value: "a".into() }),
            ..Default::default()
        }),
        ..Default::default()
    });
    let spec = spec.unwrap();
    let priority = json!({"class": "IOPRIO_CLASS_RT", "priority": 4});
    assert_eq!(spec["process"]["ioPriority"], priority);
    assert_eq!(spec["process"]["scheduler"]["policy"], "SCHED_FIFO");
    assert_eq!(spec["linux"]["netDevices"], json!({"eth1": {"name": ""}}));
    assert_eq!(spec["linux"]["intelRdt"], json!({"closID": "a"}));
}
