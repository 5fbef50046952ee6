//! What a container is given, in its configuration.

use super::host::{Devices, Node};
use serde_json::{Value, json};
use std::path::Path;

/// Changes a configuration: of variables, nodes and mounts the one that comes last stays.
pub(crate) fn apply(spec: &mut Value, devices: &Devices) {
    for edits in &devices.edits {
        change(spec, &["process", "env"], |env| {
            edits.env.iter().for_each(|var| set_variable(env, var));
        });
        edits.devices.iter().for_each(|node| add_node(spec, node));
        if !edits.mounts.is_empty() {
            change(spec, &["mounts"], |mounts| {
                edits.mounts.iter().for_each(|mount| put(mounts, "destination", mount.clone()));
                // What is mounted over a folder would cover what was mounted below it before.
                mounts.sort_by_key(|mount| depth(&mount["destination"]));
            });
        }
        change(spec, &["process", "user", "additionalGids"], |gids| {
            for gid in &edits.gids {
                if gids.iter().all(|other| *other != *gid) {
                    gids.push(json!(gid));
                }
            }
        });
        for (name, hook) in &edits.hooks {
            change(spec, &["hooks", name], |hooks| hooks.push(hook.clone()));
        }
    }
}

/// Changes a list in the configuration; one that is missing is empty.
fn change(spec: &mut Value, path: &[&str], change: impl FnOnce(&mut Vec<Value>)) {
    let mut at = spec;
    for key in path {
        at = &mut at[*key];
    }
    let mut list = match at.take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    change(&mut list);
    *at = Value::Array(list);
}

/// Puts a value in the place of the one that has the same under `key`, or at the end.
fn put(list: &mut Vec<Value>, key: &str, value: Value) {
    list.retain(|other| other[key] != value[key]);
    list.push(value);
}

fn set_variable(env: &mut Vec<Value>, var: &str) {
    let name = |var: &str| var.split('=').next().map(str::to_owned);
    let same = |other: &Value| other.as_str().and_then(name) == name(var);
    match env.iter_mut().find(|other| same(other)) {
        Some(other) => *other = json!(var),
        None => env.push(json!(var)),
    }
}

/// A node that nobody is said to own is the user's of the process, as with other runtimes, or else
/// whose it is on the host.
fn add_node(spec: &mut Value, node: &Node) {
    let user = |key: &str| {
        let id = spec["process"]["user"][key].as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| *id > 0)
    };
    let mut device = node.device.clone();
    device.uid = node.uid.or(user("uid")).unwrap_or(device.uid);
    device.gid = node.gid.or(user("gid")).unwrap_or(device.gid);
    change(spec, &["linux", "devices"], |nodes| put(nodes, "path", device.node()));
    // A FIFO is no device to a control group.
    if device.kind != 'p' {
        change(spec, &["linux", "resources", "devices"], |rules| rules.push(device.rule()));
    }
}

fn depth(path: &Value) -> usize {
    path.as_str().map_or(0, |path| Path::new(path).components().count())
}
