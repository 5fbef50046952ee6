//! Pulls from a registry in this process.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use rrun_images::{Kind, Origin};
use std::sync::Mutex;
use support::layer::{dir, file, layer};
use support::registry::TestRegistry;
use support::{Scratch, TestImage, index, reference};
use tracing_subscriber::fmt::{self, MakeWriter, format::FmtSpan};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

fn small_image() -> TestImage {
    TestImage::of(&[layer(&[dir("./"), dir("etc/"), file("etc/hello", "hello\n")])])
}

#[tokio::test]
async fn a_tag_behind_an_index_is_pulled_and_prepared() {
    let registry = TestRegistry::start().await;
    let image = small_image();
    registry.put("a/b", "unused", &image);
    let top = index(&[("linux", "arm64", b"{}"), ("linux", "amd64", &image.manifest)]);
    registry.put_manifest("a/b", "1", &top);
    let scratch = Scratch::new().await;
    let name = format!("{}/a/b", registry.address);
    let pulled = scratch.store.pull(&reference(&format!("{name}:1")), None, None).await.unwrap();
    assert_eq!(pulled.tags, [format!("{name}:1")]);
    assert_eq!(pulled.digests, [format!("{name}@{}", rrun_images::Digest::of(&top))]);
    assert_eq!(pulled.config.cmd, ["sh"]);
    let holder = rrun_images::Holder::container("c1").unwrap();
    let rootfs = scratch.store.prepare(&holder, &pulled.id).await.unwrap();
    let hello = std::fs::read_to_string(rootfs.lower[0].join("etc/hello")).unwrap();
    assert_eq!(hello, "hello\n");
    assert!(rootfs.upper.is_dir() && rootfs.work.is_dir());
    assert_eq!(scratch.store.prepare(&holder, &pulled.id).await.unwrap(), rootfs);
    assert_eq!(scratch.store.holders().await.unwrap(), std::slice::from_ref(&holder));
    scratch.store.release(&holder).await.unwrap();
    scratch.store.release(&holder).await.unwrap();
    assert!(scratch.store.holders().await.unwrap().is_empty());
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_missing_manifest_is_not_found_in_the_registrys_words() {
    let registry = TestRegistry::start().await;
    let scratch = Scratch::new().await;
    let name = format!("{}/a/b:1", registry.address);
    let error = scratch.store.pull(&reference(&name), None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let want = format!(
        "pull {name}: manifest: GET http://{}/v2/a/b/manifests/1 (without credentials): 404 not \
         found: MANIFEST_UNKNOWN: not here",
        registry.address
    );
    assert_eq!(error.to_string(), want);
}

/// A line for each span that has ended, with those that it was in before it.
static ENDED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[tokio::test]
async fn a_pull_is_a_span_with_its_image_and_its_steps_are_spans_in_it() {
    let registry_here = TestRegistry::start().await;
    registry_here.put("a/b", "1", &small_image());
    let scratch = Scratch::new().await;
    let name = format!("{}/a/b:1", registry_here.address);
    let layer = fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(|| ENDED.make_writer());
    // For all threads: what another one meets first without a subscriber is passed over in all.
    tracing::subscriber::set_global_default(registry().with(layer)).unwrap();
    let pulled = scratch.store.pull(&reference(&name), None, None).await.unwrap();
    scratch.store.remove(&pulled.id.to_string(), Origin::Person).await.unwrap();
    let text = String::from_utf8(ENDED.lock().unwrap().clone()).unwrap();
    let pull = format!("verb{{name=\"PullImage\" image={name}}}:");
    for step in ["images.pull.resolve", "images.pull.layer", "images.pull.record"] {
        let line = format!("{pull}step{{name=\"{step}\"");
        assert!(text.contains(&line), "{line} is missing in {text}");
    }
    assert!(text.contains(&format!("verb{{name=\"RemoveImage\" image={}}}", pulled.id)), "{text}");
}
