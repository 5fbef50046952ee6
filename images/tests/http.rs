//! HTTP, tokens and hosts beyond the straight way.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write;

use rrun_images::{Credentials, Event, Kind, Reference};
use support::layer::{dir, file, gzip, layer};
use support::registry::{TestRegistry, bytes, status, text, with_header};
use support::{Scratch, TestImage, reference};

async fn served() -> (TestRegistry, Scratch, Reference, TestImage) {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[layer(&[dir("./"), file("f", "f")])]);
    registry.put("r/i", "1", &image);
    let name = reference(&format!("{}/r/i:1", registry.address));
    (registry, Scratch::new().await, name, image)
}

fn person() -> Credentials {
    Credentials { username: "u".into(), password: "p".into(), ..Credentials::default() }
}

#[tokio::test]
async fn a_present_image_costs_one_head() {
    let (registry, scratch, name, image) = served().await;
    let first = scratch.store.pull(&name, None, None).await.unwrap();
    let before = registry.seen().len();
    let (progress, mut events) = tokio::sync::mpsc::unbounded_channel();
    let again = scratch.store.pull(&name, None, Some(progress)).await.unwrap();
    assert_eq!(again.id, first.id);
    let asked: Vec<_> = registry.seen().split_off(before);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("HEAD", "/v2/r/i/manifests/1"));
    assert!(asked[0].headers["accept"].contains("image.index"));
    let event = events.try_recv().unwrap();
    assert!(matches!(event, Event::UpToDate { digest } if digest == image.digest()));
    // By digest too.
    let by_digest = reference(&format!("{}/r/i@{}", registry.address, image.digest()));
    let before = registry.seen().len();
    assert_eq!(scratch.store.pull(&by_digest, None, None).await.unwrap().id, first.id);
    assert_eq!(registry.seen().len(), before + 1);
    // What the tag names now is fetched.
    let other = TestImage::of(&[layer(&[file("g", "g")])]);
    registry.put("r/i", "1", &other);
    let moved = scratch.store.pull(&name, None, None).await.unwrap();
    assert_eq!(moved.id.digest(), &other.blobs[1].0);
    // And back again: both images are here, and the name is the first one's.
    registry.put("r/i", "1", &image);
    let before = registry.seen().len();
    let back = scratch.store.pull(&name, None, None).await.unwrap();
    assert_eq!((back.id, back.tags), (first.id, vec![name.to_string()]));
    assert_eq!(registry.seen().len(), before + 1);
}

#[tokio::test]
async fn a_registry_that_answers_head_wrongly_is_asked_by_get() {
    let (registry, scratch, name, image) = served().await;
    scratch.store.pull(&name, None, None).await.unwrap();
    let odd = [
        status(405),
        status(404),
        status(501),
        status(200),
        with_header(status(200), "docker-content-digest", ""),
        with_header(status(200), "docker-content-digest", "nonsense"),
    ];
    for answer in odd {
        let mut answer = Some(answer);
        registry.fault(move |seen| if seen.method == "HEAD" { answer.take() } else { None });
        let before = registry.seen().len();
        let pulled = scratch.store.pull(&name, None, None).await.unwrap();
        assert_eq!(pulled.id.digest(), &image.blobs[1].0);
        assert!(registry.seen()[before..].iter().any(|s| s.method == "GET"));
    }
    registry.fault(|_| Some(status(404)));
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "the registry is asked each time: {error}");
}

