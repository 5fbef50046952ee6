//! An image that is made by hand and put into the daemon's store.

use crate::suite::Suite;
use flate2::Compression;
use flate2::write::GzEncoder;
use rrun_images::Store;
use rrun_tests::images::{Blob, Config, Format, LayerBlob, assemble, digest_of};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// What stands at a path of a layer.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    Folder,
    Text(&'static str),
    /// So many bytes of nothing.
    Bytes(u64),
    Link(&'static str),
    Fifo,
    /// A character device: `/dev/zero`, which has no end.
    Zero,
}

/// A layer with these paths.
pub fn layer(entries: &[(&str, Entry)]) -> LayerBlob {
    let mut tar = Builder::new(Vec::new());
    for (path, entry) in entries {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        let mut append = |kind: EntryType, size: u64, link: &str, data: &[u8]| {
            header.set_entry_type(kind);
            header.set_size(size);
            if kind == EntryType::Char {
                header.set_device_major(1).unwrap();
                header.set_device_minor(5).unwrap();
            }
            if !link.is_empty() {
                // The path as it is: whoever writes such images does not ask a library.
                header.set_link_name_literal(link).unwrap();
            }
            tar.append_data(&mut header, path, data).unwrap();
        };
        match entry {
            Entry::Folder => append(EntryType::Directory, 0, "", &[]),
            Entry::Text(text) => append(EntryType::Regular, text.len() as u64, "", text.as_bytes()),
            Entry::Bytes(size) => {
                append(EntryType::Regular, *size, "", &vec![0; *size as usize]);
            }
            Entry::Link(to) => append(EntryType::Symlink, 0, to, &[]),
            Entry::Fifo => append(EntryType::Fifo, 0, "", &[]),
            Entry::Zero => append(EntryType::Char, 0, "", &[]),
        }
    }
    let tar = tar.into_inner().unwrap();
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&tar).unwrap();
    LayerBlob { blob: Blob::new(gz.finish().unwrap()), diff_id: digest_of(&tar) }
}

/// Puts an image of one layer into the daemon's store; its id.
pub async fn import(suite: &Suite, name: &str, user: &'static str, layer: &LayerBlob) -> String {
    import_all(suite, name, user, &[layer]).await
}

/// The same of these layers, the bottom one first, or of none.
pub async fn import_all(
    suite: &Suite,
    name: &str,
    user: &'static str,
    layers: &[&LayerBlob],
) -> String {
    let folder = suite.harness.sandbox().root().join("layout");
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let config = Config { user, ..Config::default() };
    let made = assemble(Format::Oci, &config, layers).unwrap();
    let blobs = layers.iter().map(|layer| &layer.blob);
    for blob in blobs.chain([&made.config, &made.manifest.1]) {
        let hex = blob.digest.strip_prefix("sha256:").unwrap();
        fs::write(folder.join("blobs/sha256").join(hex), &blob.bytes).unwrap();
    }
    let entry = made.manifest.1.descriptor(made.manifest.0);
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let store = open(&suite.harness.sandbox().state()).await;
    let name = format!("images.rrun.test/{name}:1").parse().unwrap();
    let imported = store.import_layout(&folder, Some(&name)).await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    imported[0].image.id.to_string()
}

/// The daemon's store, as another process of the machine opens it.
pub async fn open(state: &Path) -> Store {
    let certs_dirs = tokio::sync::watch::channel(Vec::new()).1;
    let root = state.join("images");
    let config = rrun_images::Config { root, certs_dirs, ..Default::default() };
    Store::open(config).await.unwrap()
}
