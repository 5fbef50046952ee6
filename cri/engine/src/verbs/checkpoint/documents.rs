//! What an archive says of its container, beside the processes.

use super::folder::write;
use crate::error::{Context, Error, Result};
use crate::model::PodConfig;
use crate::record::ContainerRecord;
use crate::verbs::ContainerAt;
use rrun_sys::time::{self, Timestamp};
use serde_json::{Map, Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Mounts that every container has, wherever it is restored.
const USUAL: [&str; 7] =
    ["/dev", "/dev/shm", "/proc", "/run", "/run/.containerenv", "/run/secrets", "/sys"];

/// A container at its checkpoint.
pub(super) struct Documents {
    pod: Arc<PodConfig>,
    container: Arc<ContainerRecord>,
    at: i64,
}

impl Documents {
    pub(super) fn of(at: &ContainerAt) -> Documents {
        let pod = Arc::clone(&at.at.pod.config);
        Documents { pod, container: at.container.record(), at: time::now() }
    }

    /// Its log, if it has one.
    pub(super) fn log(&self) -> Option<&Path> {
        let path = &self.container.log_path;
        (!path.is_empty()).then_some(Path::new(path))
    }

    /// Writes all of them; `spec` is the configuration that the container was made with.
    pub(super) fn write(&self, spec: &Path, to: &Path) -> Result<()> {
        let what = || format!("read {}", spec.display());
        let text = rrun_sys::record::read(spec).context(what)?;
        let spec: Map<String, Value> = serde_json::from_slice(&text)
            .map_err(|error| Error::internal(error.to_string()))
            .context(what)?;
        let binds = binds(&spec);
        for (name, document) in [
            ("config.dump", self.config()),
            ("spec.dump", self.spec(spec)),
            ("status.dump", self.status()),
            ("bind.mounts", Value::Array(binds)),
        ] {
            let text = format!("{document:#}\n");
            write(&to.join(name), text.as_bytes())?;
        }
        Ok(())
    }

    /// What podman's format has of a container.
    fn config(&self) -> Value {
        let container = &*self.container;
        json!({
            "id": container.id,
            "name": container.config.name,
            "rootfsImage": self.image(),
            "rootfsImageRef": container.image_ref,
            "rootfsImageName": self.image(),
            "runtime": "rrun",
            "createdTime": Timestamp::new(container.created_at).to_string(),
            "checkpointedTime": Timestamp::new(self.at).to_string(),
            "restoredTime": "0001-01-01T00:00:00Z",
            "restored": false,
        })
    }

    /// The name of its image, as a person has written it.
    fn image(&self) -> &str {
        let container = &*self.container;
        let image = container.base.as_deref().unwrap_or(&container.config.image);
        match image.user_specified.is_empty() {
            true => &image.image,
            false => &image.user_specified,
        }
    }

    /// The configuration, with the annotations by which containerd's and CRI-O's tools find the rest.
    fn spec(&self, mut spec: Map<String, Value>) -> Value {
        let (pod, container) = (&self.pod, &*self.container);
        let config = &container.config;
        let text = |value: Value| value.to_string();
        let metadata = json!({"name": config.name, "attempt": config.attempt});
        let all = [
            ("io.kubernetes.cri.container-type", "container".to_owned()),
            ("io.kubernetes.cri.container-name", config.name.clone()),
            ("io.kubernetes.cri.image-name", self.image().to_owned()),
            ("io.kubernetes.cri.sandbox-id", container.pod.to_string()),
            ("io.kubernetes.cri.sandbox-name", pod.name.clone()),
            ("io.kubernetes.cri.sandbox-namespace", pod.namespace.clone()),
            ("io.kubernetes.cri.sandbox-uid", pod.uid.clone()),
            ("io.kubernetes.cri-o.Annotations", text(json!(config.annotations))),
            ("io.kubernetes.cri-o.Labels", text(json!(config.labels))),
            ("io.kubernetes.cri-o.Metadata", text(metadata)),
        ];
        let annotations = spec.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.extend(all.map(|(key, value)| (key.to_owned(), Value::String(value))));
        }
        Value::Object(spec)
    }

    /// `ContainerStatus` of the CRI, with its names.
    fn status(&self) -> Value {
        let container = &*self.container;
        let config = &container.config;
        let mounts = container.mounts.iter().map(|mount| {
            json!({
                "container_path": mount.container_path,
                "host_path": mount.host_path,
                "readonly": mount.readonly,
            })
        });
        json!({
            "id": container.id,
            "metadata": {"name": config.name, "attempt": config.attempt},
            "state": 1,
            "created_at": container.created_at,
            "started_at": container.started_at,
            "image": {"image": self.image()},
            "image_ref": container.image_ref,
            "image_id": container.image_id,
            "labels": config.labels,
            "annotations": config.annotations,
            "mounts": mounts.collect::<Vec<_>>(),
            "log_path": container.log_path,
        })
    }
}

/// What is mounted from the host, and whether it is a folder: a restore must find the same there.
fn binds(spec: &Map<String, Value>) -> Vec<Value> {
    let mounts = spec.get("mounts").and_then(Value::as_array).map(Vec::as_slice);
    let mounts = mounts.unwrap_or_default();
    let of_host = mounts.iter().filter(|mount| mount["type"] == "bind");
    let others = of_host.filter(|mount| {
        mount["destination"].as_str().is_none_or(|destination| !USUAL.contains(&destination))
    });
    let found = others.filter_map(|mount| {
        let source = PathBuf::from(mount["source"].as_str()?);
        // One that is gone by now is in the container all the same.
        let found = std::fs::metadata(&source).ok()?;
        Some(json!({
            "source": source,
            "destination": mount["destination"],
            "file_type": if found.is_dir() { "directory" } else { "file" },
            "permissions": found.mode() & 0o777,
        }))
    });
    found.collect()
}
