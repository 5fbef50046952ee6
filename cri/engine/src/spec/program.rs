//! What the command line of another runtime is told of a container: the same configuration, with
//! paths in the bundle where the shim's own executor is given descriptors.

use rrun_runtime::plan::{MountSource, Namespace, Namespaces, Plan, RootfsSource, Slot};
use rrun_shim_protocol::{Attachment, AttachmentSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A configuration, and what is to stand at the paths in it.
pub(crate) struct ForProgram {
    pub(crate) json: Value,
    pub(crate) attachments: Vec<Attachment>,
}

/// From the configuration that was planned, and from its plan.
pub(crate) fn for_program(json: &Value, plan: &Plan, bundle: &Path) -> ForProgram {
    let mut json = json.clone();
    let mut attachments = Vec::new();
    if let RootfsSource::Detached(slot) = plan.rootfs.source {
        attachments.push(attach(AttachmentSource::Mount(slot), bundle.join("rootfs")));
    }
    let mut joined = false;
    for namespace in json["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        let kind = namespace["type"].as_str().unwrap_or_default().to_owned();
        if let Some(slot) = slot_of(&plan.namespaces, &kind) {
            let path = bundle.join("namespaces").join(&kind);
            namespace["path"] = json!(path);
            joined |= kind == "user";
            attachments.push(attach(AttachmentSource::Namespace(slot), path));
        }
    }
    if joined && let Some(linux) = json["linux"].as_object_mut() {
        // Whoever joins one finds its ids there.
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    }
    for (at, mount) in json["mounts"].as_array_mut().into_iter().flatten().enumerate() {
        let target = mount["destination"].as_str().unwrap_or_default();
        let planned = plan.mounts.iter().find(|planned| planned.target == target);
        let source = match planned.map(|planned| &planned.source) {
            Some(MountSource::Pod(name)) => AttachmentSource::PodDir(name.clone()),
            Some(MountSource::Detached(slot)) => AttachmentSource::Mount(*slot),
            _ => continue,
        };
        let path = bundle.join("mounts").join(at.to_string());
        mount["type"] = json!("bind");
        mount["source"] = json!(path);
        let is_bind = |option: &Value| matches!(option.as_str(), Some("bind" | "rbind"));
        if let Some(options) = mount["options"].as_array_mut()
            && !options.iter().any(is_bind)
        {
            options.insert(0, json!("rbind"));
        }
        attachments.push(attach(source, path));
    }
    ForProgram { json, attachments }
}

fn attach(source: AttachmentSource, path: PathBuf) -> Attachment {
    Attachment { source, path }
}

/// The slot of a namespace by its name in a configuration.
fn slot_of(planned: &Namespaces, kind: &str) -> Option<Slot> {
    let namespace = match kind {
        "pid" => &planned.pid,
        "network" => &planned.network,
        "ipc" => &planned.ipc,
        "uts" => &planned.uts,
        "user" => &planned.user,
        _ => return None,
    };
    match namespace {
        Namespace::Slot(slot) => Some(*slot),
        _ => None,
    }
}