#[tokio::test]
async fn an_answer_with_a_content_coding_is_decoded() {
    let deflate = |body: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    for coding in ["gzip", "x-gzip", "zstd"] {
        let encode = move |body: &[u8]| match coding {
            "zstd" => zstd::encode_all(body, 1).unwrap(),
            _ => gzip(body),
        };
        let (registry, scratch, name, image) = served().await;
        let mut all = image.blobs.clone();
        all.push((image.digest(), image.manifest.clone()));
        registry.fault(move |seen| {
            assert_eq!(seen.headers["accept-encoding"], "identity");
            let found = all.iter().find(|(d, _)| seen.path.ends_with(&d.to_string()));
            let body = match found {
                Some((_, body)) => body,
                None if seen.path.ends_with("/manifests/1") => &all[2].1,
                None => return None,
            };
            Some(with_header(bytes(&encode(body)), "content-encoding", coding))
        });
        let pulled = scratch.store.pull(&name, None, None).await;
        assert_eq!(pulled.unwrap().id.digest(), &image.blobs[1].0, "{coding}");
    }
    // A layer that is gzip by itself, called so and sent as it is; JSON by deflate.
    let (registry, scratch, name, image) = served().await;
    let all = image.blobs.clone();
    registry.fault(move |seen| {
        let (_, body) = all.iter().find(|(d, _)| seen.path.ends_with(&d.to_string()))?;
        Some(match body.starts_with(b"{") {
            true => with_header(bytes(&deflate(body)), "content-encoding", "deflate"),
            false => with_header(bytes(body), "content-encoding", "gzip"),
        })
    });
    scratch.store.pull(&name, None, None).await.unwrap();
    let (registry, scratch, name, _) = served().await;
    registry.fault(|_| Some(with_header(text(200, "{}"), "content-encoding", "br")));
    let error = scratch.store.pull(&name, None, None).await.unwrap_err();
    assert!(error.to_string().contains("unknown coding \"br\""), "{error}");
}

