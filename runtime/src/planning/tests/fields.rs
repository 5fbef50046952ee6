//! Every field of a configuration that runtime-spec has for Linux, and what becomes of it.

use super::*;

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The plan is another one with it.
    Works,
    /// It is an error that says this.
    Refused(&'static str),
    /// The plan is the same, for this reason.
    Ignored(&'static str),
}
use Fate::{Ignored, Refused, Works};

/// Each field with a value that asks for something. A list is one field.
fn fields() -> Vec<(&'static str, Value, Fate)> {
    let hook = json!([{ "path": "/bin/true" }]);
    let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    let caps = json!(["CAP_KILL"]);
    let rate = json!([{ "major": 8, "minor": 0, "rate": 5 }]);
    let unsupported = Refused("not supported");
    let mut all = process_fields(&caps);
    all.extend([
        ("ociVersion", json!("1.1.0"), Ignored("every 1.x is read alike")),
        ("annotations", json!({ "a": "b" }), Ignored("they are told by `state`")),
        ("domainname", json!("d"), Works),
        ("hostname", json!("h"), Works),
        ("hooks.prestart", hook.clone(), unsupported),
        ("hooks.createRuntime", hook.clone(), unsupported),
        ("hooks.createContainer", hook.clone(), unsupported),
        ("hooks.startContainer", hook.clone(), unsupported),
        ("hooks.poststart", hook.clone(), unsupported),
        ("hooks.poststop", hook, unsupported),
        ("mounts", json!([{ "destination": "/t", "type": "tmpfs", "source": "t" }]), Works),
        ("root.path", json!("other"), Works),
        ("root.readonly", json!(true), Works),
        ("linux.cgroupsPath", json!("/else/where"), Works),
        (
            "linux.devices",
            json!([{ "path": "/dev/x", "type": "c", "major": 1, "minor": 3 }]),
            Works,
        ),
        ("linux.gidMappings", ids.clone(), Refused("linux.gidMappings")),
        ("linux.uidMappings", ids, Refused("linux.uidMappings")),
        ("linux.intelRdt", json!({ "closID": "a" }), unsupported),
        ("linux.maskedPaths", json!(["/proc/keys"]), Works),
        ("linux.memoryPolicy", json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }), unsupported),
        ("linux.mountLabel", json!("l"), Refused("linux.mountLabel")),
        ("linux.namespaces", json!([{ "type": "mount" }]), Works),
        ("linux.netDevices", json!({ "eth1": { "name": "e" } }), unsupported),
        ("linux.personality", json!({ "domain": "LINUX32" }), unsupported),
        ("linux.readonlyPaths", json!(["/proc/sys"]), Works),
        ("linux.rootfsPropagation", json!("shared"), Works),
        ("linux.seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }), Works),
        ("linux.sysctl", json!({ "net.ipv4.ip_forward": "1" }), Works),
        ("linux.timeOffsets", json!({ "boottime": { "secs": 5 } }), unsupported),
        ("linux.resources.devices", json!([{ "allow": true }]), Works),
        ("linux.resources.rdma", json!({ "mlx": { "hcaHandles": 1 } }), Refused("rdma controller")),
        ("linux.resources.unified", json!({ "cgroup.max.depth": "5" }), Works),
        ("linux.resources.hugepageLimits", json!([{ "pageSize": "2MB", "limit": 0 }]), Works),
        ("linux.resources.network.classID", json!(5), Works),
        ("linux.resources.network.priorities", json!([{ "name": "e", "priority": 5 }]), Works),
        ("linux.resources.pids.limit", json!(5), Works),
        ("linux.resources.blockIO.weight", json!(500), Works),
        ("linux.resources.blockIO.leafWeight", json!(500), Refused("leafWeight")),
        (
            "linux.resources.blockIO.weightDevice",
            json!([{ "major": 8, "minor": 0, "weight": 500 }]),
            Works,
        ),
        ("linux.resources.blockIO.throttleReadBpsDevice", rate.clone(), Works),
        ("linux.resources.blockIO.throttleWriteBpsDevice", rate.clone(), Works),
        ("linux.resources.blockIO.throttleReadIOPSDevice", rate.clone(), Works),
        ("linux.resources.blockIO.throttleWriteIOPSDevice", rate, Works),
        ("linux.resources.cpu.shares", json!(5), Works),
        ("linux.resources.cpu.quota", json!(5000), Works),
        ("linux.resources.cpu.burst", json!(5), Works),
        ("linux.resources.cpu.period", json!(5000), Works),
        ("linux.resources.cpu.realtimeRuntime", json!(5), Works),
        ("linux.resources.cpu.realtimePeriod", json!(5), Works),
        ("linux.resources.cpu.cpus", json!("0"), Works),
        ("linux.resources.cpu.mems", json!("0"), Works),
        ("linux.resources.cpu.idle", json!(1), Works),
        ("linux.resources.memory.limit", json!(8192), Works),
        ("linux.resources.memory.reservation", json!(8192), Works),
        ("linux.resources.memory.swap", json!(8192), Refused("needs a limit")),
        ("linux.resources.memory.kernel", json!(8192), unsupported),
        ("linux.resources.memory.kernelTCP", json!(8192), Works),
        ("linux.resources.memory.swappiness", json!(5), Works),
        ("linux.resources.memory.disableOOMKiller", json!(true), Works),
        ("linux.resources.memory.useHierarchy", json!(false), unsupported),
        ("linux.resources.memory.checkBeforeUpdate", json!(true), Ignored("an update checks it")),
    ]);
    all
}

