//! What is imported beside plain OCI layouts: archives of `docker save`, compressed ones, pipes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rrun_images::{Digest, Imported, Kind, Result};
use serde_json::{Value, json};
use support::layer::{Item, file, gzip, symlink, tar};
use support::{Scratch, descriptor, reference};

/// An archive of `docker save`: its files, and what its manifest says.
struct Archive {
    items: Vec<Item>,
    entries: Vec<Value>,
}

fn named(name: &str, bytes: &[u8]) -> Item {
    file("x", bytes).pax("path", name)
}

fn one_layer(content: &str) -> Vec<u8> {
    tar(&[file("f", content)])
}

impl Archive {
    fn new() -> Archive {
        Archive { items: Vec::new(), entries: Vec::new() }
    }

    /// An image of layers that stand at these paths.
    fn image(&mut self, tags: Value, layers: &[(&str, &[u8])]) {
        let ids: Vec<String> = layers.iter().map(|(_, tar)| Digest::of(tar).to_string()).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": ids}});
        let config = config.to_string();
        let path = format!("{}.json", Digest::of(config.as_bytes()).hex());
        self.items.push(named(&path, config.as_bytes()));
        let layers: Vec<&str> = layers.iter().map(|(path, _)| *path).collect();
        self.entries.push(json!({"Config": path, "RepoTags": tags, "Layers": layers}));
    }

    fn tar(&self) -> Vec<u8> {
        let manifest = Value::from(self.entries.clone()).to_string();
        let last = [named("manifest.json", manifest.as_bytes()), named("repositories", b"{}")];
        tar(&[&self.items[..], &last].concat())
    }
}

async fn import_bytes(scratch: &Scratch, bytes: &[u8]) -> Result<Vec<Imported>> {
    let path = scratch.dir.path().join("archive");
    std::fs::write(&path, bytes).unwrap();
    scratch.store.import_layout(&path, None).await
}

fn names(imported: &[Imported]) -> Vec<String> {
    imported.iter().flat_map(|one| &one.names).map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_archive_of_docker_save_is_imported_with_all_its_images_and_names() {
    let (first, second) = (one_layer("1"), one_layer("2"));
    let mut archive = Archive::new();
    archive.items.push(named("a/layer.tar", &first));
    archive.items.push(named("./b/layer.tar", &second));
    archive.image(json!(["example.com/a:1", "a:2"]), &[("a/layer.tar", &first)]);
    archive.image(json!(null), &[("a/layer.tar", &first), ("b/layer.tar", &second)]);
    let tar = archive.tar();
    for bytes in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 1).unwrap()] {
        let scratch = Scratch::new().await;
        let imported = import_bytes(&scratch, &bytes).await.unwrap();
        assert_eq!(names(&imported), ["example.com/a:1", "docker.io/library/a:2"]);
        assert_eq!((imported.len(), scratch.names("layers").len()), (2, 2));
        scratch.assert_no_debris().await;
    }
}

#[tokio::test]
async fn layers_of_an_archive_may_be_compressed_twice_the_same_and_behind_links() {
    let (first, second) = (one_layer("1"), one_layer("2"));
    let mut archive = Archive::new();
    archive.items.push(named("a.tar.gz", &gzip(&first)));
    archive.items.push(symlink("b/layer.tar", "../a.tar.gz"));
    // As if it stood at the top.
    archive.items.push(symlink("c/layer.tar", "real.tar"));
    archive.items.push(named("real.tar", &second));
    let paths = [("b/layer.tar", &first[..]), ("c/layer.tar", &second), ("a.tar.gz", &first)];
    archive.image(json!(["a:1"]), &paths);
    let scratch = Scratch::new().await;
    assert_eq!(import_bytes(&scratch, &archive.tar()).await.unwrap().len(), 1);
    assert_eq!(scratch.names("layers").len(), 2);
}

