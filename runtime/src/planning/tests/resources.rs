//! Resources to files of control groups.

use super::*;
use crate::plan::device_filter::{Access, Rule, Type};
use crate::planning::device_rules::policy;

/// Resources, what v1 (and hybrid) gets, what v2 gets.
type Row = (Value, &'static [&'static str], &'static [&'static str]);

fn check(rows: &[Row]) {
    for (resources, on_hybrid, on_v2) in rows {
        let patch = json!({ "linux": { "resources": resources } });
        for (layout, expected) in [(hybrid(), on_hybrid), (full_v2(), on_v2)] {
            let mode = layout.mode;
            let got = match planned_on(layout, &patch) {
                Ok(plan) => writes(&plan.cgroups),
                Err(error) => vec![format!("refused: {error}")],
            };
            let refused = matches!(expected, [one] if one.starts_with("refused"));
            if refused {
                assert!(
                    got.len() == 1 && got[0].contains(&expected[0]["refused: ".len()..]),
                    "{got:?}"
                );
                continue;
            }
            assert_eq!(got, *expected, "{mode:?} {resources}");
        }
    }
}

#[test]
fn memory_becomes_files_in_the_order_that_a_new_group_takes() {
    const MIB: i64 = 1 << 20;
    check(&[
        (json!({ "memory": {} }), &[], &[]),
        (json!({ "memory": { "limit": 0, "swap": 0, "reservation": 0 } }), &[], &[]),
        (
            json!({ "memory": { "limit": MIB } }),
            &["memory/memory.limit_in_bytes=1048576"],
            &["memory.max=1048576"],
        ),
        (
            json!({ "memory": { "limit": -1 } }),
            &["memory/memory.limit_in_bytes?=-1", "memory/memory.memsw.limit_in_bytes?=-1"],
            &["memory.max?=max", "memory.swap.max?=max"],
        ),
        (
            json!({ "memory": { "limit": MIB, "swap": 3 * MIB } }),
            &["memory/memory.limit_in_bytes=1048576", "memory/memory.memsw.limit_in_bytes=3145728"],
            &["memory.max=1048576", "memory.swap.max=2097152"],
        ),
        (
            json!({ "memory": { "limit": MIB, "swap": MIB } }),
            &["memory/memory.limit_in_bytes=1048576", "memory/memory.memsw.limit_in_bytes=1048576"],
            &["memory.max=1048576", "memory.swap.max=0"],
        ),
        (
            json!({ "memory": { "limit": MIB, "swap": -1 } }),
            &["memory/memory.limit_in_bytes=1048576", "memory/memory.memsw.limit_in_bytes?=-1"],
            &["memory.max=1048576", "memory.swap.max?=max"],
        ),
        (
            json!({ "memory": { "limit": 2 * MIB, "reservation": MIB } }),
            &["memory/memory.limit_in_bytes=2097152", "memory/memory.soft_limit_in_bytes=1048576"],
            &["memory.max=2097152", "memory.low=1048576"],
        ),
        (
            json!({ "memory": { "swappiness": 0 } }),
            &["memory/memory.swappiness=0"],
            &["refused: swappiness"],
        ),
        (json!({ "memory": { "swappiness": u64::MAX } }), &[], &[]),
        (
            json!({ "memory": { "disableOOMKiller": false } }),
            &["memory/memory.oom_control?=0"],
            &[],
        ),
        (
            json!({ "memory": { "disableOOMKiller": true } }),
            &["memory/memory.oom_control=1"],
            &["refused: disableOOMKiller"],
        ),
        (
            json!({ "memory": { "kernelTCP": 4096 } }),
            &["memory/memory.kmem.tcp.limit_in_bytes=4096"],
            &["refused: kernelTCP"],
        ),
        (
            json!({ "memory": { "kernel": 4096 } }),
            &["refused: memory.kernel"],
            &["refused: memory.kernel"],
        ),
        (json!({ "memory": { "limit": -2 } }), &["refused: no size"], &["refused: no size"]),
        (json!({ "memory": { "limit": 100 } }), &["refused: a page"], &["refused: a page"]),
        (
            json!({ "memory": { "limit": 2 * MIB, "swap": MIB } }),
            &["refused: less than"],
            &["refused: less than"],
        ),
        (
            json!({ "memory": { "swap": MIB } }),
            &["refused: needs a limit"],
            &["refused: needs a limit"],
        ),
        (
            json!({ "memory": { "limit": -1, "swap": MIB } }),
            &["refused: needs a limit"],
            &["refused: needs a limit"],
        ),
        (
            json!({ "memory": { "useHierarchy": false } }),
            &["refused: useHierarchy"],
            &["refused: useHierarchy"],
        ),
    ]);
}

