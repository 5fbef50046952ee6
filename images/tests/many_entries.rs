//! A layer of very many files, in a process of its own: what it takes of memory is measured.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;

use rrun_images::{Config, Layers, Store};
use support::layer::{dir, file, push};
use support::{TestImage, config};

/// A million takes minutes where nothing is optimised.
const COUNT: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// Of one of them while its layer is unpacked, and of all else together.
const EACH: usize = 110;
const REST: usize = 48 << 20;

/// Of this process, in bytes.
fn memory(line: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|found| found.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// An archive of empty files in directories of a thousand.
fn archive() -> Vec<u8> {
    let mut tar = Vec::with_capacity((COUNT + COUNT / 1000 + 2) * 512);
    for n in 0..COUNT {
        if n % 1000 == 0 {
            push(&mut tar, &dir(&format!("d{}", n / 1000)));
        }
        push(&mut tar, &file(&format!("d{}/file-{n}", n / 1000), ""));
    }
    tar.extend([0; 1024]);
    tar
}

/// One after the other: what the other format takes is not to be measured.
#[tokio::test]
async fn a_layer_of_very_many_files_is_unpacked_within_a_bound_of_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let layout = dir.path().join("layout");
    let tar = archive();
    let blob = zstd::encode_all(&tar[..], 1).unwrap();
    let image = TestImage::of(&[(tar, blob)]);
    image.write_layout(&layout);
    drop(image);
    for layers in [Layers::Erofs, Layers::Directory] {
        let root = dir.path().join(format!("{layers:?}"));
        let store = Store::open(Config { layers, root, ..config(dir.path()) }).await.unwrap();
        // The highest mark begins anew.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let imported = store.import_layout(&layout, None).await.unwrap().remove(0);
        let took = memory("VmHWM") - before;
        println!("{layers:?}: {} MiB", took >> 20);
        assert!(took < COUNT * EACH + REST, "{layers:?}: {took} bytes");
        let usage = store.fs_info().await.unwrap();
        assert!(usage.inodes > 2, "{usage:?}");
        assert!(imported.image.size > 0);
    }
}
