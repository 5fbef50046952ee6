//! What plugins change in a configuration.

use super::limits;
use crate::api::{
    ContainerAdjustment, Hook, Hooks, IoPrioClass, LinuxContainerAdjustment, LinuxDevice,
    LinuxNamespace, LinuxScheduler, LinuxSchedulerFlag, LinuxSchedulerPolicy, LinuxSeccomp, Mount,
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Changes a configuration. CDI devices are left to the caller, who knows them.
///
/// # Errors
/// Names what the runtime does not let a plugin choose.
pub fn adjust(spec: &mut Value, wish: &ContainerAdjustment) -> Result<(), String> {
    let annotations = wish.annotations.iter().map(|(key, value)| (key, json!(value)));
    change_map(&mut spec["annotations"], annotations);
    let mounts = wish.mounts.iter().map(|mount| (mount.destination.as_str(), oci_mount(mount)));
    if !wish.mounts.is_empty() {
        change_list(&mut spec["mounts"], "destination", mounts);
        // What is mounted over a folder would cover what was mounted below it before.
        if let Some(mounts) = spec["mounts"].as_array_mut() {
            mounts.sort_by_key(|mount| depth(&mount["destination"]));
        }
    }
    let process = &mut spec["process"];
    for variable in &wish.env {
        set_variable(&mut process["env"], &variable.key, &variable.value);
    }
    if !wish.args.is_empty() {
        process["args"] = json!(wish.args);
    }
    let limits = wish.rlimits.iter().map(|limit| {
        let value = json!({"type": limit.r#type, "hard": limit.hard, "soft": limit.soft});
        (limit.r#type.as_str(), value)
    });
    change_list(&mut process["rlimits"], "type", limits);
    if let Some(hooks) = &wish.hooks {
        add_hooks(&mut spec["hooks"], hooks);
    }
    match &wish.linux {
        Some(linux) => adjust_linux(spec, linux),
        None => Ok(()),
    }
}

fn adjust_linux(spec: &mut Value, wish: &LinuxContainerAdjustment) -> Result<(), String> {
    let own = spec["linux"]["cgroupsPath"].as_str().unwrap_or_default();
    if !wish.cgroups_path.is_empty() && wish.cgroups_path != own {
        return Err("linux.cgroups_path: a container's group is the runtime's choice".into());
    }
    let process = &mut spec["process"];
    if let Some(score) = wish.oom_score_adj {
        process["oomScoreAdj"] = json!(score.value);
    }
    if let Some(priority) = wish.io_priority {
        let class = IoPrioClass::try_from(priority.class).unwrap_or(IoPrioClass::IoprioClassNone);
        if class != IoPrioClass::IoprioClassNone {
            let class = class.as_str_name();
            process["ioPriority"] = json!({"class": class, "priority": priority.priority});
        }
    }
    if let Some(scheduler) = &wish.scheduler {
        process["scheduler"] = oci_scheduler(scheduler)?;
    }
    let linux = &mut spec["linux"];
    for device in &wish.devices {
        change_device(linux, device);
    }
    change_namespaces(&mut linux["namespaces"], &wish.namespaces)?;
    change_map(&mut linux["sysctl"], wish.sysctl.iter().map(|(key, value)| (key, json!(value))));
    let devices = wish.net_devices.iter();
    let devices = devices.map(|(key, device)| (key, json!({"name": device.name})));
    change_map(&mut linux["netDevices"], devices);
    if let Some(resources) = &wish.resources {
        let mut limits = limits::to_json(resources).map_err(|error| format!("linux.{error}"))?;
        keep_from_swapping(&linux["resources"], &mut limits);
        overlay(&mut linux["resources"], limits);
    }
    if let Some(policy) = &wish.seccomp_policy {
        linux["seccomp"] = oci_seccomp(policy);
    }
    if let Some(rdt) = wish.rdt.as_ref().filter(|rdt| !rdt.remove) {
        let mut value = Map::new();
        if let Some(id) = &rdt.clos_id {
            value.insert("closID".to_owned(), json!(id.value));
        }
        if let Some(schemata) = &rdt.schemata {
            value.insert("schemata".to_owned(), json!(schemata.value));
        }
        linux["intelRdt"] = Value::Object(value);
    }
    if wish.memory_policy.is_some() {
        return Err("linux.memory_policy is not supported".into());
    }
    Ok(())
}

/// Entries by their names; one with a `-` before its name goes.
fn change_map<'a>(map: &mut Value, changes: impl Iterator<Item = (&'a String, Value)>) {
    for (key, value) in changes {
        if !map.is_object() {
            *map = json!({});
        }
        let Some(map) = map.as_object_mut() else { return };
        match key.strip_prefix('-') {
            Some(key) => drop(map.remove(key)),
            None => drop(map.insert(key.clone(), value)),
        }
    }
}

/// Likewise in a list whose entries are told apart by `key`.
fn change_list<'a>(list: &mut Value, key: &str, changes: impl Iterator<Item = (&'a str, Value)>) {
    for (name, value) in changes {
        let (name, goes) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name, false),
        };
        change(list, |all| {
            all.retain(|other| other[key] != *name);
            if !goes {
                all.push(value);
            }
        });
    }
}

/// Changes a list; one that is missing is empty.
fn change(list: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    let mut all = match list.take() {
        Value::Array(all) => all,
        _ => Vec::new(),
    };
    change(&mut all);
    *list = Value::Array(all);
}

fn set_variable(env: &mut Value, key: &str, value: &str) {
    let name = key.strip_prefix('-').unwrap_or(key);
    let is_same = |var: &Value| var.as_str().is_some_and(|var| var.split('=').next() == Some(name));
    change(env, |all| {
        let var = json!(format!("{key}={value}"));
        match all.iter_mut().find(|var| is_same(var)) {
            _ if name != key => all.retain(|var| !is_same(var)),
            Some(old) => *old = var,
            None => all.push(var),
        }
    });
}