#[test]
fn cpu_becomes_shares_or_weight_and_quota() {
    check(&[
        (json!({ "cpu": { "shares": 0 } }), &[], &[]),
        (json!({ "cpu": { "shares": 2 } }), &["cpu,cpuacct/cpu.shares=2"], &["cpu.weight=1"]),
        (json!({ "cpu": { "shares": 1 } }), &["cpu,cpuacct/cpu.shares=1"], &["cpu.weight=1"]),
        (json!({ "cpu": { "shares": 102 } }), &["cpu,cpuacct/cpu.shares=102"], &["cpu.weight=17"]),
        (
            json!({ "cpu": { "shares": 1024 } }),
            &["cpu,cpuacct/cpu.shares=1024"],
            &["cpu.weight=100"],
        ),
        (
            json!({ "cpu": { "shares": 262_144 } }),
            &["cpu,cpuacct/cpu.shares=262144"],
            &["cpu.weight=10000"],
        ),
        (
            json!({ "cpu": { "shares": 999_999 } }),
            &["cpu,cpuacct/cpu.shares=999999"],
            &["cpu.weight=10000"],
        ),
        (
            json!({ "cpu": { "quota": 50_000, "period": 100_000 } }),
            &["cpu,cpuacct/cpu.cfs_period_us=100000", "cpu,cpuacct/cpu.cfs_quota_us=50000"],
            &["cpu.max=50000 100000"],
        ),
        (
            json!({ "cpu": { "quota": 50_000 } }),
            &["cpu,cpuacct/cpu.cfs_quota_us=50000"],
            &["cpu.max=50000 100000"],
        ),
        (
            json!({ "cpu": { "quota": -1 } }),
            &["cpu,cpuacct/cpu.cfs_quota_us?=-1"],
            &["cpu.max=max 100000"],
        ),
        (
            json!({ "cpu": { "period": 20_000 } }),
            &["cpu,cpuacct/cpu.cfs_period_us=20000"],
            &["cpu.max=max 20000"],
        ),
        (
            json!({ "cpu": { "quota": 50_000, "burst": 10_000 } }),
            &["cpu,cpuacct/cpu.cfs_quota_us=50000", "cpu,cpuacct/cpu.cfs_burst_us=10000"],
            &["cpu.max=50000 100000", "cpu.max.burst=10000"],
        ),
        (json!({ "cpu": { "idle": 1 } }), &["cpu,cpuacct/cpu.idle=1"], &["cpu.idle=1"]),
        (
            json!({ "cpu": { "realtimePeriod": 1000, "realtimeRuntime": 500 } }),
            &["cpu,cpuacct/cpu.rt_period_us=1000", "cpu,cpuacct/cpu.rt_runtime_us=500"],
            &["refused: realtimePeriod"],
        ),
        (
            json!({ "cpu": { "cpus": "0-1", "mems": "0" } }),
            &["cpuset/cpuset.cpus=0-1", "cpuset/cpuset.mems=0"],
            &["cpuset.cpus=0-1", "cpuset.mems=0"],
        ),
        (json!({ "cpu": { "cpus": "" } }), &[], &[]),
    ]);
}

