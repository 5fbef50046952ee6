//! Registries and layers that are made to hurt who pulls from them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use rrun_images::{Credentials, Kind, Reference, Result, Store};
use serde_json::json;
use support::layer::{dir, file, layer, tar};
use support::registry::{TestRegistry, bytes, status, text, with_header};
use support::{Scratch, TestImage, config, reference};

/// Nothing here takes long; whoever waits for an answer that never comes does.
const PATIENCE: Duration = Duration::from_secs(120);

async fn served(image: &TestImage) -> (TestRegistry, Scratch, Reference) {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", image);
    let name = reference(&format!("{}/r/i:1", registry.address));
    (registry, scratch().await, name)
}

/// In memory: these trees are made to cost much.
async fn scratch() -> Scratch {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    Scratch { dir, store }
}

fn small() -> TestImage {
    TestImage::of(&[layer(&[dir("./"), file("f", "f")])])
}

async fn refusal(scratch: &Scratch, name: &Reference, who: Option<&Credentials>) -> String {
    let pull = scratch.store.pull(name, who, None);
    let error = tokio::time::timeout(PATIENCE, pull).await.unwrap().unwrap_err();
    assert_ne!(error.kind(), Kind::Internal, "{error}");
    scratch.assert_no_debris().await;
    error.to_string()
}

#[tokio::test]
async fn a_redirect_leads_over_http_alone_and_not_for_ever() {
    for (location, words) in [
        ("file:///etc/passwd", "\"file\" is no way to go"),
        ("ftp://127.0.0.1/x", "\"ftp\" is no way to go"),
        ("unix:///run/rrun/rrun.sock", "\"unix\" is no way to go"),
        ("data:application/json,{}", "\"data\" is no way to go"),
        ("gopher://127.0.0.1:11211/_stats", "\"gopher\" is no way to go"),
        ("http://", "redirect"),
        ("/v2/r/i/manifests/1", "more than 10 redirects"),
    ] {
        let (registry, scratch, name) = served(&small()).await;
        registry.fault(move |_| Some(with_header(status(307), "location", location)));
        let error = refusal(&scratch, &name, None).await;
        assert!(error.contains(words), "{location}: {error}");
        assert!(registry.seen().len() <= 64, "{location}: {}", registry.seen().len());
    }
}

#[tokio::test]
async fn a_token_server_that_is_none_is_refused_by_name() {
    for realm in
        ["file:///etc/passwd", "ftp://127.0.0.1/token", "/token", "data:,{}", "", "http://"]
    {
        let (registry, scratch, name) = served(&small()).await;
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        registry.fault(move |_| Some(with_header(status(401), "www-authenticate", &challenge)));
        let error = refusal(&scratch, &name, None).await;
        assert!(error.contains("token server"), "{realm}: {error}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_read_to_its_limit_only() {
    let much = vec![b' '; 100 << 20];
    let (registry, scratch, name) = served(&small()).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", registry.address);
    let token = much.clone();
    registry.fault(move |seen| match seen.path.as_str() {
        "/token" => Some(bytes(&token)),
        _ => Some(with_header(status(401), "www-authenticate", &challenge)),
    });
    let error = refusal(&scratch, &name, None).await;
    assert!(error.contains("larger than"), "{error}");
    registry.fault(move |_| Some(bytes(&much)));
    let error = refusal(&scratch, &name, None).await;
    assert!(error.contains("larger than"), "{error}");
    // What it says in refusing is its own as well.
    let words =
        format!(r#"{{"errors":[{{"code":"X","message":"{}\u001b[2J"}}]}}"#, "y".repeat(60_000));
    registry.fault(move |_| Some(text(403, &words)));
    let error = refusal(&scratch, &name, None).await;
    assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
}

#[tokio::test]
async fn no_credentials_put_a_header_into_a_request() {
    let evil = "x\r\nX-Evil: 1";
    for who in [
        Credentials { username: evil.into(), password: evil.into(), ..Credentials::default() },
        Credentials { registry_token: evil.into(), ..Credentials::default() },
        Credentials { identity_token: evil.into(), ..Credentials::default() },
    ] {
        let (registry, scratch, name) = served(&small()).await;
        let address = registry.address.clone();
        let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"a\r\nb\"");
        let challenge = challenge.replace("\r\n", "%0d%0a");
        registry.fault(move |seen| match seen.path.as_str() {
            "/token" => Some(text(200, r#"{"token":"a\r\nX-Evil: 1"}"#)),
            _ => Some(with_header(status(401), "www-authenticate", &challenge)),
        });
        let _ = refusal(&scratch, &name, Some(&who)).await;
        let seen = registry.seen();
        assert!(seen.iter().all(|seen| !seen.headers.contains_key("x-evil")), "{seen:?}");
    }
}

#[tokio::test]
async fn a_body_whose_coding_makes_much_of_little_is_held_in_parts() {
    let image = small();
    let (registry, scratch, name) = served(&image).await;
    let bomb = zstd::encode_all(std::io::repeat(0).take(256 << 20), 1).unwrap();
    registry.fault(move |seen| {
        let is_blob = seen.path.contains("/blobs/") || seen.path.contains("/manifests/");
        is_blob.then(|| with_header(bytes(&bomb), "content-encoding", "zstd"))
    });
    let error = refusal(&scratch, &name, None).await;
    assert!(error.contains("larger than"), "{error}");
}

async fn pull(items: Vec<u8>, blob: Vec<u8>) -> Result<()> {
    let (_registry, scratch, name) = served(&TestImage::of(&[(items, blob)])).await;
    let pulled = tokio::time::timeout(PATIENCE, scratch.store.pull(&name, None, None)).await;
    let pulled = pulled.unwrap().map(drop);
    if pulled.is_err() {
        scratch.assert_no_debris().await;
    }
    pulled
}

#[tokio::test]
async fn a_window_that_nobody_needs_is_refused() {
    let plain = tar(&[file("f", vec![1; 1 << 20])]);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&plain).unwrap();
    let blob = encoder.finish().unwrap();
    let error = pull(plain, blob).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("decompress"), "{error}");
}

#[tokio::test]
async fn a_layer_that_unpacks_to_a_thousand_times_what_comes_of_it_is_refused() {
    const MIB: usize = 1 << 20;
    let mut header = ::tar::Header::new_gnu();
    header.set_size(300 * MIB as u64);
    header.set_path("zeros").unwrap();
    header.set_cksum();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    // Members, and frames, one after the other.
    let blob = |code: &dyn Fn(&[u8]) -> Vec<u8>| {
        [code(header.as_bytes()), code(&vec![0; MIB]).repeat(300)].concat()
    };
    for blob in [blob(&gzip), blob(&zstd)] {
        assert!(blob.len() < MIB / 2);
        let (_registry, scratch, name) = served(&TestImage::of(&[(Vec::new(), blob)])).await;
        let error = refusal(&scratch, &name, None).await;
        assert!(error.contains("images.largest_ratio"), "{error}");
    }
}

#[tokio::test]
async fn an_image_with_more_variables_than_a_process_can_have_is_refused() {
    let layers = [layer(&[dir("./"), file("f", "f")])];
    let image = TestImage::with_config(&layers, json!({"Env": vec!["a="; 1_000_000]}));
    let (_registry, scratch, name) = served(&image).await;
    let error = refusal(&scratch, &name, None).await;
    assert!(error.contains("its 1000000 variables take 11000000 bytes"), "{error}");
}
