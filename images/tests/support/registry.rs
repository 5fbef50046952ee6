//! A registry in this process, with faults on demand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rrun_images::Digest;

use super::TestImage;

pub type Body = BoxBody<Bytes, std::io::Error>;
/// A fault: sees the request, and may answer instead of the registry.
pub type Fault = Box<dyn FnMut(&Seen) -> Option<Response<Body>> + Send>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    pub headers: HashMap<String, String>,
    pub body: String,
}

#[derive(Default)]
struct State {
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    seen: Vec<Seen>,
    fault: Option<Fault>,
}

/// Listens on loopback until dropped.
#[derive(Clone)]
pub struct TestRegistry {
    pub address: String,
    state: Arc<Mutex<State>>,
    _server: Arc<Server>,
}

struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TestRegistry {
    pub async fn start() -> TestRegistry {
        TestRegistry::start_at("127.0.0.1:0").await.unwrap()
    }

    /// At an address that this host may not have.
    pub async fn start_at(address: &str) -> std::io::Result<TestRegistry> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let shared = Arc::clone(&shared);
                let service = hyper::service::service_fn(move |r| answer(Arc::clone(&shared), r));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(TestRegistry { address, state, _server: Arc::new(Server(server)) })
    }

    /// Serves the image under `repository:tag` and by digest.
    pub fn put(&self, repository: &str, tag: &str, image: &TestImage) {
        self.put_manifest(repository, tag, &image.manifest);
        let mut state = self.state.lock().unwrap();
        for (digest, bytes) in &image.blobs {
            state.blobs.insert(digest.to_string(), bytes.clone());
        }
    }

    pub fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let by_digest = format!("{repository}/manifests/{}", Digest::of(bytes));
        state.manifests.insert(by_digest, bytes.to_vec());
        state.manifests.insert(format!("{repository}/manifests/{tag}"), bytes.to_vec());
    }

    pub fn put_blob(&self, name: &Digest, bytes: &[u8]) {
        self.state.lock().unwrap().blobs.insert(name.to_string(), bytes.to_vec());
    }

    pub fn fault(&self, fault: impl FnMut(&Seen) -> Option<Response<Body>> + Send + 'static) {
        self.state.lock().unwrap().fault = Some(Box::new(fault));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many requests had this in their path.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|s| s.path.contains(part)).count()
    }

    pub fn blob(&self, digest: &str) -> Vec<u8> {
        self.state.lock().unwrap().blobs.get(digest).cloned().unwrap_or_default()
    }
}

pub fn status(code: u16) -> Response<Body> {
    text(code, "")
}

pub fn bytes(body: &[u8]) -> Response<Body> {
    whole(body)
}

pub fn text(code: u16, body: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|e: Infallible| match e {}).boxed();
    Response::builder().status(code).body(body).unwrap()
}

pub fn with_header(
    mut response: Response<Body>,
    name: &'static str,
    value: &str,
) -> Response<Body> {
    response.headers_mut().append(name, value.parse().unwrap());
    response
}

/// Promises all of `bytes` and breaks the connection after `end` of them.
pub fn cut(bytes: &[u8], end: usize) -> Response<Body> {
    let part = Bytes::copy_from_slice(&bytes[..end]);
    // hyper writes what it has when the body has nothing for it, so it must wait for a moment.
    let broken = futures::stream::once(async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Err(std::io::Error::other("cut on purpose"))
    });
    let pieces = futures::stream::iter([Ok(Frame::data(part))]).chain(broken).boxed();
    let body = BodyExt::boxed(StreamBody::new(Synced(Mutex::new(pieces))));
    let length = bytes.len().to_string();
    with_header(Response::new(body), "content-length", &length)
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let header =
        |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut seen = Seen {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        range: header("range"),
        headers: request
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_owned()))
            .collect(),
        body: String::new(),
    };
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    seen.body = String::from_utf8_lossy(&body).into_owned();
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    if let Some(response) = state.fault.as_mut().and_then(|fault| fault(&seen)) {
        return Ok(response);
    }
    Ok(serve(&state, &seen))
}

