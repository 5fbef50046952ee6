//! OCI configurations: what plugins are told of one, and what they change in it. Pure functions on JSON.
//!
//! What the runtime cannot do is left to it to refuse, by the name that the configuration has for it.

mod adjust;
mod limits;
#[cfg(test)]
mod tests;

use crate::api::{
    Container, Hook, Hooks, LinuxContainer, LinuxDevice, LinuxNamespace, Mount, OptionalFileMode,
    OptionalInt, OptionalUInt32, PosixRlimit, User,
};
pub use adjust::adjust;
pub use limits::{from_json as limits, to_json as limits_to_json};
use serde_json::Value;

/// Adds to a container what its configuration says.
pub fn describe(spec: &Value, container: &mut Container) {
    let (process, linux) = (&spec["process"], &spec["linux"]);
    container.args = texts(&process["args"]);
    container.env = texts(&process["env"]);
    container.annotations = pairs(&spec["annotations"]);
    container.mounts = list(&spec["mounts"]).map(mount).collect();
    container.hooks = spec["hooks"].is_object().then(|| hooks(&spec["hooks"]));
    container.rlimits = list(&process["rlimits"]).map(rlimit).collect();
    let user = &process["user"];
    container.user = Some(User {
        uid: small(&user["uid"]),
        gid: small(&user["gid"]),
        additional_gids: list(&user["additionalGids"]).map(small).collect(),
    });
    container.linux = Some(LinuxContainer {
        namespaces: list(&linux["namespaces"]).map(namespace).collect(),
        devices: list(&linux["devices"]).map(device).collect(),
        resources: Some(limits::from_json(&linux["resources"])),
        oom_score_adj: process["oomScoreAdj"].as_i64().map(|value| OptionalInt { value }),
        cgroups_path: text(&linux["cgroupsPath"]),
        sysctl: pairs(&linux["sysctl"]),
        ..LinuxContainer::default()
    });
}

/// Namespaces, as a configuration has them.
pub fn namespaces(spec: &Value) -> Vec<LinuxNamespace> {
    list(&spec["linux"]["namespaces"]).map(namespace).collect()
}

fn namespace(one: &Value) -> LinuxNamespace {
    LinuxNamespace { r#type: text(&one["type"]), path: text(&one["path"]) }
}

fn mount(one: &Value) -> Mount {
    Mount {
        destination: text(&one["destination"]),
        r#type: text(&one["type"]),
        source: text(&one["source"]),
        options: texts(&one["options"]),
    }
}

fn device(one: &Value) -> LinuxDevice {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let optional = |value: &Value| id(value).map(|value| OptionalUInt32 { value });
    LinuxDevice {
        path: text(&one["path"]),
        r#type: text(&one["type"]),
        major: one["major"].as_i64().unwrap_or_default(),
        minor: one["minor"].as_i64().unwrap_or_default(),
        file_mode: id(&one["fileMode"]).map(|value| OptionalFileMode { value }),
        uid: optional(&one["uid"]),
        gid: optional(&one["gid"]),
    }
}

fn rlimit(one: &Value) -> PosixRlimit {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    PosixRlimit {
        r#type: text(&one["type"]),
        hard: number(&one["hard"]),
        soft: number(&one["soft"]),
    }
}

fn hooks(all: &Value) -> Hooks {
    let of = |name: &str| list(&all[name]).map(hook).collect();
    Hooks {
        prestart: of("prestart"),
        create_runtime: of("createRuntime"),
        create_container: of("createContainer"),
        start_container: of("startContainer"),
        poststart: of("poststart"),
        poststop: of("poststop"),
    }
}

fn hook(one: &Value) -> Hook {
    Hook {
        path: text(&one["path"]),
        args: texts(&one["args"]),
        env: texts(&one["env"]),
        timeout: one["timeout"].as_i64().map(|value| OptionalInt { value }),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).map(text).collect()
}

fn pairs(value: &Value) -> std::collections::BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn small(value: &Value) -> u32 {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_default()
}
