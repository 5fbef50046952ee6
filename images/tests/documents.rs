//! Manifests, indexes and configs as registries and layouts have them, straight and otherwise.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use rrun_images::{Digest, Image, Kind, Result};
use serde_json::{Value, json};
use support::layer::{dir, file, layer};
use support::registry::TestRegistry;
use support::{OCI_MANIFEST, Scratch, TestImage, descriptor, reference};

/// A registry, an image that is in it, and a store.
struct Scene {
    registry: TestRegistry,
    scratch: Scratch,
    image: TestImage,
}

impl Scene {
    async fn new() -> Scene {
        let registry = TestRegistry::start().await;
        let image = TestImage::of(&[layer(&[dir("./"), file("f", "f")])]);
        registry.put("r/i", "plain", &image);
        Scene { registry, scratch: Scratch::new().await, image }
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.image.manifest).unwrap()
    }

    /// An entry for the image, with more said of it.
    fn entry(&self, more: Value) -> Value {
        let mut entry = descriptor(OCI_MANIFEST, &self.image.manifest);
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    }

    /// The same image with another platform and other fields in its config.
    fn other(&self, config: Value) -> TestImage {
        let mut whole: Value = serde_json::from_slice(&self.image.blobs[1].1).unwrap();
        for (key, value) in config.as_object().unwrap() {
            match value {
                Value::Null if key.starts_with('-') => {
                    whole.as_object_mut().unwrap().remove(&key[1..])
                }
                _ => whole.as_object_mut().unwrap().insert(key.clone(), value.clone()),
            };
        }
        let config = serde_json::to_vec(&whole).unwrap();
        let mut manifest = self.manifest();
        manifest["config"] = descriptor("application/vnd.oci.image.config.v1+json", &config);
        let blobs = vec![self.image.blobs[0].clone(), (Digest::of(&config), config)];
        let other = TestImage { blobs, manifest: serde_json::to_vec(&manifest).unwrap() };
        self.registry.put("r/i", "other", &other);
        other
    }

    async fn pull(&self, document: &Value) -> Result<Image> {
        self.registry.put_manifest("r/i", "t", &serde_json::to_vec(document).unwrap());
        let name = reference(&format!("{}/r/i:t", self.registry.address));
        self.scratch.store.pull(&name, None, None).await
    }
}

fn index(entries: Vec<Value>) -> Value {
    json!({"schemaVersion": 2, "manifests": entries})
}

