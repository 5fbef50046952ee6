//! CreateContainer of an image that is a checkpoint: of its archive's files alone, and annotated, as
//! buildah makes it for a kubelet.

use super::*;
use crate::foreign_image;
use flate2::Compression;
use flate2::write::GzEncoder;
use rrun_tests::images::{Blob, Config, Format, LayerBlob, Pusher, assemble, digest_of};
use rrun_tests::registry::Registry;
use serde_json::json;
use std::io::Write;
use tar::{Builder, EntryType, Header};

const ALLOWED: &str = "[images]\nrestore_checkpoints = true\n";
/// Of containerd and checkpointctl, and of CRI-O.
const NAME: &str = "org.criu.checkpoint.container.name";
const OLDER_NAME: &str = "io.kubernetes.cri-o.annotations.checkpoint.name";
const HOST: &str = "checkpoints.rrun.test";

/// An image as a registry has it.
struct Packed {
    blobs: Vec<Blob>,
    manifest: (&'static str, Blob),
    /// What its name stands for: an index, or the manifest.
    named: (&'static str, Blob),
}

/// Where an image is annotated.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Manifest,
    Index,
}

impl Packed {
    /// Of layers that are archives, the bottom one first.
    fn new(at: Where, name: &str, layers: &[Vec<u8>]) -> Packed {
        let layers: Vec<LayerBlob> = layers.iter().map(|tar| layer(tar)).collect();
        let all: Vec<&LayerBlob> = layers.iter().collect();
        let made = assemble(Format::Oci, &Config::default(), &all).unwrap();
        let annotated = |blob: &Blob| {
            let mut document: serde_json::Value = serde_json::from_slice(&blob.bytes).unwrap();
            document["annotations"] = json!({ name: "main" });
            Blob::new(serde_json::to_vec(&document).unwrap())
        };
        let blobs = layers.into_iter().map(|layer| layer.blob).chain([made.config]).collect();
        let (manifest, named) = match at {
            Where::Index => (made.manifest, (made.index.0, annotated(&made.index.1))),
            Where::Manifest => {
                let manifest = (made.manifest.0, annotated(&made.manifest.1));
                (manifest.clone(), manifest)
            }
        };
        Packed { blobs, manifest, named }
    }

    /// Serves it to the daemon.
    fn serve(&self, suite: &Suite, storage: &Path, repository: &str, tag: &str) -> Registry {
        let registry = Registry::options(storage).start().unwrap();
        let mut pusher = Pusher::new(registry.address());
        for blob in &self.blobs {
            pusher.blob(repository, blob).unwrap();
        }
        let (media, manifest) = &self.manifest;
        pusher.manifest(repository, &manifest.digest, media, manifest).unwrap();
        let (media, named) = &self.named;
        pusher.manifest(repository, tag, media, named).unwrap();
        drop(registry);
        let sandbox = suite.harness.sandbox();
        let options = Registry::options(storage).read_only().behind(&sandbox.prefix());
        let registry = options.start().unwrap();
        registry.write_mirror(&sandbox.inside("/etc/rrun/certs.d"), HOST).unwrap();
        registry
    }

    /// Puts it into the daemon's store, as `rrun image import` does; its id.
    async fn import(&self, suite: &Suite, name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        for blob in self.blobs.iter().chain([&self.manifest.1, &self.named.1]) {
            let hex = blob.digest.strip_prefix("sha256:").unwrap();
            fs::write(folder.join("blobs/sha256").join(hex), &blob.bytes).unwrap();
        }
        let index =
            json!({ "schemaVersion": 2, "manifests": [self.named.1.descriptor(self.named.0)] });
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let store = foreign_image::open(&suite.harness.sandbox().state()).await;
        let name = format!("{HOST}/{name}").parse().unwrap();
        store.import_layout(folder, Some(&name)).await.unwrap()[0].image.id.to_string()
    }
}

fn layer(tar: &[u8]) -> LayerBlob {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(tar).unwrap();
    LayerBlob { blob: Blob::new(gz.finish().unwrap()), diff_id: digest_of(tar) }
}

fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..Default::default() })
}

impl Criu {
    async fn remove_image(&self, image: &str) {
        let removal = RemoveImageRequest { image: spec(image) };
        self.suite.harness.client.remove_image(removal).await.unwrap();
    }

    /// A container of an image, by whatever names it.
    fn of(&self, image: &str) -> ContainerConfig {
        let config = self.suite.harness.container("main", image, &[]);
        ContainerConfig { command: Vec::new(), args: Vec::new(), ..config }
    }

