//! The test images are what the table says, in a registry that answers.

use rrun_tests::images::{self, Pusher};
use rrun_tests::registry::Registry;
use serde_json::Value;

fn get(registry: &Registry, path: &str) -> Value {
    let url = format!("http://{}/v2/{path}", registry.address());
    let accept = "application/vnd.oci.image.index.v1+json, \
                  application/vnd.docker.distribution.manifest.list.v2+json, \
                  application/vnd.oci.image.manifest.v1+json, \
                  application/vnd.docker.distribution.manifest.v2+json";
    let mut response = ureq::get(&url).header("accept", accept).call().unwrap();
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
}

#[test]
fn every_tag_resolves_to_a_config_for_amd64() {
    let store = images::store().unwrap();
    let registry = Registry::of_images(&store.storage).unwrap();
    for (name, built) in &store.images {
        let (repository, tag) = name.split_once('/').unwrap().1.rsplit_once(':').unwrap();
        let index = get(&registry, &format!("{repository}/manifests/{tag}"));
        assert_eq!(index["manifests"][0]["digest"], built.manifest, "{name}");
        let manifest = get(&registry, &format!("{repository}/manifests/{}", built.manifest));
        assert_eq!(manifest["config"]["digest"], built.config, "{name}");
        let config = get(&registry, &format!("{repository}/blobs/{}", built.config));
        assert_eq!(config["architecture"], "amd64", "{name}");
    }
}

#[test]
fn image_ids_are_shared_only_where_the_table_says_so() {
    let store = images::store().unwrap();
    let id = |name: &str| &store.images[name].config;
    assert_eq!(id("registry.k8s.io/pause:3.9"), id("k8s.gcr.io/pause:3.9"));
    assert_ne!(id("registry.k8s.io/pause:3.9"), id("registry.k8s.io/pause:3.10"));
    let staging = "gcr.io/k8s-staging-cri-tools";
    assert_eq!(
        id(&format!("{staging}/test-image-tags:1")),
        id(&format!("{staging}/test-image-tags:3"))
    );
    assert_ne!(
        id(&format!("{staging}/test-image-tag:test")),
        id(&format!("{staging}/test-image-tag:all"))
    );
}

#[test]
fn the_registry_of_the_images_refuses_a_push() {
    let store = images::store().unwrap();
    let registry = Registry::of_images(&store.storage).unwrap();
    let mut pusher = Pusher::new(registry.address());
    let error = pusher.blob("new", &images::Blob::new(b"new".to_vec())).unwrap_err();
    assert!(format!("{error:#}").contains("405"), "{error:#}");
}

#[test]
fn mirrors_are_written_for_every_host() {
    let store = images::store().unwrap();
    let registry = Registry::of_images(&store.storage).unwrap();
    let certs = tempfile::tempdir().unwrap();
    registry.write_mirrors(certs.path()).unwrap();
    for host in images::HOSTS {
        let text = std::fs::read_to_string(certs.path().join(host).join("hosts.toml")).unwrap();
        assert!(text.contains(registry.address()), "{host}: {text}");
    }
}
