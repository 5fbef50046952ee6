//! The verb `spec`.

use crate::config::CGROUP_ROOT;
use crate::invalid;
use rrun_runtime::{Context, Result};
use rrun_sys::step;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// What runs a shell in `rootfs`.
const CONFIG: &str = include_str!("config.json");

/// Writes a configuration that runs a shell in `rootfs`, to `file` or the bundle's `config.json`;
/// one that is there is left.
pub fn write(bundle: &Path, file: Option<&Path>, rootless: bool) -> Result<()> {
    let path = file.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    let unified = Path::new(CGROUP_ROOT).join("cgroup.controllers").exists();
    let ids = rootless.then(|| (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
    let text = match (unified, ids) {
        (false, None) => CONFIG.to_owned(),
        _ => changed_config(unified, ids)?,
    };
    step::run("oci.spec.config", || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok::<_, rrun_runtime::Error>(file.write_all(text.as_bytes())?)
    })
    .context(|| format!("write {}", path.display()))
}

/// The same with what else runc has there: with v2 alone a view of the control groups of its own; for
/// the ids of somebody else than root as [`make_rootless`].
fn changed_config(unified: bool, ids: Option<(u32, u32)>) -> Result<String> {
    let broken = |error: serde_json::Error| invalid(error.to_string());
    let mut config: Value = serde_json::from_str(CONFIG).map_err(broken)?;
    if unified && let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    if let Some((uid, gid)) = ids {
        make_rootless(&mut config, uid, gid);
    }
    serde_json::to_string_pretty(&config).map_err(broken)
}

/// In a user namespace with one id, as runc has it: with the caller's network, to which its
/// `sysfs` belongs, without limits, and with no option that names another group.
fn make_rootless(config: &mut Value, uid: u32, gid: u32) {
    let one = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut config["linux"];
    (linux["uidMappings"], linux["gidMappings"]) = (one(uid), one(gid));
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|entry| entry["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.iter_mut().for_each(rootless_mount);
    }
}

fn rootless_mount(mount: &mut Value) {
    if mount["type"] == "sysfs" {
        *mount = json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
        });
    } else if let Some(Value::Array(options)) = mount.get_mut("options") {
        let is_id = |text: &str| text.starts_with("gid=") || text.starts_with("uid=");
        options.retain(|option| !option.as_str().is_some_and(is_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_rootless_container_wants_nothing_that_its_user_may_not() {
        let config: Value =
            serde_json::from_str(&changed_config(false, Some((1000, 100))).unwrap()).unwrap();
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 100);
        let text = config.to_string();
        for absent in ["\"network\"", "gid=", "sysfs", "resources", "null,"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
        assert!(text.contains("\"user\"") && text.contains("newinstance"));
    }
}