/// A host that sends everything on to another one, which wants a token of its own token server.
async fn behind(
    credentials: Option<Credentials>,
) -> (TestRegistry, TestRegistry, rrun_images::Result<()>) {
    let (back, scratch, _, _) = served().await;
    let own = back.address.clone();
    back.fault(move |seen| {
        if seen.path == "/token" {
            return Some(text(200, r#"{"token":"behind","expires_in":null}"#));
        }
        let challenge = format!(r#"Bearer realm="http://{own}/token",service="back""#);
        (seen.authorization.as_deref() != Some("Bearer behind"))
            .then(|| with_header(status(401), "www-authenticate", &challenge))
    });
    let front = TestRegistry::start().await;
    let to = back.address.clone();
    front.fault(move |seen| {
        Some(with_header(status(307), "location", &format!("http://{to}{}", seen.path)))
    });
    let name = reference(&format!("{}/r/i:1", front.address));
    let done = scratch.store.pull(&name, credentials.as_ref(), None).await;
    (front, back, done.map(|_| ()))
}

#[tokio::test]
async fn a_challenge_after_a_redirect_is_answered_without_what_was_meant_for_the_registry() {
    let (front, back, done) = behind(None).await;
    done.unwrap();
    assert_eq!(back.count("/token"), 1, "one token for all requests");
    assert!(front.seen().iter().all(|s| s.authorization.is_none()));
    // Credentials for nobody in particular are the front's.
    let (front, back, done) = behind(Some(person())).await;
    done.unwrap();
    let at_token: Vec<_> = back.seen().into_iter().filter(|s| s.path == "/token").collect();
    assert!(at_token.iter().all(|s| s.authorization.is_none()), "{at_token:?}");
    assert!(front.seen().iter().all(|s| s.authorization.is_none()));
}

#[tokio::test]
async fn a_redirect_to_a_host_that_wants_a_password_does_not_get_it_unless_it_is_named() {
    for is_named in [false, true] {
        let (back, scratch, _, _) = served().await;
        back.fault(|seen| {
            (seen.authorization.as_deref() != Some("Basic dTpw"))
                .then(|| with_header(status(401), "www-authenticate", r#"Basic realm="x""#))
        });
        let front = TestRegistry::start().await;
        let to = back.address.clone();
        front.fault(move |seen| {
            Some(with_header(status(307), "location", &format!("http://{to}{}", seen.path)))
        });
        let server_address = if is_named { back.address.clone() } else { String::new() };
        let auth = Credentials { server_address, ..person() };
        let name = reference(&format!("{}/r/i:1", front.address));
        let done = scratch.store.pull(&name, Some(&auth), None).await;
        let shown = back.seen().iter().any(|s| s.authorization.is_some());
        assert_eq!((done.is_ok(), shown), (is_named, is_named));
        assert!(front.seen().iter().all(|s| s.authorization.is_none()));
    }
}

#[tokio::test]
async fn a_redirect_of_the_registry_to_itself_keeps_its_token() {
    let (registry, scratch, name, _) = served().await;
    let own = registry.address.clone();
    registry.fault(move |seen| {
        if seen.path == "/token" {
            assert_eq!(seen.authorization.as_deref(), Some("Basic dTpw"));
            return Some(text(200, r#"{"access_token":"t"}"#));
        }
        if seen.path == "/v2/r/i/manifests/1" && seen.query.is_empty() {
            let to = format!("http://{own}/v2/r/i/manifests/1?again=1");
            return Some(with_header(status(302), "location", &to));
        }
        let challenge = format!(r#"Bearer realm="http://{own}/token",service="s""#);
        (seen.authorization.as_deref() != Some("Bearer t"))
            .then(|| with_header(status(401), "www-authenticate", &challenge))
    });
    scratch.store.pull(&name, Some(&person()), None).await.unwrap();
    assert_eq!(registry.count("/token"), 1);
}

#[tokio::test]
async fn a_token_server_gets_the_hosts_headers_and_whom_it_redirects_to_no_password() {
    let (registry, scratch, _, _) = served().await;
    let tokens = TestRegistry::start().await;
    let elsewhere = TestRegistry::start().await;
    elsewhere.fault(|_| Some(text(200, r#"{"token":"t"}"#)));
    let to = elsewhere.address.clone();
    tokens.fault(move |seen| {
        let to = format!("http://{to}/t?{}", seen.query);
        Some(with_header(status(307), "location", &to))
    });
    let realm = tokens.address.clone();
    registry.fault(move |seen| {
        let challenge = format!(r#"Bearer realm="http://{realm}/token",service="s""#);
        (seen.authorization.as_deref() != Some("Bearer t"))
            .then(|| with_header(status(401), "www-authenticate", &challenge))
    });
    let hosts = format!("server = 'http://{}'\n[header]\nx-site = 'here'\n", registry.address);
    scratch.hosts("example.com", &hosts);
    let name = reference("example.com/r/i:1");
    scratch.store.pull(&name, Some(&person()), None).await.unwrap();
    let asked = &tokens.seen()[0];
    assert_eq!(asked.headers.get("x-site").map(String::as_str), Some("here"));
    assert_eq!(asked.authorization.as_deref(), Some("Basic dTpw"));
    let asked = &elsewhere.seen()[0];
    assert_eq!((asked.headers.get("x-site"), asked.authorization.as_deref()), (None, None));
    assert!(asked.query.contains("service=s"), "{}", asked.query);
}

#[tokio::test]
async fn a_host_that_asks_for_a_long_time_is_not_asked_again_and_one_that_says_when_is_then() {
    for code in [429, 503] {
        let (registry, scratch, name, _) = served().await;
        registry.fault(move |_| Some(with_header(status(code), "retry-after", "3600")));
        let error = scratch.store.pull(&name, None, None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert_eq!(registry.seen().len(), 1, "{code}");
        let mut once = Some(with_header(status(code), "retry-after", "0"));
        registry.fault(move |_| once.take());
        scratch.store.pull(&name, None, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_mirror_is_tried_once_and_then_after_the_others() {
    let (registry, scratch, _, _) = served().await;
    // Whoever connects is counted; a mirror that is there and hangs up is not a dead one.
    let mirror = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = mirror.local_addr().unwrap();
    drop(mirror);
    let hosts = format!("server = 'http://{}'\n[host.'http://{dead}']\n", registry.address);
    scratch.hosts("example.com", &hosts);
    scratch.store.pull(&reference("example.com/r/i:1"), None, None).await.unwrap();
    // From now on somebody listens there, and would be asked if he were not remembered.
    let revived = std::net::TcpListener::bind(dead).unwrap();
    revived.set_nonblocking(true).unwrap();
    scratch.store.pull(&reference("example.com/r/i:1"), None, None).await.unwrap();
    assert_eq!(revived.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_token_server_may_be_a_path_and_a_challenge_have_any_bytes() {
    let (registry, scratch, name, _) = served().await;
    registry.fault(|seen| {
        if seen.path == "/token" {
            return Some(text(200, r#"{"token":"t"}"#));
        }
        let mut refusal = status(401);
        let challenge = b"Bearer realm=\"/token\",service=\"s\",error_description=\"caf\xe9\"";
        let challenge = hyper::header::HeaderValue::from_bytes(challenge).unwrap();
        refusal.headers_mut().insert("www-authenticate", challenge);
        (seen.authorization.as_deref() != Some("Bearer t")).then_some(refusal)
    });
    scratch.store.pull(&name, None, None).await.unwrap();
    assert_eq!(registry.count("/token"), 1);
}

#[tokio::test]
async fn a_coding_that_is_none_is_read_over() {
    for coding in ["utf-8", "aws-chunked", "binary", "gzip"] {
        let (registry, scratch, name, image) = served().await;
        let all = image.blobs.clone();
        registry.fault(move |seen| {
            let (_, body) = all.iter().find(|(d, _)| seen.path.ends_with(&d.to_string()))?;
            Some(with_header(bytes(body), "content-encoding", coding))
        });
        scratch.store.pull(&name, None, None).await.unwrap();
    }
}

/// A server that writes its own head of each answer.
async fn raw(head: &'static str, image: &TestImage) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut all = image.blobs.clone();
    all.push((image.digest(), image.manifest.clone()));
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = vec![0; 8192];
            let n = stream.read(&mut request).await.unwrap_or_default();
            let line = String::from_utf8_lossy(&request[..n]).lines().next().unwrap().to_owned();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let found = all.iter().find(|(d, _)| path.ends_with(&d.to_string()));
            let body = found.or(all.last()).map(|(_, body)| body.clone()).unwrap_or_default();
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        }
    });
    address
}

#[tokio::test]
async fn what_proxies_make_of_a_head_is_read_over() {
    for head in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Long: one\r\n  two\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX Bad: 1\r\nX-Space : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nDocker-Content-Digest:\r\nETag:\r\n\r\n",
    ] {
        let scratch = Scratch::new().await;
        let image = TestImage::of(&[layer(&[file("a", "x")])]);
        let address = raw(head, &image).await;
        let name = reference(&format!("{address}/r/i:1"));
        scratch.store.pull(&name, None, None).await.expect(head);
    }
}

#[tokio::test]
async fn a_login_asks_the_registry_itself_for_nothing_but_whether_it_takes_the_credentials() {
    let (mirror, registry) = (TestRegistry::start().await, TestRegistry::start().await);
    mirror.fault(|_| Some(status(200)));
    registry.fault(|seen| {
        let refused = |text| with_header(status(401), "www-authenticate", text);
        match (seen.path.as_str(), seen.authorization.as_deref()) {
            ("/token", Some("Basic dTpw")) => Some(text(200, r#"{"token":"t"}"#)),
            ("/token", _) => Some(status(401)),
            ("/v2/", Some("Bearer t")) => Some(status(200)),
            _ => Some(refused("Bearer realm=\"/token\",service=\"s\"")),
        }
    });
    let scratch = Scratch::new().await;
    let hosts =
        format!("server = 'http://{}'\n[host.'http://{}']\n", registry.address, mirror.address);
    scratch.hosts("example.com", &hosts);
    let config = support::config(scratch.dir.path());
    rrun_images::login(&config, "example.com", &person()).await.unwrap();
    let seen = registry.seen();
    let asked: Vec<_> = seen.iter().map(|s| (s.path.as_str(), s.query.as_str())).collect();
    let v2 = ("/v2/", "ns=example.com");
    assert_eq!(asked, [v2, ("/token", "service=s"), v2]);
    let wrong = Credentials { password: "wr0ng".into(), source: "this login".into(), ..person() };
    let error = rrun_images::login(&config, "example.com", &wrong).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let error = error.to_string();
    let said = "(with credentials of this login, user \"u\"): token server http://";
    assert!(error.starts_with("login example.com: GET http://") && error.contains(said), "{error}");
    assert!(error.ends_with("401 unauthorized") && !error.contains("wr0ng"), "{error}");
    let error = rrun_images::login(&config, "127.0.0.1:1", &person()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(mirror.seen().len(), 0);
}
