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

/// Clients at a time: scrapers and probes of this machine.
const CLIENTS: usize = 32;

/// A client may take so long for its request.
const PATIENCE: Duration = Duration::from_secs(10);

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
                let connection = connection(stream, Arc::clone(&shared));
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // Want of descriptors, or a client that left at once: both pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<(Metrics, PathBuf)>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&request, &shared.0, &shared.1).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        // One that is idle would keep its place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that vanishes is no event.
    drop(connection.await);
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: &Request<Incoming>, metrics: &Metrics, socket: &Path) -> Answer {
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
