//! Processes, namespaces, names and kernel parameters.

use super::*;
use crate::plan::Namespace;
use crate::planning::{NamespaceOverrides, warnings};
use rrun_sys::limit::Files;

fn process(patch: Value) -> Result<crate::plan::Process> {
    planned_on(hybrid(), &json!({ "process": patch })).map(|plan| plan.process)
}

fn refused(patch: Value) -> String {
    process(patch).unwrap_err().to_string()
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;

#[test]
fn capabilities_have_names_and_what_cannot_be_granted_is_told() {
    let sets = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_RESOURCE"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL", "CAP_NET_RAW"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL", "CAP_CHOWN"]
    });
    let planned = process(json!({ "capabilities": sets })).unwrap().capabilities;
    assert_eq!(planned.bounding, CHOWN | KILL, "the host has no CAP_SYS_RESOURCE");
    assert_eq!(planned.permitted, CHOWN | KILL);
    assert_eq!(planned.effective, KILL, "an effective one must be permitted");
    assert_eq!(planned.inheritable, KILL);
    assert_eq!(planned.ambient, KILL, "an ambient one must be permitted and inheritable");

    let mut config = config();
    merge(&mut config, &json!({ "process": { "capabilities": sets } }));
    let spec = load(config.to_string().as_bytes()).unwrap().value;
    let told = warnings(spec.process().as_ref().unwrap(), &host(hybrid()));
    assert_eq!(
        told,
        [
            "process.capabilities.bounding: cannot grant CAP_SYS_RESOURCE",
            "process.capabilities.effective: cannot grant CAP_NET_RAW",
            "process.capabilities.ambient: cannot grant CAP_CHOWN",
        ]
    );
}

#[test]
fn a_capability_that_nobody_knows_is_left_out_with_a_warning() {
    let mut config = config();
    merge(
        &mut config,
        &json!({ "process": { "capabilities": {
        "bounding": ["CAP_CHOWN", "CAP_OF_TOMORROW"]
    } } }),
    );
    let loaded = load(config.to_string().as_bytes()).unwrap();
    assert_eq!(
        loaded.warnings,
        ["process.capabilities.bounding: \"CAP_OF_TOMORROW\" is not known"]
    );
    let plan = plan(&loaded.value, &host(hybrid()), &over()).unwrap();
    assert_eq!(plan.process.capabilities.bounding, CHOWN);
    let broken = load(b"{\"ociVersion\": 5}").unwrap_err().to_string();
    assert!(broken.contains("line 1"), "{broken}");
}

#[test]
fn of_two_values_of_a_variable_the_last_one_counts() {
    let env = process(json!({ "env": ["A=1", "B=2", "A=3", "C="] })).unwrap().env;
    assert_eq!(env, [b"A=3".to_vec(), b"B=2".to_vec(), b"C=".to_vec()]);
}