fn process_fields(caps: &Value) -> Vec<(&'static str, Value, Fate)> {
    let unsupported = Refused("not supported");
    let io = json!({ "class": "IOPRIO_CLASS_RT", "priority": 1 });
    vec![
        ("process.terminal", json!(true), Works),
        ("process.consoleSize", json!({ "height": 1, "width": 2 }), Ignored("no terminal")),
        ("process.user.uid", json!(5), Works),
        ("process.user.gid", json!(5), Works),
        ("process.user.umask", json!(7), Works),
        ("process.user.additionalGids", json!([5]), Works),
        ("process.user.username", json!("u"), Ignored("runtime-spec has it for Windows")),
        ("process.args", json!(["/bin/false"]), Works),
        ("process.commandLine", json!("x"), Ignored("runtime-spec has it for Windows")),
        ("process.env", json!(["A=b"]), Works),
        ("process.cwd", json!("/tmp"), Works),
        ("process.capabilities.bounding", caps.clone(), Works),
        ("process.capabilities.effective", caps.clone(), Ignored("no more than is permitted")),
        ("process.capabilities.permitted", caps.clone(), Works),
        ("process.capabilities.inheritable", caps.clone(), Works),
        ("process.capabilities.ambient", caps.clone(), Ignored("no more than is inheritable")),
        ("process.rlimits", json!([{ "type": "RLIMIT_CPU", "soft": 1, "hard": 2 }]), Works),
        ("process.noNewPrivileges", json!(true), Works),
        ("process.apparmorProfile", json!("p"), Refused("process.apparmorProfile")),
        ("process.oomScoreAdj", json!(5), Works),
        ("process.selinuxLabel", json!("l"), Refused("process.selinuxLabel")),
        ("process.ioPriority", io, unsupported),
        ("process.scheduler", json!({ "policy": "SCHED_FIFO", "priority": 1 }), unsupported),
        ("process.execCPUAffinity", json!({ "initial": "0", "final": "0" }), unsupported),
    ]
}

/// `value` at a path of objects.
fn at(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |value, name| json!({ name: value }))
}

#[test]
fn every_field_works_or_is_refused_by_name_or_is_ignored_for_a_reason() {
    let base = planned(&json!({}));
    for (path, value, fate) in fields() {
        match (planned_on(hybrid(), &at(path, &value)), fate) {
            (Ok(plan), Works) => assert!(plan != base, "{path} changes nothing"),
            (Ok(plan), Ignored(reason)) => assert!(plan == base, "{path}: {reason}"),
            (Err(error), Refused(words)) => {
                assert!(error.to_string().contains(words), "{path}: {error}");
            }
            (got, fate) => panic!("{path} is not {fate:?}: {:?}", got.map(|_| "planned")),
        }
    }
}

/// What runtime-spec has for other systems, and a mount's mappings, whose refusal is tested with
/// the mounts.
const ELSEWHERE: [&str; 7] =
    ["solaris", "windows", "vm", "zos", "freebsd", "uid_mappings", "gid_mappings"];

/// What is one field of the table as a whole: it is refused, or has tests of its own.
const WHOLE: [&str; 8] = [
    "seccomp:",
    "intel_rdt:",
    "scheduler:",
    "memory_policy:",
    "personality:",
    "time_offsets:",
    "net_devices:",
    "rdma:",
];

#[test]
fn the_table_has_every_field_that_there_is() {
    let mut all = config();
    for (path, value, _) in fields() {
        merge(&mut all, &at(path, &value));
    }
    let spec = load(all.to_string().as_bytes()).unwrap().value;
    // The names of a structure's fields, and which of them are left empty, are in its own words;
    // what lies in lists is each list's own matter.
    let mut inside = vec![String::new()];
    let text = format!("{spec:#?}");
    let mut empty = Vec::new();
    for line in text.lines() {
        let word = line.trim();
        match word.chars().last() {
            Some('{' | '[' | '(') => inside.push(word.to_owned()),
            _ if word.starts_with(['}', ']', ')']) => drop(inside.pop()),
            _ => {}
        }
        let whole = |open: &String| open == "[" || WHOLE.iter().any(|name| open.starts_with(name));
        if let Some(name) = word.strip_suffix(": None,")
            && !inside.iter().any(whole)
            && !ELSEWHERE.contains(&name)
        {
            empty.push(name.to_owned());
        }
    }
    assert!(text.contains("check_before_update: Some("), "the words are others now");
    assert_eq!(empty, Vec::<String>::new(), "fields that the table does not have");
}