    /// The archive of a container that counts, which is gone.
    async fn archive_of_one_that_is_gone(&self, script: &str) -> Vec<u8> {
        let config = self.suite.harness.pod("before");
        let pod = self.suite.run_pod(&config).await;
        let id = self.suite.started(&pod, shell(&self.suite, "main", script), &config).await;
        self.goes_on(&id).await;
        self.checkpointed(&id).await;
        self.suite.remove(&pod).await;
        fs::read(self.location()).unwrap()
    }
}

#[tokio::test]
async fn a_checkpoint_that_a_kubelet_pulls_goes_on_in_another_pod() {
    let Some(mut criu) = Criu::start_with(ALLOWED).await else { return };
    let script = format!("trap 'exit 7' TERM; echo new > /etc/new; rm /etc/passwd; {COUNT}");
    let archive = criu.archive_of_one_that_is_gone(&script).await;
    let storage = tempfile::tempdir().unwrap();
    let packed = Packed::new(Where::Manifest, NAME, &[archive]);
    let registry = packed.serve(&criu.suite, storage.path(), "counter", "1");
    let request = ImageStatusRequest { image: spec(BUSYBOX), verbose: false };
    let base = criu.suite.harness.client.image_status(request).await.unwrap().image.unwrap();
    let (tag, digest) =
        (format!("{HOST}/counter:1"), format!("{HOST}/counter@{}", packed.named.1.digest));
    for (number, name) in [&tag, &tag, &digest].into_iter().enumerate() {
        let id = criu.suite.harness.pull(name).await.unwrap();
        // As a kubelet does, which names an image by its id after a pull.
        let image = if number == 0 { &id } else { name };
        let config = criu.suite.harness.pod("after");
        let pod = criu.suite.run_pod(&config).await;
        let created = criu.suite.create(&pod, criu.of(image), &config).await;
        let id = created.unwrap_or_else(|error| panic!("{error}\n{}", criu.suite.daemon_log()));
        assert!(!criu.restoring(&pod).exists());
        // Nothing of the checkpoint's image is needed any more; what it was made of is held.
        criu.remove_image(name).await;
        criu.remove_image(BUSYBOX).await;
        criu.restart(&[]).await;
        let (held, status) = (criu.count(&id), criu.suite.status(&id).await);
        assert_eq!(status.state, ContainerState::ContainerCreated as i32);
        let shown = status.image.clone().unwrap();
        assert_eq!((&*shown.image, &*shown.user_specified_image), (BUSYBOX, BUSYBOX));
        assert_eq!((&status.image_id, &status.image_ref), (&base.id, &base.repo_digests[0]));
        let all = criu.suite.harness.client.list_containers(Default::default()).await.unwrap();
        let line = all.containers.iter().find(|line| line.id == id).unwrap();
        assert_eq!((&line.image, &line.image_id), (&Some(shown), &base.id));
        // A retry is one of the same container.
        let same = criu.suite.create(&pod, criu.of(image), &config).await;
        assert_eq!(same.map_err(|error| error.to_string()), Ok(id.clone()));
        criu.suite.start_container(&id).await.unwrap();
        criu.goes_on(&id).await;
        assert!(held > 2 && criu.count(&id) > held);
        let shown = criu.suite.exec(&id, &["/bin/sh", "-c", "cat /etc/new; hostname"], 10).await;
        assert_eq!(String::from_utf8_lossy(&shown.unwrap().stdout), "new\nafter\n");
        // What is made of it later is one of the same image.
        criu.checkpointed(&id).await;
        let told: serde_json::Value =
            serde_json::from_slice(&criu.archive()["config.dump"]).unwrap();
        assert_eq!(told["rootfsImageName"], BUSYBOX);
        assert_eq!(told["rootfsImageRef"], *base.repo_digests[0]);
        criu.suite.stop_container(&id, 30).await;
        assert_eq!(criu.suite.ended(&id).await.exit_code, 7);
        criu.suite.remove(&pod).await;
        criu.suite.harness.pull(BUSYBOX).await.unwrap();
    }
    drop(registry);
    fs::remove_dir_all(criu.suite.harness.sandbox().inside("/etc/rrun/certs.d").join(HOST))
        .unwrap();
    criu.assert_nothing_left();
}

/// An archive of these files, and of more entries: name, kind, link.
fn packed(files: &BTreeMap<String, Vec<u8>>, more: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut out = Builder::new(Vec::new());
    for (name, data) in files.iter().filter(|(name, _)| !name.ends_with('/')) {
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(data.len() as u64);
        out.append_data(&mut header, name, &**data).unwrap();
    }
    for (name, kind, link) in more {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        header.set_entry_type(*kind);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        out.append_data(&mut header, name, &[][..]).unwrap();
    }
    out.into_inner().unwrap()
}

