//! A layer of very many files, in a process of its own: what it takes of memory is measured.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rrun_images::{Config, Digest, Layers, Store};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::layer::{dir, file, push};
use support::{OCI_MANIFEST, config, descriptor};

/// A million takes minutes where nothing is optimised.
const COUNT: usize = if cfg!(debug_assertions) { 40_000 } else { 1_000_000 };
/// Of one of them while its layer is unpacked, and of all else together.
const EACH: usize = 110;
const REST: usize = 12 << 20;

/// Of this process, in bytes.
fn memory(line: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|found| found.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Hashes and counts what it hands on.
struct Hashed<W>(W, Sha256, u64);

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.update(bytes);
        self.2 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a layout whose layer has empty files in directories of a thousand: one after the other,
/// so that no memory is left from it.
fn write_layout(layout: &Path) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let new = Hashed(File::create(blobs.join("new")).unwrap(), Sha256::new(), 0);
    let mut tar = Hashed(zstd::Encoder::new(new, 1).unwrap(), Sha256::new(), 0);
    for n in 0..COUNT {
        let mut entries = Vec::new();
        if n % 1000 == 0 {
            push(&mut entries, &dir(&format!("d{}", n / 1000)));
        }
        push(&mut entries, &file(&format!("d{}/file-{n}", n / 1000), ""));
        tar.write_all(&entries).unwrap();
    }
    tar.write_all(&[0; 1024]).unwrap();
    let Hashed(encoder, plain, _) = tar;
    let Hashed(_, coded, size) = encoder.finish().unwrap();
    let (plain, coded) = (hex(plain), hex(coded));
    fs::rename(blobs.join("new"), blobs.join(&coded)).unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{plain}")]},
    });
    let config = config.to_string().into_bytes();
    let layer = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "digest": format!("sha256:{coded}"), "size": size,
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [layer],
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
    });
    let manifest = manifest.to_string().into_bytes();
    for bytes in [&config, &manifest] {
        fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
    }
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, &manifest)]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

/// One after the other: what the other format takes is not to be measured.
#[tokio::test]
async fn a_layer_of_very_many_files_is_unpacked_within_a_bound_of_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let layout = dir.path().join("layout");
    write_layout(&layout);
    for layers in [Layers::Erofs, Layers::Directory] {
        let root = dir.path().join(format!("{layers:?}"));
        let store = Store::open(Config { layers, root, ..config(dir.path()) }).await.unwrap();
        // The highest mark begins anew.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let imported = store.import_layout(&layout, None).await.unwrap().remove(0);
        let took = memory("VmHWM") - before;
        println!("{COUNT} files, {layers:?}: {} MiB", took >> 20);
        assert!(took < COUNT * EACH + REST, "{layers:?}: {took} bytes");
        assert!(imported.image.size > 0);
    }
}
