//! Pulls that go on: past a token's end, past the client that began them, and by whichever hosts are
//! configured for what is asked.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::poll;
use hyper::Response;
use rrun_images::{Config, Image, Kind, Store};
use support::layer::{dir, file, layer, noise};
use support::registry::{
    Body, Seen, TestRegistry, cut, endless, paced, partial, status, text, with_header,
};
use support::{Scratch, TestImage, config, reference};

/// Nothing here takes long; whoever reads what has no end does.
const PATIENCE: Duration = Duration::from_secs(60);

fn of_three() -> TestImage {
    TestImage::of(&[
        layer(&[dir("./"), file("noise", noise(100_000))]),
        layer(&[file("middle", "m")]),
        layer(&[file("top", "t")]),
    ])
}

fn small() -> TestImage {
    TestImage::of(&[layer(&[dir("./"), file("f", "f")])])
}

async fn served(image: &TestImage) -> (TestRegistry, Scratch, String) {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", image);
    let name = format!("{}/r/i:1", registry.address);
    (registry, Scratch::new().await, name)
}

async fn pull(scratch: &Scratch, name: &str) -> rrun_images::Result<Image> {
    let name = reference(name);
    let pull = scratch.store.pull(&name, None, None);
    tokio::time::timeout(PATIENCE, pull).await.expect("the pull does not end")
}

/// A token server that counts its tokens, of which the last one alone is good.
struct Tokens {
    address: String,
    given: usize,
    is_spent: bool,
}

impl Tokens {
    fn of(registry: &TestRegistry) -> Tokens {
        Tokens { address: registry.address.clone(), given: 0, is_spent: true }
    }

    /// The answer of the token server, or to whoever has no token that is good.
    fn refuse(&mut self, seen: &Seen) -> Option<Response<Body>> {
        if seen.path == "/token" {
            self.given += 1;
            self.is_spent = false;
            let token = format!(r#"{{"token":"t{}","expires_in":60}}"#, self.given);
            return Some(text(200, &token));
        }
        let good = format!("Bearer t{}", self.given);
        let is_good = !self.is_spent && seen.authorization.as_ref() == Some(&good);
        let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, self.address);
        (!is_good).then(|| with_header(status(401), "www-authenticate", &challenge))
    }
}