fn oci_mount(mount: &Mount) -> Value {
    json!({
        "destination": mount.destination, "type": mount.r#type, "source": mount.source,
        "options": mount.options,
    })
}

fn depth(path: &Value) -> usize {
    path.as_str().map_or(0, |path| Path::new(path).components().count())
}

fn add_hooks(all: &mut Value, hooks: &Hooks) {
    for (name, added) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        if !added.is_empty() {
            change(&mut all[name], |list| list.extend(added.iter().map(oci_hook)));
        }
    }
}

fn oci_hook(hook: &Hook) -> Value {
    let mut value = json!({"path": hook.path, "args": hook.args, "env": hook.env});
    if let Some(timeout) = hook.timeout.filter(|timeout| timeout.value != 0) {
        value["timeout"] = json!(timeout.value);
    }
    value
}

/// The node, and a rule that lets the container use it.
fn change_device(linux: &mut Value, device: &LinuxDevice) {
    let mut node = json!({
        "path": device.path, "type": device.r#type, "major": device.major, "minor": device.minor,
    });
    for (key, value) in [
        ("fileMode", device.file_mode.map(|mode| mode.value & 0o7777)),
        ("uid", device.uid.map(|id| id.value)),
        ("gid", device.gid.map(|id| id.value)),
    ] {
        if let Some(value) = value {
            node[key] = json!(value);
        }
    }
    change_list(&mut linux["devices"], "path", std::iter::once((device.path.as_str(), node)));
    let is_device = ["b", "c", "u"].contains(&device.r#type.as_str());
    if is_device && !device.path.starts_with('-') {
        let kind = if device.r#type == "u" { "c" } else { &device.r#type };
        let rule = json!({
            "allow": true, "type": kind, "major": device.major, "minor": device.minor,
            "access": "rwm",
        });
        change(&mut linux["resources"]["devices"], |rules| rules.push(rule));
    }
}

/// All others are the pod's, or the runtime's choice.
fn change_namespaces(all: &mut Value, wished: &[LinuxNamespace]) -> Result<(), String> {
    for namespace in wished {
        let kind = namespace.r#type.strip_prefix('-').unwrap_or(&namespace.r#type);
        if kind != "cgroup" {
            return Err(format!("linux.namespaces: {kind} is the pod's"));
        }
        let value = match namespace.path.as_str() {
            "" => json!({"type": kind}),
            path => json!({"type": kind, "path": path}),
        };
        change_list(all, "type", std::iter::once((namespace.r#type.as_str(), value)));
    }
    Ok(())
}

/// A container that may not swap may not do so either with the limit of memory that a plugin chooses.
fn keep_from_swapping(held: &Value, wished: &mut Map<String, Value>) {
    let memory = &held["memory"];
    let may_not = memory["limit"].is_i64() && memory["limit"] == memory["swap"];
    let Some(Value::Object(wish)) = wished.get_mut("memory").filter(|_| may_not) else { return };
    if let Some(limit) = wish.get("limit").filter(|_| !wish.contains_key("swap")).cloned() {
        wish.insert("swap".to_owned(), limit);
    }
}

/// Sets what is set, part by part.
fn overlay(held: &mut Value, wished: Map<String, Value>) {
    for (key, value) in wished {
        match (key.as_str(), value) {
            ("hugepageLimits", Value::Array(pages)) => {
                let pages = pages.into_iter().map(|page| (super::text(&page["pageSize"]), page));
                for (size, page) in pages {
                    let page = std::iter::once((size.as_str(), page));
                    change_list(&mut held[&key], "pageSize", page);
                }
            }
            (_, Value::Object(part)) => {
                for (name, value) in part {
                    held[&key][&name] = value;
                }
            }
            (_, value) => held[&key] = value,
        }
    }
}

fn oci_scheduler(scheduler: &LinuxScheduler) -> Result<Value, String> {
    let policy = LinuxSchedulerPolicy::try_from(scheduler.policy)
        .map_err(|_| format!("linux.scheduler.policy: {} is unknown", scheduler.policy))?;
    let flags = scheduler.flags.iter().filter_map(|flag| LinuxSchedulerFlag::try_from(*flag).ok());
    let flags: Vec<_> = flags.map(|flag| flag.as_str_name()).collect();
    Ok(json!({
        "policy": policy.as_str_name(), "nice": scheduler.nice, "priority": scheduler.priority,
        "flags": flags, "runtime": scheduler.runtime, "deadline": scheduler.deadline,
        "period": scheduler.period,
    }))
}

fn oci_seccomp(policy: &LinuxSeccomp) -> Value {
    let syscalls = policy.syscalls.iter().map(|syscall| {
        let args = syscall.args.iter().map(|arg| {
            json!({
                "index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op,
            })
        });
        let args: Vec<_> = args.collect();
        let mut value = json!({"names": syscall.names, "action": syscall.action, "args": args});
        if let Some(errno) = syscall.errno_ret {
            value["errnoRet"] = json!(errno.value);
        }
        value
    });
    let syscalls: Vec<_> = syscalls.collect();
    let mut value = json!({
        "defaultAction": policy.default_action, "architectures": policy.architectures,
        "flags": policy.flags, "syscalls": syscalls,
    });
    if let Some(errno) = policy.default_errno {
        value["defaultErrnoRet"] = json!(errno.value);
    }
    for (key, text) in
        [("listenerPath", &policy.listener_path), ("listenerMetadata", &policy.listener_metadata)]
    {
        if !text.is_empty() {
            value[key] = json!(text);
        }
    }
    value
}