#[tokio::test]
async fn an_image_that_cannot_be_restored_is_refused_by_name_and_leaves_nothing() {
    // The other test has layers in the format that is the default.
    let in_folders = format!("{ALLOWED}layers = \"directory\"\n");
    let Some(mut criu) = Criu::start_with(&in_folders).await else { return };
    criu.archive_of_one_that_is_gone(COUNT).await;
    let good = criu.archive();
    let config = criu.suite.harness.pod("refused");
    let pod = criu.suite.run_pod(&config).await;
    let before = criu.suite.settled().await;
    let with = |name: &str, data: &[u8]| {
        let mut all = good.clone();
        all.insert(name.to_owned(), data.to_vec());
        packed(&all, &[])
    };
    let but = |name: &str, more: &[(&str, EntryType, &str)]| {
        let mut all = good.clone();
        all.remove(name);
        packed(&all, more)
    };
    let link = |name: &'static str, to: &'static str| [(name, EntryType::Symlink, to)];
    let beyond = {
        let mut out = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..4].copy_from_slice(b"../x");
        header.set_size(0);
        header.set_cksum();
        out.append(&header, &[][..]).unwrap();
        out.into_inner().unwrap()
    };
    let own = format!(r#"{{"rootfsImageRef": "{HOST}/x:1"}}"#);
    let missing = br#"{"rootfsImageRef": "none.test/missing:1"}"#;
    let invalid = Code::InvalidArgument;
    let cases: [(Vec<Vec<u8>>, Code, &str); 14] = [
        (
            vec![packed(&BTreeMap::new(), &[("bin/", EntryType::Directory, "")])],
            invalid,
            "there is no config.dump in it",
        ),
        (vec![], invalid, "has one layer, and it has 0"),
        (vec![packed(&good, &[]), with("more", b"")], invalid, "has one layer, and it has 2"),
        (vec![but("spec.dump", &[])], invalid, "there is no spec.dump in it"),
        (
            vec![but("config.dump", &link("config.dump", "/etc/passwd"))],
            invalid,
            "it is no regular file",
        ),
        (
            vec![but("spec.dump", &[("spec.dump", EntryType::Fifo, "")])],
            invalid,
            "it is no regular file",
        ),
        (vec![with("config.dump", b"{\"id\": ")], invalid, "config.dump: "),
        (vec![with("config.dump", own.as_bytes())], invalid, "the image of its own container"),
        (
            vec![with("config.dump", missing)],
            Code::NotFound,
            "none.test/missing:1: the image of its container is not here",
        ),
        (vec![with("checkpoint/a/x", b"")], invalid, "no name of a file of criu's"),
        (
            vec![but("rootfs-diff.tar", &link("checkpoint/x", "/etc/passwd"))],
            invalid,
            "it is no regular file",
        ),
        (
            vec![with("deleted.files", br#"["/../etc/passwd"]"#)],
            invalid,
            "leads out of the layer by `..`",
        ),
        (vec![with("rootfs-diff.tar", &beyond)], invalid, "leads out of the layer by `..`"),
        (vec![packed(&good, &[("config.dump", EntryType::Regular, "")])], invalid, "twice"),
    ];
    for (number, (layers, code, why)) in cases.iter().enumerate() {
        let (at, name) = match number % 2 {
            0 => (Where::Manifest, NAME),
            _ => (Where::Index, OLDER_NAME),
        };
        let id = Packed::new(at, name, layers).import(&criu.suite, "x:1").await;
        let refused = criu.refused_as(&pod, criu.of(&id), &config, why).await;
        assert_eq!(refused, *code, "{why}");
        criu.remove_image(&id).await;
    }
    let (kind, now) = (rrun_tests::leaks::Kind::File, criu.suite.settled().await);
    let is_new = |path: &&String| !before.of(kind).contains(*path) && !path.ends_with("/bundles");
    let new: Vec<_> = now.of(kind).iter().filter(is_new).collect();
    assert!(new.is_empty(), "{new:?}");

    let packed = Packed::new(Where::Index, OLDER_NAME, &[packed(&good, &[])]);
    let id = packed.import(&criu.suite, "x:1").await;
    let container = criu.suite.started(&pod, criu.of(&id), &config).await;
    criu.goes_on(&container).await;
    criu.suite.remove_container(&container).await;
    // It is a node's choice whether whoever names an image has criu read it as root.
    criu.suite.harness.configure("");
    criu.restart(&[]).await;
    let why = "it is a checkpoint, and images.restore_checkpoints does not allow it";
    let refused = criu.refused_as(&pod, criu.of(&id), &config, why).await;
    assert_eq!(refused, Code::FailedPrecondition);
    criu.remove_image(&id).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}
