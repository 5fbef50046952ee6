//! `/metrics`, `/healthz` and `/readyz` over plain HTTP.

use super::Metrics;
use crate::health;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Clients at a time: scrapers and probes of this machine.
const CLIENTS: usize = 32;

/// A client may take so long for its request, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(30);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves on `listener` for ever. `socket` is where the CRI is served.
pub async fn serve(listener: TcpListener, metrics: Metrics, socket: PathBuf) {
    let shared = Arc::new((metrics, socket));
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        // Nobody closes it.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let (metrics, socket) = &*shared;
                    connection(stream, |request| answer(request, metrics, socket)).await;
                    drop(place);
                });
            }
            // Want of descriptors, or a client that left at once: both pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection<A: Future<Output = Answer>>(
    stream: TcpStream,
    answer: impl Fn(Request<Incoming>) -> A,
) {
    let service = service_fn(|request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http1::Builder::new()
        // The time is that of the whole, below.
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        // One that is idle would keep its place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that vanishes, or is too slow, is no event.
    drop(timeout(PATIENCE, connection).await);
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, metrics: &Metrics, socket: &Path) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => match metrics.text() {
            Ok(text) => response(StatusCode::OK, prometheus_text::CONTENT_TYPE, text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/healthz" => told(health::answers(socket).await),
        "/readyz" => told(metrics.service.readiness().await),
        _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz, /readyz\n".to_owned()),
    }
}

fn told(found: Result<(), String>) -> Answer {
    match found {
        Ok(()) => plain(StatusCode::OK, "ok\n".to_owned()),
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn plain(status: StatusCode, text: String) -> Answer {
    response(status, PLAIN, text)
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Whether the connection of a client that has sent this, and reads so much, ends by itself.
    async fn ends(sent: &str, reads: usize) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        // More than lies in the buffers of a socket.
        let answer = async |_| plain(StatusCode::OK, "x".repeat(64 << 20));
        let served = timeout(Duration::from_secs(3600), connection(stream, answer));
        let reads = async {
            let mut read = vec![0; reads];
            client.read_exact(&mut read).await.map(drop)
        };
        // The client is there to its end.
        let (served, read) = tokio::join!(served, reads);
        read.unwrap();
        served.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_end_its_request_or_does_not_read_the_answer_is_left() {
        for sent in
            ["", "GET /metrics HT", "GET / HTTP/1.1\r\nHost: x\r\nA: b", "GET / HTTP/1.1\r\n\r\n"]
        {
            assert!(ends(sent, 0).await, "{sent:?}");
        }
        assert!(ends("GET / HTTP/1.1\r\n\r\n", 15).await);
    }
}