#[test]
fn a_process_that_makes_no_sense_is_refused_by_the_field() {
    for (patch, field) in [
        (json!({ "args": [] }), "process.args"),
        (json!({ "args": [""] }), "process.args"),
        (json!({ "args": ["a\0b"] }), "process.args"),
        (json!({ "cwd": "tmp" }), "process.cwd"),
        (json!({ "env": ["NOVALUE"] }), "process.env"),
        (json!({ "env": ["=x"] }), "process.env"),
        (json!({ "oomScoreAdj": 1001 }), "process.oomScoreAdj"),
        (json!({ "rlimits": [{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }] }), "RLIMIT_CORE"),
        (
            json!({ "rlimits": [{ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 },
                                { "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }] }),
            "twice",
        ),
    ] {
        let text = refused(patch);
        assert!(text.contains(field), "{text}");
    }
}

#[test]
fn a_process_keeps_what_it_is_given() {
    let planned = process(json!({
        "user": { "uid": 5, "gid": 6, "umask": 63, "additionalGids": [7, 8] },
        "terminal": true, "consoleSize": { "height": 40, "width": 100 },
        "noNewPrivileges": true, "oomScoreAdj": -5, "cwd": "/a/../b",
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096 }]
    }))
    .unwrap();
    assert_eq!((planned.user.uid, planned.user.gid, planned.user.umask), (5, 6, Some(0o77)));
    assert_eq!(planned.user.groups, [7, 8]);
    assert_eq!(planned.terminal_size, Some((40, 100)));
    assert!(planned.no_new_privileges && planned.terminal);
    assert_eq!((planned.oom_score_adj, planned.cwd.as_str()), (Some(-5), "/b"));
    assert_eq!(planned.rlimits[0].resource, libc::RLIMIT_NOFILE);
}

#[test]
fn a_process_that_asks_for_no_limit_of_files_gets_that_of_the_host() {
    let host = Host { files: Some(Files { soft: 10, hard: 20 }), ..host(hybrid()) };
    let limits = |asked: Value| {
        let mut config = config();
        merge(&mut config, &json!({ "process": { "rlimits": asked } }));
        let spec = load(config.to_string().as_bytes()).unwrap().value;
        let process = spec.process().as_ref().unwrap();
        let planned = crate::planning::process::plan(process, &host, None).unwrap();
        let all = planned.rlimits.iter().map(|limit| (limit.resource, limit.soft, limit.hard));
        all.collect::<Vec<_>>()
    };
    let files = (libc::RLIMIT_NOFILE, 10, 20);
    assert_eq!(limits(json!([])), [files]);
    let core = json!({ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 });
    assert_eq!(limits(json!([core])), [(libc::RLIMIT_CORE, 1, 2), files]);
    let own = json!({ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 2 });
    assert_eq!(limits(json!([own])), [(libc::RLIMIT_NOFILE, 1, 2)]);
}

#[test]
fn a_console_size_without_a_terminal_means_nothing() {
    let planned = process(json!({ "consoleSize": { "height": 1, "width": 2 } })).unwrap();
    assert_eq!(planned.terminal_size, None);
}

#[test]
fn kernel_parameters_must_belong_to_a_namespace_of_the_container() {
    let with = |namespaces: Value, name: &str| {
        planned_on(
            hybrid(),
            &json!({ "linux": { "namespaces": namespaces, "sysctl": { name: "1" } } }),
        )
        .map(|plan| plan.sysctls[0].0.clone())
    };
    let all = || json!([{ "type": "mount" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }]);
    let none = || json!([{ "type": "mount" }]);
    for (name, path) in [
        ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
        ("net/ipv4/conf/eth0.100/forwarding", Some("net/ipv4/conf/eth0.100/forwarding")),
        ("net.ipv4.conf.eth0/100.forwarding", Some("net/ipv4/conf/eth0.100/forwarding")),
        ("kernel.shmmax", Some("kernel/shmmax")),
        ("kernel.shm_rmid_forced", Some("kernel/shm_rmid_forced")),
        ("fs.mqueue.msg_max", Some("fs/mqueue/msg_max")),
        ("kernel.domainname", Some("kernel/domainname")),
        ("kernel.hostname", None),
        ("kernel.panic", None),
        ("vm.swappiness", None),
        ("fs.file-max", None),
        ("net..ipv4", None),
        ("net/../kernel/panic", None),
        ("noseparator", None),
    ] {
        assert_eq!(with(all(), name).ok().as_deref(), path, "{name}");
        assert!(with(none(), name).is_err(), "{name} would change the host");
    }
}

#[test]
fn namespaces_are_new_joined_or_the_hosts() {
    let plan = planned(&json!({ "linux": { "namespaces": [
        { "type": "mount" }, { "type": "pid" },
        { "type": "network", "path": "/var/run/netns/x" }, { "type": "cgroup" }, { "type": "time" }
    ] } }));
    let n = plan.namespaces;
    assert_eq!(n.pid, Namespace::New);
    assert_eq!(n.network, Namespace::Path("/var/run/netns/x".into()));
    assert_eq!((n.ipc, n.uts), (Namespace::Host, Namespace::Host));
    assert_eq!((n.cgroup, n.time), (Namespace::New, Namespace::New));
}

#[test]
fn a_callers_namespace_wins() {
    let spec = load(config().to_string().as_bytes()).unwrap().value;
    let slot = Namespace::Slot(crate::plan::Slot(1));
    let namespaces = NamespaceOverrides {
        network: Some(slot.clone()),
        pid: Some(Namespace::Host),
        ..Default::default()
    };
    let plan = plan(&spec, &host(hybrid()), &Overrides { namespaces, ..over() }).unwrap();
    assert_eq!((plan.namespaces.network, plan.namespaces.pid), (slot, Namespace::Host));
}

#[test]
fn a_host_name_needs_a_namespace_and_is_set_where_that_is_new() {
    assert_eq!(planned(&json!({ "hostname": "h" })).hostname.as_deref(), Some("h"));
    assert_eq!(planned(&json!({ "hostname": "" })).hostname, None);
    let joined = json!({ "hostname": "h", "linux": { "namespaces": [
        { "type": "mount" }, { "type": "uts", "path": "/n" }
    ] } });
    assert_eq!(planned(&joined).hostname.as_deref(), Some("h"));
    let hosts = json!({ "hostname": "h", "linux": { "namespaces": [{ "type": "mount" }] } });
    assert!(planned_on(hybrid(), &hosts).is_err());
    assert!(planned_on(hybrid(), &json!({ "hostname": "x".repeat(65) })).is_err());
}

#[test]
fn a_profile_or_label_is_taken_where_its_module_is_and_refused_elsewhere() {
    let asked = json!({ "process": { "apparmorProfile": "x", "selinuxLabel": "y" } });
    let mut config = config();
    merge(&mut config, &asked);
    let spec = load(config.to_string().as_bytes()).unwrap().value;
    let active = Host { apparmor: true, selinux: true, ..host(hybrid()) };
    let process = plan(&spec, &active, &over()).unwrap().process;
    assert_eq!((process.apparmor.as_deref(), process.selinux.as_deref()), (Some("x"), Some("y")));
    for (patch, field) in [
        (json!({ "process": { "apparmorProfile": "x" } }), "process.apparmorProfile"),
        (json!({ "process": { "selinuxLabel": "y" } }), "process.selinuxLabel"),
        (json!({ "linux": { "mountLabel": "y" } }), "linux.mountLabel"),
    ] {
        let error = planned_on(hybrid(), &patch).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
    // Everything is unconfined without AppArmor, and an empty label is none.
    let patch = json!({ "process": { "apparmorProfile": "unconfined", "selinuxLabel": "" } });
    assert_eq!(planned(&patch).process.apparmor, None);
}

#[test]
fn a_group_that_is_asked_for_is_not_passed_over_where_there_are_none() {
    let spec = load(config().to_string().as_bytes()).unwrap().value;
    let bare = Host { cgroups: None, ..host(hybrid()) };
    let error = plan(&spec, &bare, &over()).unwrap_err();
    assert!(error.to_string().contains("linux.cgroupsPath"), "{error}");
}
