//! What the command line of another runtime is told of a container: the same configuration, with
//! paths in the bundle where the shim's own executor is given descriptors.

use rrun_runtime::plan::{MountSource, Namespace, Namespaces, Plan, RootfsSource};
use rrun_shim_protocol::{Attachment, AttachmentSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Nothing hangs on it but that older releases of crun take no later one.
const VERSION: &str = "1.0.2";

/// A configuration, and what is to stand at the paths in it.
pub(crate) struct ForProgram {
    pub(crate) json: Value,
    pub(crate) attachments: Vec<Attachment>,
}

/// From the configuration that was planned, and from its plan.
pub(crate) fn for_program(json: &Value, plan: &Plan, bundle: &Path) -> ForProgram {
    let mut json = json.clone();
    json["ociVersion"] = json!(VERSION);
    let mut attachments = Vec::new();
    if let RootfsSource::Detached(slot) = plan.rootfs.source {
        attachments.push(attach(AttachmentSource::Mount(slot), bundle.join("rootfs")));
    }
    json["linux"]["namespaces"] = namespaces(&plan.namespaces, bundle, &mut attachments);
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

/// All that are not the host's, whatever was listed: a runtime takes the host's for a kind that is not
/// told to it.
fn namespaces(planned: &Namespaces, bundle: &Path, attachments: &mut Vec<Attachment>) -> Value {
    let Namespaces { pid, network, ipc, uts, cgroup, user, time } = planned;
    let kinds = [
        ("pid", pid),
        ("network", network),
        ("ipc", ipc),
        ("uts", uts),
        ("cgroup", cgroup),
        ("user", user),
        ("time", time),
    ];
    let mut told = vec![json!({"type": "mount"})];
    for (kind, namespace) in kinds {
        match namespace {
            Namespace::Host => {}
            Namespace::New => told.push(json!({"type": kind})),
            Namespace::Path(path) => told.push(json!({"type": kind, "path": path})),
            Namespace::Slot(slot) => {
                let path = bundle.join("namespaces").join(kind);
                told.push(json!({"type": kind, "path": path}));
                attachments.push(attach(AttachmentSource::Namespace(*slot), path));
            }
        }
    }
    told.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;
    use rrun_runtime::plan::Slot;
    use rrun_runtime::planning::{Host, NamespaceOverrides, Overrides, plan};

    #[test]
    fn paths_in_the_bundle_stand_where_a_plan_has_descriptors() {
        let json = json!({
            "ociVersion": "1.2.1",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": ["rbind", "rw"]},
                {"destination": "/image", "type": "overlay", "source": "i", "options": ["ro"]},
            ],
            "linux": {"namespaces": [
                {"type": "mount"}, {"type": "pid"}, {"type": "ipc"},
                {"type": "network", "path": "/run/netns/x"},
            ]},
        });
        let spec: Spec = serde_json::from_value(json.clone()).unwrap();
        let slot = |number| Some(Namespace::Slot(Slot(number)));
        let over = Overrides {
            bundle: "/".into(),
            rootfs: Some(Slot(2)),
            namespaces: NamespaceOverrides {
                network: slot(0),
                ipc: slot(1),
                uts: slot(4),
                ..NamespaceOverrides::default()
            },
            pod_dirs: vec![("/dev/shm".to_owned(), "shm".to_owned())],
            detached: vec![("/image".to_owned(), Slot(3))],
            ..Overrides::default()
        };
        let host = Host::detect(Path::new("/sys/fs/cgroup")).unwrap();
        let planned = plan(&spec, &host, &over).unwrap();
        let ForProgram { json: told, attachments } = for_program(&json, &planned, Path::new("/b"));
        let has = |source: AttachmentSource, path: &str| {
            attachments.contains(&Attachment { source, path: path.into() })
        };
        assert!(has(AttachmentSource::Mount(Slot(2)), "/b/rootfs"), "{attachments:?}");
        assert!(has(AttachmentSource::Namespace(Slot(0)), "/b/namespaces/network"));
        assert!(has(AttachmentSource::Namespace(Slot(1)), "/b/namespaces/ipc"));
        assert!(has(AttachmentSource::PodDir("shm".to_owned()), "/b/mounts/1"));
        assert!(has(AttachmentSource::Mount(Slot(3)), "/b/mounts/2"));
        assert_eq!(attachments.len(), 6);
        let namespaces = json!([
            {"type": "mount"},
            {"type": "pid"},
            {"type": "network", "path": "/b/namespaces/network"},
            {"type": "ipc", "path": "/b/namespaces/ipc"},
            // It is nowhere in what was planned.
            {"type": "uts", "path": "/b/namespaces/uts"},
        ]);
        assert_eq!(told["linux"]["namespaces"], namespaces);
        assert_eq!(told["mounts"][0], json["mounts"][0]);
        assert_eq!(told["mounts"][1]["source"], "/b/mounts/1");
        let volume = json!({
            "destination": "/image", "type": "bind", "source": "/b/mounts/2",
            "options": ["rbind", "ro"],
        });
        assert_eq!(told["mounts"][2], volume);
    }
}