#[tokio::test]
async fn an_archive_that_lacks_something_is_refused_and_leaves_nothing() {
    let layer = one_layer("1");
    let mut absent = Archive::new();
    absent.image(json!(["a:1"]), &[("nowhere.tar", &layer)]);
    let mut other = Archive::new();
    other.items.push(named("a.tar", &one_layer("another")));
    other.image(json!(["a:1"]), &[("a.tar", &layer)]);
    let mut fewer = Archive::new();
    fewer.image(json!(["a:1"]), &[("a.tar", &layer)]);
    fewer.entries[0]["Layers"] = json!([]);
    let mut round = Archive::new();
    round.items.push(symlink("a.tar", "b.tar"));
    round.items.push(symlink("b.tar", "a.tar"));
    round.image(json!(["a:1"]), &[("a.tar", &layer)]);
    for (archive, words) in [
        (absent, "no nowhere.tar in the archive"),
        (other, "uncompressed content: "),
        (fewer, "1 layers, manifest.json has 0"),
        (round, "no a.tar in the archive"),
    ] {
        let scratch = Scratch::new().await;
        let error = import_bytes(&scratch, &archive.tar()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(scratch.names("layers"), [""; 0]);
        scratch.assert_no_debris().await;
    }
    let scratch = Scratch::new().await;
    let error = import_bytes(&scratch, &layer).await.unwrap_err();
    assert!(error.to_string().contains("index.json"), "{error}");
}

#[tokio::test]
async fn an_archive_comes_through_a_pipe_and_from_an_unpacked_folder() {
    let layer = one_layer("1");
    let mut archive = Archive::new();
    archive.items.push(named("a.tar", &layer));
    archive.image(json!(["a:1"]), &[("a.tar", &layer)]);
    let scratch = Scratch::new().await;
    let pipe = scratch.dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (to, bytes) = (pipe.clone(), archive.tar());
    let writer = std::thread::spawn(move || std::fs::write(to, bytes));
    let own = reference("example.com/own:1");
    let imported = scratch.store.import_layout(&pipe, Some(&own)).await.unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(names(&imported), ["example.com/own:1"]);
    let folder = scratch.dir.path().join("unpacked");
    unpack(&folder, &archive);
    let imported = scratch.store.import_layout(&folder, None).await.unwrap();
    assert_eq!(names(&imported), ["docker.io/library/a:1"]);
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_folder_whose_manifest_names_files_outside_of_it_is_refused() {
    let scratch = Scratch::new().await;
    let folder = scratch.dir.path().join("folder");
    let layer = one_layer("of the host");
    let outside = scratch.dir.path().join("outside.tar");
    std::fs::write(&outside, &layer).unwrap();
    for path in ["../outside.tar", outside.to_str().unwrap()] {
        let mut archive = Archive::new();
        archive.image(json!(["out:1"]), &[(path, &layer)]);
        unpack(&folder, &archive);
        let refused = scratch.store.import_layout(&folder, None).await.unwrap_err().to_string();
        assert!(refused.contains(path) && refused.contains("ENOENT"), "{refused}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    assert!(scratch.store.list().await.unwrap().is_empty());
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_folder_with_a_fifo_in_the_place_of_a_file_is_refused_and_nobody_waits_at_it() {
    let scratch = Scratch::new().await;
    let folder = scratch.dir.path().join("folder");
    let (archive, config) = archive_of_a();
    for name in ["manifest.json", "a.tar", &config] {
        unpack(&folder, &archive);
        let fifo = folder.join(name);
        std::fs::remove_file(&fifo).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let import = scratch.store.import_layout(&folder, None);
        let ended = tokio::time::timeout(Duration::from_secs(60), import).await;
        // Whoever waits at it goes on, so that this test ends.
        let _ = std::fs::OpenOptions::new().read(true).write(true).open(&fifo);
        let refused = ended.expect("an answer in a minute").unwrap_err();
        let words = refused.to_string();
        assert!(words.contains(name) && words.contains("not a regular file"), "{words}");
        assert_eq!(refused.kind(), Kind::Invalid, "{words}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn links_of_a_folder_lead_to_files_anywhere_and_to_no_device() {
    let scratch = Scratch::new().await;
    let folder = scratch.dir.path().join("folder");
    let (archive, config) = archive_of_a();
    for name in ["index.json", "manifest.json", "a.tar", &config] {
        unpack(&folder, &archive);
        let _ = std::fs::remove_file(folder.join(name));
        std::os::unix::fs::symlink("/dev/zero", folder.join(name)).unwrap();
        let refused = scratch.store.import_layout(&folder, None).await.unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("not a regular file"), "{refused}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let refused = scratch.store.import_layout(Path::new("/dev/zero"), None).await.unwrap_err();
    assert!(refused.to_string().contains("/dev/zero: a device"), "{refused}");
    scratch.assert_no_debris().await;

    unpack(&folder, &archive);
    for name in ["manifest.json", "a.tar", &config] {
        let outside = scratch.dir.path().join(name);
        std::fs::rename(folder.join(name), &outside).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join(name)).unwrap();
    }
    let imported = scratch.store.import_layout(&folder, None).await.unwrap();
    assert_eq!(names(&imported), ["docker.io/library/a:1"]);
}

/// An archive with one image, whose layer is `a.tar`, and the name of its configuration.
fn archive_of_a() -> (Archive, String) {
    let layer = one_layer("1");
    let mut archive = Archive::new();
    archive.items.push(named("a.tar", &layer));
    archive.image(json!(["a:1"]), &[("a.tar", &layer)]);
    let config = archive.entries[0]["Config"].as_str().unwrap().to_owned();
    (archive, config)
}

fn unpack(folder: &Path, archive: &Archive) {
    std::fs::create_dir(folder).unwrap();
    for item in &archive.items {
        let path = String::from_utf8(item.pax[0].1.clone()).unwrap();
        std::fs::write(folder.join(path), &item.data).unwrap();
    }
    let manifest = Value::from(archive.entries.clone()).to_string();
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();
}

#[tokio::test]
async fn what_is_no_image_stands_beside_one_and_by_itself_is_named() {
    let scratch = Scratch::new().await;
    let folder: PathBuf = scratch.dir.path().join("layout");
    let image = support::TestImage::of(&[(one_layer("1"), gzip(&one_layer("1")))]);
    let put = |bytes: &[u8]| {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
    };
    image.blobs.iter().for_each(|(_, bytes)| put(bytes));
    put(&image.manifest);
    put(b"{}");
    let sbom = json!({
        "schemaVersion": 2, "artifactType": "application/spdx+json",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("text/plain", b"{}")],
    });
    put(sbom.to_string().as_bytes());
    let beside = descriptor(support::OCI_MANIFEST, sbom.to_string().as_bytes());
    let mut entry = descriptor(support::OCI_MANIFEST, &image.manifest);
    entry["annotations"] = json!({"io.containerd.image.name": "example.com/a:1"});
    let write = |entries: Value| {
        let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        std::fs::write(folder.join("index.json"), index).unwrap();
    };
    let mut signature: Value = serde_json::from_slice(&image.manifest).unwrap();
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    signature["layers"] = json!([descriptor(kind, b"{}")]);
    put(signature.to_string().as_bytes());
    let signature = descriptor(support::OCI_MANIFEST, signature.to_string().as_bytes());
    write(json!([beside, signature, entry]));
    let imported = scratch.store.import_layout(&folder, None).await.unwrap();
    assert_eq!(names(&imported), ["example.com/a:1"]);
    write(json!([beside]));
    let error = scratch.store.import_layout(&folder, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let words = "it is no image: its config is application/vnd.oci.empty.v1+json, of 1 files";
    assert!(error.to_string().ends_with(words), "{error}");
}
