//! What the tests of this folder share: images made by hand, a registry in this process, and a
//! store in a private folder.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

pub mod layer;
pub mod registry;

use std::path::{Path, PathBuf};

use rrun_images::{Config, Digest, Image, Known, Layers, Reference, Result, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The same tests are run for both formats of a layer: by the program `erofs` for the second.
pub const IS_EROFS: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"erofs");

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A store of its own, gone with the test.
pub struct Scratch {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Scratch {
    pub async fn new() -> Scratch {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(config(dir.path())).await.unwrap();
        Scratch { dir, store }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    pub fn certs(&self) -> PathBuf {
        self.dir.path().join("certs.d")
    }

    /// Writes the hosts.toml of a registry.
    pub fn hosts(&self, registry: &str, text: &str) {
        let folder = self.certs().join(registry);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
    }

    /// Names in a folder of the store.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.root().join(folder))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Nothing of a failed pull may stay.
    pub async fn assert_no_debris(&self) {
        self.store.empty_trash().await.unwrap();
        assert_eq!(self.names("tmp"), [""; 0]);
        assert_eq!(self.names("trash"), [""; 0]);
    }
}

pub fn config(dir: &Path) -> Config {
    let certs_dirs = watch::channel(vec![dir.join("certs.d")]).1;
    let layers = if IS_EROFS { Layers::Erofs } else { Layers::Directory };
    Config { root: dir.join("images"), certs_dirs, layers, ..Config::default() }
}

/// Whoever shows nothing to any registry.
pub fn anonymous() -> Known {
    std::sync::Arc::new(|_| Box::pin(async { vec![None] }))
}

pub fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// An image made by hand: blobs by digest, and its manifest.
#[derive(Clone, Default)]
pub struct TestImage {
    pub blobs: Vec<(Digest, Vec<u8>)>,
    pub manifest: Vec<u8>,
}

impl TestImage {
    /// Of layers given as (uncompressed tar, blob as stored).
    pub fn of(layers: &[(Vec<u8>, Vec<u8>)]) -> TestImage {
        TestImage::with_config(layers, json!({"Cmd": ["sh"]}))
    }

    pub fn with_config(layers: &[(Vec<u8>, Vec<u8>)], config: Value) -> TestImage {
        let ids: Vec<String> = layers.iter().map(|(tar, _)| Digest::of(tar).to_string()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let mut image = TestImage::default();
        let layers: Vec<Value> = layers
            .iter()
            .map(|(_, blob)| {
                image.blobs.push((Digest::of(blob), blob.clone()));
                descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob)
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers,
        });
        image.blobs.push((Digest::of(&config), config));
        image.manifest = serde_json::to_vec(&manifest).unwrap();
        image
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Writes it as a layout of a directory.
    pub fn write_layout(&self, layout: &Path) {
        let _ = std::fs::remove_dir_all(layout);
        let blobs = layout.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in &self.blobs {
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        std::fs::write(blobs.join(self.digest().hex()), &self.manifest).unwrap();
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [descriptor(OCI_MANIFEST, &self.manifest)],
        });
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// An index over manifests and the platforms they are for.
pub fn index(entries: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(os, arch, manifest)| {
            let mut d = descriptor(OCI_MANIFEST, manifest);
            d["platform"] = json!({"os": os, "architecture": arch});
            d
        })
        .collect();
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
        .unwrap()
}

/// Imports the image from a layout of a directory. Whatever is in a layer, its archive can be made
/// again, or it is known that it cannot.
pub async fn import(scratch: &Scratch, image: &TestImage) -> Result<Image> {
    let layout = scratch.dir.path().join("layout");
    image.write_layout(&layout);
    let image = scratch.store.import_layout(&layout, None).await?.remove(0).image;
    for layer in scratch.store.verify(&image.id.to_string()).await? {
        assert!(!matches!(layer.state, rrun_images::LayerState::Damaged(_)), "{layer:?}");
    }
    Ok(image)
}
