//! Resources that are changed while a container runs.

use super::resources::rules;
use super::*;
use crate::cgroup::{Controllers, Resources};
use crate::planning::device_rules::policy;

/// What changes when `patch` comes over `config`, both of them resources.
fn changes(layout: Layout, config: &Value, patch: &Value) -> Result<Vec<String>> {
    let host = host(layout.clone());
    let read = |json: &Value| serde_json::from_value(json.clone()).unwrap();
    let in_force = crate::planning::created_resources(Some(&read(config)), &host).unwrap();
    let change = crate::planning::changed_resources(&read(patch), &host).unwrap();
    let dirs = layout.dirs(std::path::Path::new("/pod/c"));
    let groups = in_force.plan(&change, &dirs, &Controllers::find(&layout, &dirs))?;
    // Taking it back asks for what was in force.
    let kept = in_force.after(&change).after(&in_force.back(&change));
    let same = |setting| kept.number(setting) == in_force.number(setting);
    assert!(same(&crate::cgroup::Setting::Memory) && same(&crate::cgroup::Setting::CpuQuota));
    Ok(writes(&groups))
}

#[test]
fn a_change_is_written_in_an_order_that_the_kernel_takes_and_the_rest_stays() {
    const MIB: i64 = 1 << 20;
    let memory = |limit: i64, swap: i64| json!({ "memory": { "limit": limit, "swap": swap } });
    let cpu = |quota: i64, period: i64| json!({ "cpu": { "quota": quota, "period": period } });
    let (limit, both) = ("memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes");
    for (config, patch, on_hybrid, on_v2) in [
        (
            memory(MIB, MIB),
            memory(2 * MIB, 2 * MIB),
            vec![format!("{both}=2097152"), format!("{limit}=2097152")],
            vec!["memory.swap.max=0", "memory.max=2097152"],
        ),
        (
            memory(2 * MIB, 2 * MIB),
            memory(MIB, MIB),
            vec![format!("{limit}=1048576"), format!("{both}=1048576")],
            vec!["memory.max=1048576", "memory.swap.max=0"],
        ),
        // A swap value alone: against the limit in force.
        (
            memory(MIB, MIB),
            json!({ "memory": { "swap": 3 * MIB } }),
            vec![format!("{both}=3145728")],
            vec!["memory.swap.max=2097152"],
        ),
        // A limit alone: the sum stays.
        (
            memory(MIB, 3 * MIB),
            json!({ "memory": { "limit": 2 * MIB } }),
            vec![format!("{limit}=2097152")],
            vec!["memory.max=2097152", "memory.swap.max=1048576"],
        ),
        // No limit any more, in the order of one that grows.
        (
            memory(MIB, MIB),
            json!({ "memory": { "limit": -1 } }),
            vec![format!("{both}?=-1"), format!("{limit}?=-1")],
            vec!["memory.swap.max?=max", "memory.max?=max"],
        ),
        (
            cpu(50_000, 100_000),
            cpu(5_000, 10_000),
            vec![
                "cpu,cpuacct/cpu.cfs_quota_us=5000".into(),
                "cpu,cpuacct/cpu.cfs_period_us=10000".into(),
            ],
            vec!["cpu.max=5000 10000"],
        ),
        // One file of v2 holds both: the one that is not spoken of stays.
        (
            cpu(50_000, 20_000),
            json!({ "cpu": { "quota": 10_000 } }),
            vec!["cpu,cpuacct/cpu.cfs_quota_us=10000".into()],
            vec!["cpu.max=10000 20000"],
        ),
        // 0 says nothing.
        (
            memory(MIB, MIB),
            json!({ "memory": { "limit": 0 }, "cpu": { "shares": 0 } }),
            vec![],
            vec![],
        ),
        // What is neutral for a new group is none here.
        (
            json!({ "pids": { "limit": 5 }, "cpu": { "idle": 1 } }),
            json!({ "pids": { "limit": -1 }, "cpu": { "idle": 0, "shares": 2 } }),
            vec![
                "cpu,cpuacct/cpu.idle?=0".into(),
                "cpu,cpuacct/cpu.shares=2".into(),
                "pids/pids.max?=max".into(),
            ],
            vec!["cpu.idle?=0", "cpu.weight=1", "pids.max?=max"],
        ),
    ] {
        assert_eq!(changes(hybrid(), &config, &patch).unwrap(), on_hybrid, "{patch}");
        assert_eq!(changes(full_v2(), &config, &patch).unwrap(), on_v2, "{patch}");
    }
    for (config, patch) in [
        (memory(2 * MIB, 2 * MIB), json!({ "memory": { "swap": MIB } })),
        (memory(MIB, MIB), json!({ "memory": { "limit": 2 * MIB } })),
        (json!({}), json!({ "memory": { "swap": MIB } })),
    ] {
        let error = changes(full_v2(), &config, &patch).unwrap_err();
        assert!(error.to_string().contains("linux.resources.memory.swap"), "{error}");
    }
}

#[test]
fn a_swap_limit_that_cannot_be_set_is_passed_over_only_where_nothing_is_swapped() {
    let patch = json!({ "linux": { "resources": { "memory": { "limit": 4096, "swap": 4096 } } } });
    let bare = Layout { swap: false, ..full_v2() };
    let groups = planned_on(bare, &patch).unwrap().cgroups;
    assert_eq!(writes(&groups), ["memory.max=4096", "memory.swap.max?=0"]);
}

#[test]
fn changed_device_rules_add_and_take_what_differs() {
    let old = policy(&rules(&json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
        { "allow": true, "type": "b", "major": 8, "access": "r" }
    ])))
    .unwrap();
    let new = policy(&rules(&json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rm" }
    ])))
    .unwrap();
    let lines: Vec<String> =
        new.v1_writes(Some(&old)).iter().map(|(file, line)| format!("{file} {line}")).collect();
    assert_eq!(
        lines,
        ["devices.deny c 10:229 w", "devices.deny b 8:* r", "devices.allow c 10:229 m"]
    );
    assert!(new.v1_writes(Some(&new)).is_empty());
    let everything = policy(&rules(&json!([{ "allow": true }]))).unwrap();
    assert_eq!(everything.v1_writes(Some(&new)), [("devices.allow", "a".to_owned())]);
    // A filter is taken away by one that allows everything.
    assert!(everything.v2_program(Some(&new)).is_some());
    assert_eq!(everything.v2_program(Some(&everything)), None);
}

#[test]
fn resources_are_read_back_from_json_as_they_were() {
    let json = json!({ "memory": { "limit": 4096 }, "unified": { "memory.high": "1" },
                       "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] });
    let resources = serde_json::from_value(json).unwrap();
    let resources = crate::planning::created_resources(Some(&resources), &host(full_v2())).unwrap();
    let text = serde_json::to_string(&resources).unwrap();
    assert_eq!(serde_json::from_str::<Resources>(&text).unwrap(), resources);
}

#[test]
fn a_slice_of_systemd_is_refused_where_systemd_does_not_have_it() {
    for (path, fine) in [
        ("/kubepods-burstable-podX.slice/c", false),
        ("/a/kubepods-burstable.slice/c", false),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice/c", true),
        ("/machine.slice/c", true),
        ("/-.slice/c", true),
        ("/with-dashes/c", true),
    ] {
        let planned = planned_on(full_v2(), &json!({ "linux": { "cgroupsPath": path } }));
        match planned {
            Ok(_) => assert!(fine, "{path}"),
            Err(error) => assert!(!fine && error.to_string().contains("slice"), "{error}"),
        }
    }
}