#[test]
fn the_other_controllers_get_their_files() {
    let throttled = json!({ "blockIO": {
        "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1000 }],
        "throttleWriteIOPSDevice": [{ "major": 8, "minor": 16, "rate": 0 }]
    } });
    check(&[
        (json!({ "pids": { "limit": 10 } }), &["pids/pids.max=10"], &["pids.max=10"]),
        (json!({ "pids": { "limit": 0 } }), &[], &[]),
        (json!({ "pids": { "limit": -1 } }), &["pids/pids.max?=max"], &["pids.max?=max"]),
        (
            json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }),
            &["unified/hugetlb.2MB.max=4194304", "unified/hugetlb.2MB.rsvd.max?=4194304"],
            &["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max?=4194304"],
        ),
        (
            json!({ "hugepageLimits": [{ "pageSize": "../x", "limit": 1 }] }),
            &["refused: no page size"],
            &["refused: no page size"],
        ),
        (
            json!({ "network": { "classID": 1_048_577 } }),
            &["net_cls/net_cls.classid=1048577"],
            &["refused: classID"],
        ),
        (
            json!({ "network": { "priorities": [{ "name": "eth0", "priority": 5 }] } }),
            &["net_cls/net_prio.ifpriomap=eth0 5"],
            &["refused: priorities"],
        ),
        (
            json!({ "blockIO": { "weight": 10 } }),
            &["blkio/blkio.weight?=10", "blkio/blkio.bfq.weight?=10"],
            &["io.bfq.weight?=10", "io.weight?=default 1"],
        ),
        (
            json!({ "blockIO": { "weight": 1000 } }),
            &["blkio/blkio.weight?=1000", "blkio/blkio.bfq.weight?=1000"],
            &["io.bfq.weight?=1000", "io.weight?=default 10000"],
        ),
        (json!({ "blockIO": { "weight": 5 } }), &["refused: 10 to 1000"], &["refused: 10 to 1000"]),
        (
            json!({ "blockIO": { "leafWeight": 500 } }),
            &["refused: leafWeight"],
            &["refused: leafWeight"],
        ),
        (
            throttled,
            &[
                "blkio/blkio.throttle.read_bps_device=8:0 1000",
                "blkio/blkio.throttle.write_iops_device=8:16 0",
            ],
            &["io.max=8:0 rbps=1000", "io.max=8:16 wiops=max"],
        ),
        (
            json!({ "rdma": { "mlx5_0": { "hcaHandles": 3, "hcaObjects": 9 } } }),
            &["refused: rdma"],
            &["rdma.max=mlx5_0 hca_handle=3 hca_object=9"],
        ),
        (
            json!({ "unified": { "memory.high": "1048576", "io.max": "8:0 rbps=1\n8:16 rbps=2" } }),
            &["refused: io controller"],
            &["io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=1048576"],
        ),
        (
            json!({ "unified": { "cgroup.max.descendants": "5" } }),
            &["unified/cgroup.max.descendants=5"],
            &["cgroup.max.descendants=5"],
        ),
        (
            json!({ "unified": { "memory.high": "" } }),
            &["refused: has no value"],
            &["refused: has no value"],
        ),
        (json!({ "cpu": { "idle": 0 } }), &["cpu,cpuacct/cpu.idle?=0"], &["cpu.idle?=0"]),
        (
            json!({ "unified": { "cgroup.procs": "1" } }),
            &["refused: runtime's own"],
            &["refused: runtime's own"],
        ),
        (json!({ "unified": { "../cpu.max": "1" } }), &["refused: no file"], &["refused: no file"]),
        (
            json!({ "unified": { "memory.max": "1" } }),
            &["refused: on cgroup v1"],
            &["memory.max=1"],
        ),
    ]);
}

