//! Registries that misbehave.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rrun_images::{Credentials, Digest, Event, Kind};
use support::layer::{dir, file, layer};
use support::registry::{TestRegistry, cut, status, text, with_header};
use support::{Scratch, TestImage, reference};

/// Some bytes that do not compress, so that a layer has many pieces.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

fn big_image() -> TestImage {
    TestImage::of(&[layer(&[dir("./"), file("noise", noise(300_000))])])
}

async fn served(image: &TestImage) -> (TestRegistry, Scratch, rrun_images::Reference) {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", image);
    let name = reference(&format!("{}/r/i:1", registry.address));
    (registry, Scratch::new().await, name)
}

#[tokio::test]
async fn a_cut_blob_is_resumed_where_it_broke() {
    let image = big_image();
    let blob = image.blobs[0].1.clone();
    let (registry, scratch, name) = served(&image).await;
    let mut cuts = 3;
    registry.fault(move |seen| {
        let is_first = seen.path.contains("/blobs/") && cuts > 0 && blob.len() > 1000;
        if !is_first || seen.path.ends_with("config") {
            return None;
        }
        let from = seen.range.as_deref().map_or(0, |r| {
            r.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
        });
        if !seen.path.ends_with(&Digest::of(&blob).to_string()) {
            return None;
        }
        cuts -= 1;
        let rest = &blob[from..];
        let mut response = cut(rest, rest.len() / 2);
        if from > 0 {
            let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
            response = with_header(response, "content-range", &range);
            *response.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
        }
        Some(response)
    });
    let (progress, mut events) = tokio::sync::mpsc::unbounded_channel();
    scratch.store.pull(&name, None, Some(progress)).await.unwrap();
    let mut resumed = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Resumed { bytes, .. } = event {
            resumed.push(bytes);
        }
    }
    assert_eq!(resumed.len(), 3, "{resumed:?}");
    assert!(resumed.is_sorted() && resumed[0] > 0, "{resumed:?}");
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_server_without_ranges_is_read_again_from_the_start() {
    let image = big_image();
    let blob = image.blobs[0].1.clone();
    let (registry, scratch, name) = served(&image).await;
    let mut cuts = 2;
    registry.fault(move |seen| {
        if !seen.path.ends_with(&Digest::of(&blob).to_string()) {
            return None;
        }
        cuts -= 1;
        Some(cut(&blob, if cuts >= 0 { blob.len() / 2 } else { blob.len() }))
    });
    scratch.store.pull(&name, None, None).await.unwrap();
}

#[tokio::test]
async fn a_line_that_is_always_cut_fails_and_leaves_nothing() {
    let image = TestImage::of(&[layer(&[dir("./"), file("noise", noise(200_000))])]);
    let blob = image.blobs[0].1.clone();
    let (registry, scratch, name) = served(&image).await;
    registry.fault(move |seen| {
        seen.path.ends_with(&Digest::of(&blob).to_string()).then(|| cut(&blob, 1000))
    });
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("cut 5 times, last at byte 1000"), "{error}");
    assert_eq!(scratch.names("layers"), [""; 0]);
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn content_with_a_wrong_digest_is_refused_and_leaves_nothing() {
    let image = big_image();
    let (registry, scratch, name) = served(&image).await;
    let mut other = image.blobs[0].1.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    registry.put_blob(&image.blobs[0].0, &other);
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains(&format!("layer {}", image.blobs[0].0)), "{error}");
    assert_eq!(scratch.names("layers"), [""; 0]);
    assert!(scratch.store.list().await.unwrap().is_empty());
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let (tar, _) = layer(&[file("a", "a")]);
    let (_, blob) = layer(&[file("b", "b")]);
    let (_registry, scratch, name) = served(&TestImage::of(&[(tar, blob)])).await;
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("uncompressed content"), "{error}");
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_manifest_with_a_wrong_digest_is_refused() {
    let (registry, scratch, name) = served(&big_image()).await;
    registry.fault(|seen| {
        let bad = format!("sha256:{}", "0".repeat(64));
        (seen.path.contains("/manifests/"))
            .then(|| with_header(text(200, "{}"), "docker-content-digest", &bad))
    });
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("manifests/1: the content has digest"), "{error}");
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_and_one_that_stays_busy_is_unavailable() {
    let (registry, scratch, name) = served(&big_image()).await;
    let mut busy = [429, 503].into_iter();
    registry.fault(move |_| busy.next().map(status));
    scratch.store.pull(&name, None, None).await.unwrap();
    registry.fault(|_| Some(status(503)));
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().ends_with("503 service unavailable"), "{error}");
}