fn serve(state: &State, seen: &Seen) -> Response<Body> {
    let path = seen.path.strip_prefix("/v2/").unwrap_or_default();
    if let Some(bytes) = state.manifests.get(path) {
        let kind = match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(v) => v["mediaType"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::new(),
        };
        let response = match seen.method.as_str() {
            "HEAD" => with_header(whole(b""), "content-length", &bytes.len().to_string()),
            _ => whole(bytes),
        };
        let response = with_header(response, "content-type", &kind);
        return with_header(response, "docker-content-digest", &Digest::of(bytes).to_string());
    }
    let blob = path.rsplit_once("/blobs/").and_then(|(_, digest)| state.blobs.get(digest));
    let Some(bytes) = blob else {
        return text(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}"#);
    };
    match seen.wanted(bytes.len()) {
        Some(wanted) => partial(whole(&bytes[wanted.clone()]), &wanted, bytes.len()),
        _ => whole(bytes),
    }
}

/// As the bytes `sent` of so many.
pub fn partial(body: Response<Body>, sent: &Range<usize>, all: usize) -> Response<Body> {
    let range = format!("bytes {}-{}/{all}", sent.start, sent.end - 1);
    let mut response = with_header(body, "content-range", &range);
    *response.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
    response
}

impl Seen {
    /// The bytes of so many that are asked for, if not all are.
    pub fn wanted(&self, all: usize) -> Option<Range<usize>> {
        let (from, last) = self.range.as_deref()?.strip_prefix("bytes=")?.split_once('-')?;
        let to = last.parse().map_or(all, |last: usize| all.min(last + 1));
        let from = from.parse().ok()?;
        (from < to).then_some(from..to)
    }
}

fn whole(bytes: &[u8]) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(bytes)).map_err(|e: Infallible| match e {});
    Response::new(body.boxed())
}

/// Promises no length, sends `first` and then more without end.
pub fn endless(first: &[u8]) -> Response<Body> {
    let first = futures::stream::iter([Bytes::copy_from_slice(first)]);
    let more = futures::stream::repeat(Bytes::from(vec![b'x'; 16 << 10]));
    let pieces = first.chain(more).map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
    Response::new(BodyExt::boxed(StreamBody::new(Synced(Mutex::new(pieces.boxed())))))
}

/// Promises all of `bytes`, sends `end` of them and then nothing more.
pub fn stall(bytes: &[u8], end: usize) -> Response<Body> {
    let part = Bytes::copy_from_slice(&bytes[..end]);
    let first = futures::stream::iter([Ok::<_, std::io::Error>(Frame::data(part))]);
    let body = BodyExt::boxed(StreamBody::new(Synced(std::sync::Mutex::new(
        first.chain(futures::stream::pending()).boxed(),
    ))));
    with_header(Response::new(body), "content-length", &bytes.len().to_string())
}

/// Promises all of `bytes` from `from` on, and sends a byte of them now and then.
pub fn trickle(bytes: &[u8], from: usize) -> Response<Body> {
    let rest = bytes[from..].to_vec();
    let slowly = futures::stream::iter(rest.clone()).then(|byte| async move {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![byte])))
    });
    let body = BodyExt::boxed(StreamBody::new(Synced(Mutex::new(slowly.boxed()))));
    let response = with_header(Response::new(body), "content-length", &rest.len().to_string());
    match from {
        0 => response,
        _ => partial(response, &(from..bytes.len()), bytes.len()),
    }
}

/// Sends pieces of 16 KiB, each as soon as `turn` has come to its end.
pub fn paced<F>(bytes: &[u8], turn: impl Fn() -> F + Send + 'static) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let pieces: Vec<_> = bytes.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
    let slowly = futures::stream::iter(pieces).then(move |piece| {
        let turn = turn();
        async move {
            turn.await;
            Ok::<_, std::io::Error>(Frame::data(piece))
        }
    });
    let body = BodyExt::boxed(StreamBody::new(Synced(Mutex::new(slowly.boxed()))));
    with_header(Response::new(body), "content-length", &bytes.len().to_string())
}

struct Synced(std::sync::Mutex<futures::stream::BoxStream<'static, std::io::Result<Frame<Bytes>>>>);

impl futures::Stream for Synced {
    type Item = std::io::Result<Frame<Bytes>>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().unwrap().as_mut().poll_next(cx)
    }
}