#[test]
fn without_a_controller_only_a_real_limit_is_refused() {
    for (resources, field) in [
        (json!({ "memory": { "limit": 1 << 20 } }), Some("linux.resources.memory")),
        (json!({ "memory": { "limit": -1, "swap": -1 } }), None),
        (json!({ "memory": { "limit": 0, "disableOOMKiller": false } }), None),
        (json!({ "cpu": { "shares": 1024 } }), Some("linux.resources.cpu")),
        (json!({ "cpu": { "shares": 0, "quota": -1, "period": 100_000 } }), None),
        (json!({ "cpu": { "cpus": "0" } }), Some("cpuset")),
        (json!({ "pids": { "limit": 5 } }), Some("pids")),
        (json!({ "pids": { "limit": 0 } }), None),
        (json!({ "blockIO": {} }), None),
        (json!({ "blockIO": { "weight": 100 } }), Some("blockIO")),
        (json!({ "unified": { "memory.max": "1" } }), Some("memory.max")),
        (json!({}), None),
    ] {
        let result = planned_on(v2(&["hugetlb"]), &json!({ "linux": { "resources": resources } }));
        match (result, field) {
            (Ok(plan), None) => assert!(plan.cgroups.writes.is_empty(), "{resources}"),
            (Err(error), Some(field)) => {
                let text = error.to_string();
                assert!(text.contains(field) && text.contains("controller"), "{text}");
            }
            (result, _) => panic!("{resources}: {result:?}"),
        }
    }
}

pub(super) fn rules(json: &Value) -> Vec<oci_spec::runtime::LinuxDeviceCgroup> {
    serde_json::from_value(json.clone()).unwrap()
}

#[test]
fn device_rules_become_writes_of_v1() {
    let policy = policy(&rules(&json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
        { "allow": true, "type": "b", "major": 8, "access": "r" },
        { "allow": true, "type": "c", "major": 4, "minor": 1, "access": "rwm" },
        { "allow": false, "type": "c", "major": 4, "minor": 1, "access": "w" }
    ])))
    .unwrap();
    let writes: Vec<String> =
        policy.v1_writes(None).iter().map(|(file, line)| format!("{file} {line}")).collect();
    assert_eq!(
        writes[..4],
        [
            "devices.deny a",
            "devices.allow c 10:229 rw",
            "devices.allow b 8:* r",
            "devices.allow c 4:1 rm",
        ]
    );
    for line in ["c *:* m", "b *:* m", "c 1:3 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"] {
        assert!(writes.contains(&format!("devices.allow {line}")), "{line}");
    }
    assert!(policy.v2_program(None).is_some());
}

#[test]
fn no_rules_at_all_allow_what_every_container_has_and_no_more() {
    let policy = policy(&[]).unwrap();
    assert!(!policy.allow);
    let null = Rule { kind: Type::Char, major: Some(1), minor: Some(3), access: Access::ALL };
    assert!(policy.exceptions.contains(&null));
    assert!(policy.exceptions.iter().all(|rule| rule.major != Some(8)));
}

#[test]
fn a_privileged_container_may_do_everything() {
    let policy = policy(&rules(&json!([{ "allow": true, "access": "rwm" }]))).unwrap();
    assert_eq!(policy.v1_writes(None), [("devices.allow", "a".to_owned())]);
    assert_eq!(policy.v2_program(None), None);
}

#[test]
fn a_denied_device_is_an_exception_of_one_who_may_do_everything_else() {
    let policy = policy(&rules(&json!([
        { "allow": true, "type": "a" },
        { "allow": false, "type": "b", "major": 8, "minor": 0, "access": "w" }
    ])))
    .unwrap();
    let writes = policy.v1_writes(None);
    assert_eq!(writes[0], ("devices.allow", "a".to_owned()));
    assert_eq!(writes[1], ("devices.deny", "b 8:0 w".to_owned()));
}

#[test]
fn device_rules_that_v1_would_not_keep_are_refused() {
    for json in [
        json!([{ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
               { "allow": false, "type": "c", "major": 1, "access": "rwm" }]),
        json!([{ "allow": true, "type": "a", "major": 1 }]),
        json!([{ "allow": true, "type": "a", "access": "r" }]),
        json!([{ "allow": true, "type": "c", "access": "x" }]),
        json!([{ "allow": true, "type": "c", "major": -5 }]),
        json!([{ "allow": true, "type": "p" }]),
    ] {
        assert!(policy(&rules(&json)).is_err(), "{json}");
    }
}