#[tokio::test]
async fn a_token_that_is_good_for_one_blob_is_fetched_anew_for_the_next_and_for_the_rest_of_one() {
    let image = of_three();
    let (registry, Scratch { dir, store }, name) = served(&image).await;
    drop(store);
    // One after the other: no two of them may have the same token.
    let config = Config { downloads_per_registry: 1, ..config(dir.path()) };
    let scratch = Scratch { store: Store::open(config).await.unwrap(), dir };
    let mut tokens = Tokens::of(&registry);
    let (large, blob) = image.blobs[0].clone();
    registry.fault(move |seen| {
        if let Some(refusal) = tokens.refuse(seen) {
            return Some(refusal);
        }
        tokens.is_spent = seen.path.contains("/blobs/");
        let is_first = seen.path.ends_with(&large.to_string()) && seen.range.is_none();
        is_first.then(|| cut(&blob, blob.len() / 2))
    });
    assert_eq!(pull(&scratch, &name).await.unwrap().id.digest(), &image.blobs[3].0);
    // The manifest and the config, three layers, and the half of one.
    assert_eq!(registry.count("/token"), 5);
    let asked = registry.seen();
    let refused = asked.windows(2).filter(|two| two[1].path == "/token");
    let of: Vec<&str> = refused.map(|two| two[0].path.as_str()).collect();
    assert!(of[0].ends_with("/manifests/1") && of[1..].iter().all(|path| path.contains("/blobs/")));
    assert!(asked.iter().any(|seen| seen.range.is_some() && seen.authorization.is_some()));
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_token_that_expires_while_layers_come_is_fetched_anew_and_one_that_is_never_good_is_not()
{
    let image = of_three();
    let (registry, scratch, name) = served(&image).await;
    // The layers are asked for at once, with the token that ended when the config had come.
    let mut is_expired = false;
    let own = registry.address.clone();
    let config = image.blobs[3].0.to_string();
    registry.fault(move |seen| {
        let good = if is_expired { "late" } else { "early" };
        if seen.path == "/token" {
            return Some(text(200, &format!(r#"{{"token":"{good}"}}"#)));
        }
        let challenge = format!(r#"Bearer realm="http://{own}/token",service="s""#);
        let is_good = seen.authorization == Some(format!("Bearer {good}"));
        is_expired |= is_good && seen.path.ends_with(&config);
        (!is_good).then(|| with_header(status(401), "www-authenticate", &challenge))
    });
    pull(&scratch, &name).await.unwrap();
    assert!((2..=4).contains(&registry.count("/token")), "{}", registry.count("/token"));

    let (registry, scratch, name) = served(&image).await;
    let own = registry.address.clone();
    registry.fault(move |seen| {
        let challenge = format!(r#"Bearer realm="http://{own}/token",service="s""#);
        Some(match seen.path.as_str() {
            "/token" => text(200, r#"{"token":"t"}"#),
            _ => with_header(status(401), "www-authenticate", &challenge),
        })
    });
    let error = pull(&scratch, &name).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert_eq!((registry.count("/token"), registry.seen().len()), (1, 3));
}

#[tokio::test]
async fn a_pull_that_its_client_cancels_goes_on_if_another_waits_for_it() {
    let image = of_three();
    let (registry, scratch, name) = served(&image).await;
    let (digest, blob) = image.blobs[0].clone();
    let (open, gate) = tokio::sync::watch::channel(false);
    let (came, begun) = tokio::sync::oneshot::channel();
    let mut came = Some(came);
    let layer = digest.to_string();
    registry.fault(move |seen| {
        let gate = gate.clone();
        let held = move || {
            let mut gate = gate.clone();
            async move { drop(gate.wait_for(|open| *open).await) }
        };
        seen.path.ends_with(&layer).then(|| {
            came.take().map(|came| came.send(()));
            paced(&blob, held)
        })
    });
    let (store, wanted) = (scratch.store.clone(), reference(&name));
    let first = tokio::spawn(async move { store.pull(&wanted, None, None).await.map(drop) });
    begun.await.unwrap();
    let wanted = reference(&name);
    let mut second = pin!(scratch.store.pull(&wanted, None, None));
    assert!(poll!(second.as_mut()).is_pending());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    open.send(true).unwrap();
    let pulled = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap();
    assert_eq!(pulled.id.digest(), &image.blobs[3].0);
    assert_eq!((registry.count("/manifests/"), registry.count(&digest.to_string())), (1, 1));
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_registry_at_an_ipv6_address_is_pulled_from_and_found_by_its_folder() {
    let Ok(registry) = TestRegistry::start_at("[::1]:0").await else {
        println!("skipped: this host has no ::1");
        return;
    };
    let (image, scratch) = (small(), Scratch::new().await);
    registry.put("r/i", "1", &image);
    let name = format!("{}/r/i", registry.address);
    assert!(name.starts_with("[::1]:"), "{name}");
    let pulled = pull(&scratch, &format!("{name}:1")).await.unwrap();
    assert_eq!(pulled.tags, [format!("{name}:1")]);
    assert_eq!(pulled.digests, [format!("{name}@{}", image.digest())]);
    pull(&scratch, &format!("{name}@{}", image.digest())).await.unwrap();
    let found = scratch.store.find(&format!("{name}:1")).await.unwrap();
    assert_eq!(found.map(|found| found.id), Some(pulled.id));
    assert!(registry.seen().iter().all(|seen| seen.query.is_empty()));
    // As a folder, and as a mirror.
    let port = registry.address.rsplit_once(':').unwrap().1.to_owned();
    let marked = format!("server = 'http://{}'\n[header]\nx-site = 'here'\n", registry.address);
    for folder in [format!("[::1]_{port}_"), registry.address.clone(), "example.com".to_owned()] {
        scratch.hosts(&folder, &marked);
        let from = if folder == "example.com" { "example.com" } else { &registry.address };
        pull(&scratch, &format!("{from}/r/i:1")).await.unwrap();
        let last = registry.seen().pop().unwrap();
        assert_eq!(last.headers.get("x-site").map(String::as_str), Some("here"), "{folder}");
        std::fs::remove_dir_all(scratch.certs().join(folder)).unwrap();
    }
}

#[tokio::test]
async fn the_default_folder_is_for_every_registry_without_one_of_its_own() {
    let (image, scratch) = (small(), Scratch::new().await);
    let (mirror, own) = (TestRegistry::start().await, TestRegistry::start().await);
    for registry in [&mirror, &own] {
        registry.put("r/i", "1", &image);
        registry.put("library/i", "latest", &image);
    }
    scratch.hosts("_default", &format!("[host.'http://{}']\n", mirror.address));
    scratch.hosts("own.example", &format!("server = 'http://{}'\n", own.address));
    let cases = [
        ("example.com/r/i:1", "ns=example.com"),
        ("other.example:5000/r/i:1", "ns=other.example%3A5000"),
        ("i", "ns=docker.io"),
    ];
    for (name, query) in cases {
        let before = mirror.seen().len();
        pull(&scratch, name).await.unwrap();
        let asked = mirror.seen().split_off(before);
        assert!(!asked.is_empty() && asked.iter().all(|seen| seen.query == query), "{asked:?}");
    }
    assert_eq!(own.seen().len(), 0);
    let before = mirror.seen().len();
    pull(&scratch, "own.example/r/i:1").await.unwrap();
    assert_eq!(mirror.seen().len(), before);
    assert!(!own.seen().is_empty());
}

/// What a host was asked for: the tag, documents and blobs.
fn asked(registry: &TestRegistry) -> [usize; 3] {
    let by_tag = registry.count("/manifests/1");
    [by_tag, registry.count("/manifests/") - by_tag, registry.count("/blobs/")]
}

/// Two hosts with their capabilities; the second one is the server.
async fn two_hosts(may: [&str; 2]) -> (Scratch, [TestRegistry; 2]) {
    let scratch = Scratch::new().await;
    let hosts = [TestRegistry::start().await, TestRegistry::start().await];
    let text = format!(
        "server = 'http://{}'\ncapabilities = [{}]\n[host.'http://{}']\ncapabilities = [{}]\n",
        hosts[1].address, may[1], hosts[0].address, may[0]
    );
    scratch.hosts("example.com", &text);
    (scratch, hosts)
}

#[tokio::test]
async fn a_host_that_may_only_resolve_names_the_digest_and_one_that_may_only_pull_has_the_content()
{
    let (image, other) = (small(), of_three());
    let (resolve, pulls, both) = ("'resolve'", "'pull'", "'pull', 'resolve'");
    // What each host has been asked for: the tag, documents by digest, and blobs.
    let cases = [
        ([resolve, pulls], [[1, 0, 0], [0, 1, 2]]),
        ([pulls, resolve], [[0, 1, 2], [1, 0, 0]]),
        ([resolve, both], [[1, 0, 0], [0, 1, 2]]),
        ([pulls, both], [[0, 0, 2], [1, 0, 0]]),
    ];
    for (may, expected) in cases {
        let (scratch, hosts) = two_hosts(may).await;
        for (host, may) in hosts.iter().zip(may) {
            // A tag of a host that may not resolve is nobody's business.
            let is_asked = may != pulls;
            host.put("r/i", "1", if is_asked { &image } else { &other });
            host.put("r/i", "by-digest", &image);
        }
        if may == [resolve, both] {
            hosts[1].put("r/i", "1", &other);
        }
        let pulled = pull(&scratch, "example.com/r/i:1").await;
        let pulled = pulled.unwrap_or_else(|e| panic!("{may:?}: {e}"));
        assert_eq!(pulled.id.digest(), &image.blobs[1].0, "{may:?}");
        assert_eq!(hosts.each_ref().map(asked), expected, "{may:?}");
        // Whether it is still that is asked of who may resolve.
        pull(&scratch, "example.com/r/i:1").await.unwrap();
        let now = hosts.each_ref().map(|host| asked(host)[0]);
        assert_eq!(now, expected.map(|of| 2 * of[0]), "{may:?}");
    }
    for may in [pulls, resolve] {
        let (scratch, hosts) = two_hosts([may; 2]).await;
        hosts.iter().for_each(|host| host.put("r/i", "1", &image));
        let error = pull(&scratch, "example.com/r/i:1").await.unwrap_err();
        assert!(error.to_string().ends_with("hosts.toml allows no host for this"), "{error}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
}

#[tokio::test]
async fn a_body_without_a_length_that_never_ends_is_read_to_its_size_only() {
    let image = small();
    let places = [
        ("/manifests/1".to_owned(), "larger than"),
        (image.blobs[1].0.to_string(), "larger than"),
        (image.blobs[0].0.to_string(), "more than its"),
    ];
    for (path, words) in places {
        let (registry, scratch, name) = served(&image).await;
        registry.fault(move |seen| seen.path.ends_with(&path).then(|| endless(b"\x1f\x8b")));
        let error = pull(&scratch, &name).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        scratch.assert_no_debris().await;
    }
    // After a range too, and after all that was promised: that is there, or the answer is refused.
    let (digest, blob) = of_three().blobs[0].clone();
    for (is_cut, may_pass) in [(true, false), (false, true)] {
        let (registry, scratch, name) = served(&of_three()).await;
        let (wanted, blob) = (digest.to_string(), blob.clone());
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        registry.fault(move |seen| {
            if !seen.path.ends_with(&wanted) {
                return None;
            }
            count.fetch_add(1, Ordering::SeqCst);
            Some(match seen.wanted(blob.len()) {
                Some(range) => partial(endless(b""), &range, blob.len()),
                None if is_cut => cut(&blob, blob.len() / 2),
                None => endless(&blob),
            })
        });
        match pull(&scratch, &name).await {
            Ok(_) => assert!(may_pass),
            Err(error) => assert!(error.to_string().contains("more than its"), "{error}"),
        }
        assert!(sent.load(Ordering::SeqCst) <= 3);
        scratch.assert_no_debris().await;
    }
}

#[tokio::test]
async fn a_mirror_whose_answer_is_too_large_is_not_the_end_of_a_pull() {
    let image = small();
    for path in ["/manifests/1", "/blobs/"] {
        let ((mirror, scratch, _), (own, _, _)) = (served(&image).await, served(&image).await);
        mirror.fault(move |seen| seen.path.contains(path).then(|| endless(b"")));
        let hosts =
            format!("server = 'http://{}'\n[host.'http://{}']\n", own.address, mirror.address);
        scratch.hosts("example.com", &hosts);
        pull(&scratch, "example.com/r/i:1").await.unwrap();
        assert_eq!(mirror.seen().iter().filter(|seen| seen.path.contains(path)).count(), 1);
    }
    let ((mirror, scratch, _), (own, _, _)) = (served(&image).await, served(&image).await);
    let layer = image.blobs[0].0.to_string();
    mirror.fault(move |seen| seen.path.ends_with(&layer).then(|| endless(b"\x1f\x8b")));
    let hosts = format!("server = 'http://{}'\n[host.'http://{}']\n", own.address, mirror.address);
    scratch.hosts("example.com", &hosts);
    pull(&scratch, "example.com/r/i:1").await.unwrap();
}
