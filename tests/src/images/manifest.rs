//! Image configs, manifests and indexes, in the formats of OCI and Docker.

use super::blob::Blob;
use super::layer::{LayerBlob, LayerFacts};
use anyhow::Result;
use serde_json::{Value, json};

/// Which family of media types an image is published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI index and manifest.
    Oci,
    /// Docker manifest list and schema 2 manifest.
    Docker,
}

impl Format {
    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// The part of an image's config that differs between our images.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `Entrypoint`, absent when empty.
    pub entrypoint: &'static [&'static str],
    /// `Cmd`, absent when empty.
    pub cmd: &'static [&'static str],
    /// `User`, absent when empty.
    pub user: &'static str,
}

/// An image as a registry keeps it.
pub struct Assembled {
    /// The image id is this blob's digest.
    pub config: Blob,
    /// Manifest of linux/amd64 with its media type.
    pub manifest: (&'static str, Blob),
    /// Index over the one manifest, with its media type; tags point here.
    pub index: (&'static str, Blob),
}

/// Puts layers together with a config.
pub fn assemble(format: Format, config: &Config, layers: &[&LayerBlob]) -> Result<Assembled> {
    let facts: Vec<_> = layers.iter().map(|layer| layer.facts()).collect();
    assemble_of(format, config, &facts)
}

/// The same for layers that are not in memory.
pub fn assemble_of(format: Format, config: &Config, layers: &[LayerFacts]) -> Result<Assembled> {
    let config = Blob::new(serde_json::to_vec(&config_json(config, layers))?);
    let media = format.layer();
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| json!({ "mediaType": media, "size": layer.size, "digest": layer.digest }))
        .collect();
    let manifest = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": format.manifest(),
        "config": config.descriptor(format.config()),
        "layers": descriptors,
    }))?);
    let mut entry = manifest.descriptor(format.manifest());
    entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": format.index(),
        "manifests": [entry],
    }))?);
    Ok(Assembled {
        config,
        manifest: (format.manifest(), manifest),
        index: (format.index(), index),
    })
}

fn config_json(config: &Config, layers: &[LayerFacts]) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let mut inner = json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    });
    if !config.entrypoint.is_empty() {
        inner["Entrypoint"] = json!(config.entrypoint);
    }
    if !config.cmd.is_empty() {
        inner["Cmd"] = json!(config.cmd);
    }
    if !config.user.is_empty() {
        inner["User"] = json!(config.user);
    }
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": inner,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": layers.iter().map(|_| json!({ "created": "1970-01-01T00:00:00Z" }))
            .collect::<Vec<_>>(),
    })
}