#[tokio::test]
async fn a_manifest_with_null_odd_or_missing_fields_is_pulled() {
    let scene = Scene::new().await;
    let plain = scene.manifest();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut document = plain.clone();
        change(&mut document);
        document
    };
    let cases = [
        ("no media type", with(&|d| drop(d.as_object_mut().unwrap().remove("mediaType")))),
        ("no version", with(&|d| drop(d.as_object_mut().unwrap().remove("schemaVersion")))),
        (
            "null annotations",
            with(&|d| {
                d["annotations"] = Value::Null;
                d["subject"] = Value::Null;
                d["config"]["annotations"] = Value::Null;
                d["layers"][0]["annotations"] = Value::Null;
                d["layers"][0]["urls"] = Value::Null;
            }),
        ),
        (
            "a null annotation",
            with(&|d| {
                d["annotations"] = json!({"a": null});
                d["layers"][0]["annotations"] = json!({"a": null, "b": 5});
            }),
        ),
        (
            "null media types",
            with(&|d| {
                d["mediaType"] = Value::Null;
                d["config"]["mediaType"] = Value::Null;
                d["layers"][0]["mediaType"] = Value::Null;
            }),
        ),
        (
            "Docker's media types",
            with(&|d| {
                d["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
                d["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
                d["layers"][0]["mediaType"] =
                    json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
            }),
        ),
    ];
    for (what, document) in cases {
        scene.pull(&document).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

#[tokio::test]
async fn an_index_with_attestations_artifacts_and_odd_entries_leads_to_the_image() {
    let scene = Scene::new().await;
    let here = json!({"os": "linux", "architecture": "amd64"});
    let plain = || scene.entry(json!({"platform": here}));
    let foreign = |more: Value| scene.entry(more);
    let attestation = foreign(json!({
        "platform": {"os": "unknown", "architecture": "unknown"}, "digest": Digest::of(b"x").to_string(),
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}));
    let bare_attestation = foreign(json!({"digest": Digest::of(b"x").to_string(),
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}));
    let sbom = json!({"mediaType": "application/vnd.example.sbom+json", "size": 1,
        "digest": Digest::of(b"x").to_string()});
    let broken = json!({"digest": "sha384:00", "size": 1, "platform": {"os": "windows"}});
    let os_version = json!({"os": "linux", "architecture": "amd64", "os.version": "10",
        "os.features": null, "features": ["sse4"], "variant": ""});
    let mut whole = index(vec![plain()]);
    whole["annotations"] = Value::Null;
    whole["subject"] = Value::Null;
    whole["artifactType"] = Value::Null;
    let inner = index(vec![attestation.clone(), plain()]);
    scene.registry.put_manifest("r/i", "inner", &serde_json::to_vec(&inner).unwrap());
    let nested = descriptor(support::OCI_INDEX, &serde_json::to_vec(&inner).unwrap());
    let cases = [
        ("attestation first", index(vec![attestation.clone(), plain()])),
        ("attestation without a platform first", index(vec![bare_attestation, plain()])),
        ("an artifact first", index(vec![sbom, plain()])),
        ("an entry that does not read", index(vec![broken, plain()])),
        ("a null platform", index(vec![scene.entry(json!({"platform": null}))])),
        ("an empty platform", index(vec![scene.entry(json!({"platform": {}}))])),
        ("a platform that says more", index(vec![scene.entry(json!({"platform": os_version}))])),
        (
            "upper case",
            index(vec![scene.entry(json!({"platform": {"os": "Linux", "architecture": "AMD64"}}))]),
        ),
        (
            "the kernel's name",
            index(vec![
                scene.entry(json!({"platform": {"os": "linux", "architecture": "x86_64"}})),
            ]),
        ),
        ("null fields everywhere", whole),
        ("an index in an index", index(vec![attestation, nested])),
    ];
    for (what, document) in cases {
        let image = scene.pull(&document).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(image.id.digest(), &scene.image.blobs[1].0, "{what}");
    }
    let only =
        index(vec![scene.entry(json!({"platform": {"os": "linux", "architecture": "s390x"}}))]);
    let error = scene.pull(&only).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(error.to_string().contains("linux/s390x"), "{error}");
}

#[tokio::test]
async fn the_index_decides_for_which_machine_an_image_is_whatever_its_config_says() {
    let scene = Scene::new().await;
    let odd = [
        json!({"architecture": "", "os": ""}),
        json!({"architecture": null, "os": null, "variant": null}),
        json!({"-architecture": null, "-os": null}),
        json!({"architecture": "s390x", "os": "windows"}),
        json!({"architecture": 5, "os": [], "history": "none", "created": "", "config": null}),
    ];
    for config in odd {
        let image = scene.other(config.clone());
        let mut entry = descriptor(OCI_MANIFEST, &image.manifest);
        entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let pulled = scene.pull(&index(vec![entry])).await;
        pulled.unwrap_or_else(|e| panic!("{config}: {e}"));
    }
    // Without one, the config does, as far as it says anything.
    for (config, runs) in [
        (json!({"architecture": "", "os": ""}), true),
        (json!({"-architecture": null, "-os": null}), true),
        (json!({"architecture": "s390x", "os": "linux"}), false),
    ] {
        let image = scene.other(config.clone());
        let document: Value = serde_json::from_slice(&image.manifest).unwrap();
        let pulled = scene.pull(&document).await;
        assert_eq!(
            pulled.map_err(|e| e.kind()).err(),
            (!runs).then_some(Kind::NotFound),
            "{config}"
        );
        let unsaid = index(vec![descriptor(OCI_MANIFEST, &image.manifest), scene.entry(json!({}))]);
        let pulled = scene.pull(&unsaid).await.unwrap();
        let want = if runs { &image.blobs[1].0 } else { &scene.image.blobs[1].0 };
        assert_eq!(pulled.id.digest(), want, "{config}");
    }
}

#[tokio::test]
async fn a_layout_with_nested_indexes_and_attestations_is_imported() {
    let scene = Scene::new().await;
    let folder = scene.scratch.dir.path().join("layout");
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| std::fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
    scene.image.blobs.iter().for_each(|(_, bytes)| put(bytes));
    put(&scene.image.manifest);
    put(b"{}");
    let empty = json!({"schemaVersion": 2, "config": descriptor("", b"{}"), "layers": []});
    let empty = serde_json::to_vec(&empty).unwrap();
    put(&empty);
    let mut attestation = descriptor(OCI_MANIFEST, &empty);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = index(vec![attestation.clone(), scene.entry(json!({"annotations": null}))]);
    let inner = serde_json::to_vec(&inner).unwrap();
    put(&inner);
    let mut entry = descriptor(support::OCI_INDEX, &inner);
    entry["annotations"] = json!({"io.containerd.image.name": "example.com/a:1", "other": null});
    let top = index(vec![attestation, entry]);
    std::fs::write(folder.join("index.json"), top.to_string()).unwrap();
    let images = scene.scratch.store.import_layout(&folder, None).await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].image.tags, ["example.com/a:1"]);
    assert_eq!(images[0].image.id.digest(), &scene.image.blobs[1].0);
}

#[tokio::test]
async fn what_others_read_over_in_a_document_or_a_config_is_read_over() {
    let scene = Scene::new().await;
    // Text in Latin-1, half of a surrogate pair, and an id by another algorithm.
    let mut config = scene.image.blobs[1].1.clone();
    config.pop();
    config.extend(b",\"author\":\"Ren\xe9 \\ud83d\"}");
    let id = format!("sha512:{}", sha512(&config)).parse::<Digest>().unwrap();
    scene.registry.put_blob(&id, &config);
    let mut manifest = scene.manifest();
    manifest["config"] = json!({"digest": id.to_string(), "size": config.len()});
    let pulled = scene.pull(&manifest).await.unwrap();
    assert_eq!(pulled.id.digest(), &id);
    assert_eq!(scene.scratch.store.document(&pulled.id).await.unwrap(), config);
    // It is found again from its record alone.
    let Scene { scratch, .. } = scene;
    std::fs::write(scratch.root().join("records.db"), b"damaged").unwrap();
    let dir = scratch.dir;
    drop(scratch.store);
    let store = rrun_images::Store::open(support::config(dir.path())).await.unwrap();
    assert_eq!(store.document(&pulled.id).await.unwrap(), config);
}

#[tokio::test]
async fn what_is_no_image_and_what_its_registry_lacks_is_said_in_words() {
    let scene = Scene::new().await;
    let mut chart = scene.manifest();
    chart["config"] = descriptor("application/vnd.cncf.helm.config.v1+json", b"{}");
    scene.registry.put_blob(&Digest::of(b"{}"), b"{}");
    let error = scene.pull(&chart).await.unwrap_err().to_string();
    assert!(error.contains("no image: its config is application/vnd.cncf.helm.config"), "{error}");
    // One that says nothing of its machine is passed over for the image.
    let chart = serde_json::to_vec(&chart).unwrap();
    scene.registry.put_manifest("r/i", "chart", &chart);
    let both = index(vec![descriptor(OCI_MANIFEST, &chart), scene.entry(json!({}))]);
    scene.pull(&both).await.unwrap();
    let mut foreign = scene.manifest();
    let away = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"away");
    foreign["layers"] = json!([away]);
    let mut config: Value = serde_json::from_slice(&scene.image.blobs[1].1).unwrap();
    config["rootfs"]["diff_ids"] = json!([Digest::of(b"away").to_string()]);
    let config = config.to_string();
    scene.registry.put_blob(&Digest::of(config.as_bytes()), config.as_bytes());
    foreign["config"] = descriptor("", config.as_bytes());
    let error = scene.pull(&foreign).await.unwrap_err().to_string();
    assert!(error.contains("foreign: its registry does not have it"), "{error}");
}

fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