#[tokio::test]
async fn a_bearer_token_is_fetched_with_the_password_and_shown_to_the_registry_alone() {
    let (registry, scratch, name) = served(&big_image()).await;
    let store_of_blobs = TestRegistry::start().await;
    let away = store_of_blobs.address.clone();
    let image = big_image();
    let content = image.blobs[0].1.clone();
    store_of_blobs.fault(move |_| Some(cut(&content, content.len())));
    let blob = image.blobs[0].0.to_string();
    let own = registry.address.clone();
    registry.fault(move |seen| {
        if seen.path == "/token" {
            assert_eq!(seen.authorization.as_deref(), Some("Basic dTpw"));
            assert!(seen.query.contains("service=s") && seen.query.contains("scope=repository%3A"));
            return Some(text(200, r#"{"access_token":"t0ken"}"#));
        }
        if seen.authorization.as_deref() != Some("Bearer t0ken") {
            let challenge = format!(r#"Bearer realm="http://{own}/token",service="s""#);
            return Some(with_header(status(401), "www-authenticate", &challenge));
        }
        let there = format!("http://{away}/elsewhere");
        seen.path.ends_with(&blob).then(|| with_header(status(307), "location", &there))
    });
    let auth = |password: &str| Credentials {
        username: "u".into(),
        password: password.into(),
        ..Credentials::default()
    };
    scratch.store.pull(&name, Some(&auth("p")), None).await.unwrap();
    assert_eq!(registry.count("/token"), 1, "one token for all requests");
    let there = store_of_blobs.seen();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].authorization, None, "the blob store learns no token");
}

#[tokio::test]
async fn an_identity_token_is_posted_and_a_refused_one_is_denied() {
    let (registry, scratch, name) = served(&big_image()).await;
    let own = registry.address.clone();
    registry.fault(move |seen| {
        if seen.path == "/token" {
            let good = seen.method == "POST"
                && seen.body.contains("grant_type=refresh_token")
                && seen.body.contains("refresh_token=r%2Ft");
            return Some(if good { text(200, r#"{"token":"t"}"#) } else { status(401) });
        }
        let challenge = format!(r#"Bearer realm="http://{own}/token",service="s""#);
        (seen.authorization.as_deref() != Some("Bearer t"))
            .then(|| with_header(status(401), "www-authenticate", &challenge))
    });
    let auth = |token: &str| Credentials { identity_token: token.into(), ..Credentials::default() };
    scratch.store.pull(&name, Some(&auth("r/t")), None).await.unwrap();
    let error = scratch.store.pull(&name, Some(&auth("bad")), None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("token server"), "{error}");
}

#[tokio::test]
async fn a_registry_that_wants_basic_gets_it_and_without_credentials_is_denied() {
    let (registry, scratch, name) = served(&big_image()).await;
    registry.fault(|seen| {
        (seen.authorization.as_deref() != Some("Basic dTpw"))
            .then(|| with_header(status(401), "www-authenticate", r#"Basic realm="x""#))
    });
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    let auth = Credentials { auth: "dTpw".into(), ..Credentials::default() };
    scratch.store.pull(&name, Some(&auth), None).await.unwrap();
}

#[tokio::test]
async fn a_refusal_tells_of_each_host_whose_credentials_it_was_shown_and_never_a_secret() {
    let (registry, scratch, _) = served(&big_image()).await;
    let mirror = TestRegistry::start().await;
    for refusing in [&registry, &mirror] {
        refusing
            .fault(|_| Some(with_header(status(401), "www-authenticate", r#"Basic realm="x""#)));
    }
    let hosts =
        format!("server = 'http://{}'\n[host.'http://{}']\n", registry.address, mirror.address);
    scratch.hosts("example.com", &hosts);
    let told = async |who: Option<Credentials>| {
        let name = reference("example.com/r/i:1");
        scratch.store.pull(&name, who.as_ref(), None).await.unwrap_err().to_string()
    };
    let auth = |password: &str| Credentials {
        username: "me".into(),
        password: password.into(),
        ..Credentials::default()
    };
    let (own, first) = (&registry.address, &mirror.address);
    let path = "v2/r/i/manifests/1";
    let words = told(None).await;
    for host in [own, first] {
        let expected = format!(
            "GET http://{host}/{path}?ns=example.com (without credentials): 401 unauthorized"
        );
        assert!(words.contains(&expected), "{words}");
    }
    let file = "/root/.docker/config.json";
    let words = told(Some(Credentials { source: file.into(), ..auth("hush") })).await;
    let expected = format!("(with credentials of {file}, user \"me\"): 401 unauthorized");
    assert_eq!(words.matches(&expected).count(), 2, "{words}");
    let of_one = Credentials { server_address: own.clone(), ..auth("hush") };
    let words = told(Some(of_one)).await;
    let without = "(without credentials: credentials given for the pull, user \"me\" are for ";
    assert!(words.contains(&format!("{without}{own} alone)")), "{words}");
    assert!(words.contains("(with credentials given for the pull, user \"me\")"), "{words}");
    assert!(!words.contains("hush"), "{words}");
}

#[tokio::test]
async fn mirrors_are_asked_in_order_with_the_namespace_and_all_failures_are_told() {
    let image = big_image();
    let (mirror, scratch, _) = served(&image).await;
    let broken = TestRegistry::start().await;
    broken.fault(|_| Some(status(500)));
    let hosts = format!(
        "server = 'http://{}'\n[host.'http://127.0.0.1:1']\n[host.'http://{}']\n\
         [host.'http://{}'.header]\nx-mirror = 'yes'\n",
        broken.address, broken.address, broken.address
    );
    scratch.hosts("example.com", &hosts);
    let name = reference("example.com/r/i:1");
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let words = error.to_string();
    assert!(words.contains("all 3 hosts failed: GET http://127.0.0.1:1/v2/r/i"), "{words}");
    assert!(
        words.contains("ECONNREFUSED") && words.contains("500 internal server error"),
        "{words}"
    );
    let first = &broken.seen()[0];
    assert_eq!(first.headers.get("x-mirror").map(String::as_str), Some("yes"));
    scratch.hosts(
        "example.com",
        &format!("[host.'http://127.0.0.1:1']\n[host.'http://{}']\n", mirror.address),
    );
    let pulled = scratch.store.pull(&name, None, None).await.unwrap();
    assert_eq!(pulled.tags, ["example.com/r/i:1"]);
    assert!(mirror.seen().iter().all(|s| s.query == "ns=example.com"));
}

#[tokio::test]
async fn a_hosts_file_that_does_not_parse_is_a_refusal_with_file_and_line() {
    let scratch = Scratch::new().await;
    scratch.hosts("example.com", "server = 'http://a'\nmirror = 1\n");
    let error = scratch.store.pull(&reference("example.com/x"), None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let want = "example.com/hosts.toml:2: mirror: unknown key";
    assert!(error.to_string().ends_with(want), "{error}");
}

#[tokio::test]
async fn two_pulls_of_one_name_are_one_and_a_layer_of_two_images_is_fetched_once() {
    let image = big_image();
    let (registry, scratch, name) = served(&image).await;
    registry.put("r/other", "1", &image);
    let other = reference(&format!("{}/r/other:1", registry.address));
    let store = &scratch.store;
    let (a, b, c) = tokio::join!(
        store.pull(&name, None, None),
        store.pull(&name, None, None),
        store.pull(&other, None, None)
    );
    assert_eq!(a.unwrap().id, b.unwrap().id);
    // Each answers as the image stands by then: the first to end knows one name.
    let both = store.find(&c.unwrap().id.to_string()).await.unwrap().unwrap();
    assert_eq!(both.tags.len(), 2);
    assert_eq!(registry.count(&image.blobs[0].0.to_string()), 1);
    assert_eq!(registry.count("r/i/manifests/"), 1);
}

#[tokio::test]
async fn a_dropped_pull_leaves_nothing_and_frees_the_layer_for_the_next_one() {
    let image = big_image();
    let blob = image.blobs[0].1.clone();
    let (registry, scratch, name) = served(&image).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let (seen_in, seen_out) = tokio::sync::oneshot::channel();
    let mut seen_in = Some(seen_in);
    let count = Arc::clone(&asked);
    registry.fault(move |seen| {
        if !seen.path.ends_with(&Digest::of(&blob).to_string()) {
            return None;
        }
        count.fetch_add(1, Ordering::SeqCst);
        // Half of it, and then never anything again.
        let half = support::registry::stall(&blob, blob.len() / 2);
        seen_in.take().map(|s| {
            s.send(()).unwrap();
            half
        })
    });
    {
        let pull = scratch.store.pull(&name, None, None);
        tokio::select! {
            _ = pull => panic!("a stalled pull ended"),
            done = seen_out => done.unwrap(),
        }
    }
    // The next pull waits for the layer's lock, which goes after the debris.
    scratch.store.pull(&name, None, None).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_registry_that_trickles_is_asked_again_from_there_and_then_given_up() {
    for gives_up in [false, true] {
        let image = big_image();
        let (registry, _, name) = served(&image).await;
        let dir = tempfile::tempdir().unwrap();
        let time = std::time::Duration::from_millis(200);
        let stall = rrun_images::Stall { time, bytes: 100 };
        let config = rrun_images::Config { stall, ..support::config(dir.path()) };
        let store = rrun_images::Store::open(config).await.unwrap();
        let (digest, blob) = image.blobs[0].clone();
        let mut begun = 0;
        registry.fault(move |seen| {
            let wanted = seen.path.ends_with(&digest.to_string());
            let from = seen.range.as_deref().map_or(0, |r| r[6..r.len() - 1].parse().unwrap());
            begun += usize::from(wanted);
            (wanted && (gives_up || begun == 1)).then(|| support::registry::trickle(&blob, from))
        });
        let done = store.pull(&name, None, None).await;
        let ranges: Vec<_> = registry.seen().into_iter().filter_map(|seen| seen.range).collect();
        assert!(ranges[0].starts_with("bytes=") && ranges[0] != "bytes=0-", "{ranges:?}");
        let Err(error) = done else {
            assert!(!gives_up && ranges.len() == 1);
            continue;
        };
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(gives_up && error.to_string().contains("stalled: "), "{error}");
        assert!(error.to_string().contains("cut 5 times"), "{error}");
        drop(store);
        for part in ["layers", "tmp"] {
            assert_eq!(std::fs::read_dir(dir.path().join("images").join(part)).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn a_mirror_that_answers_with_a_page_is_passed_over_and_alone_is_named_with_what_it_sent() {
    let (mirror, registry) = (TestRegistry::start().await, TestRegistry::start().await);
    registry.put("r/i", "1", &big_image());
    let page = |_: &_| {
        let answer = text(200, "<html><body>Log in to the network first</body></html>");
        Some(with_header(answer, "content-type", "text/html; charset=utf-8"))
    };
    mirror.fault(page);
    let scratch = Scratch::new().await;
    let hosts =
        format!("server = 'http://{}'\n[host.'http://{}']\n", registry.address, mirror.address);
    scratch.hosts("example.com", &hosts);
    let name = reference("example.com/r/i:1");
    scratch.store.pull(&name, None, None).await.unwrap();
    assert!(!mirror.seen().is_empty());

    registry.fault(page);
    let other = reference("example.com/r/other:1");
    let error = scratch.store.pull(&other, None, None).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("the answer (text/html) is no manifest"), "{words}");
    assert!(words.contains(&mirror.address) && words.contains(&registry.address), "{words}");
}
