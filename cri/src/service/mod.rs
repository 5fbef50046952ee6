//! The handlers: convert, call, convert back.
//!
//! The daemon serves a [`Service`] over gRPC; the stand-alone tool calls one in its own process.

mod backend;
mod calls;
mod descriptor;
mod events;
mod forwarded;
mod handlers;
mod image;
mod kubelet;
mod status;

use crate::config::Config;
use crate::convert;
use crate::current::Current;
use crate::streaming::Streaming;
use rrun_cni::Network;
use rrun_engine::{Engine, Owner};
use rrun_images::Store;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Everything that answers a CRI call, for one owner's pods.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    images: Store,
    network: Network,
    owner: Owner,
    config: watch::Receiver<Arc<Config>>,
    streaming: Arc<Streaming>,
    clients: Arc<kubelet::Clients>,
    told: Arc<handlers::Told>,
    sent: Arc<Mutex<image::Sent>>,
    /// Ends the streams of events, which have no end of their own.
    ending: CancellationToken,
}

/// The parts that a [`Service`] joins.
pub struct Parts {
    /// Pods and containers.
    pub engine: Engine,
    /// Images.
    pub images: Store,
    /// Networks.
    pub network: Network,
}

impl Service {
    /// Starts the streaming server and joins the parts for `owner`.
    ///
    /// # Errors
    /// When the streaming address cannot be listened on, or its certificate cannot be used.
    pub async fn start(parts: Parts, owner: Owner, current: &Current) -> Result<Service, String> {
        let asked = current.config();
        let wrong = |error: io::Error| {
            format!("streaming on {}: {}", asked.streaming.address, rrun_error::reason(&error))
        };
        let listener = TcpListener::bind(asked.streaming.address).await.map_err(wrong)?;
        // Nobody is served yet.
        let tls = asked.streaming.open_tls()?;
        let config = current.reader();
        let backend = backend::EngineStreams::new(parts.engine.clone(), owner.clone());
        let streaming =
            Arc::new(Streaming::start(listener, Arc::new(backend), tls).map_err(wrong)?);
        let Parts { engine, images, network } = parts;
        let ending = CancellationToken::new();
        let (clients, told, sent) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Service {
            engine,
            images,
            network,
            owner,
            config,
            streaming,
            clients,
            told,
            sent,
            ending,
        })
    }

    /// The engine in figures.
    pub(crate) fn engine_counts(&self) -> rrun_engine::Counts {
        self.engine.counts(&self.owner)
    }

    /// The images in figures.
    pub(crate) fn image_counts(&self) -> rrun_images::Counts {
        self.images.counts()
    }

    /// How many pulls run.
    pub(crate) fn pulls(&self) -> usize {
        self.images.pulling().len()
    }

    /// How many clients have a stream.
    pub(crate) fn streams(&self) -> usize {
        self.streaming.clients()
    }

    /// Ends exec, attach and port-forward, and tells their clients so: to a client a connection
    /// that is merely cut looks like a command that has succeeded. Streams of events end as well:
    /// a daemon that waited for their clients would wait for ever.
    pub async fn end_streams(&self) {
        self.ending.cancel();
        self.streaming.shutdown().await;
    }
}

/// An error as the client gets it. Who looks at a node at night has the daemon's log, and not its
/// client's: it is logged too.
fn to_status(error: impl Into<rrun_engine::Error>) -> Status {
    let status = convert::status(&error.into());
    tracing::warn!(code = ?status.code(), "{}", status.message());
    status
}

/// What a request must have.
fn required<T>(value: Option<T>, what: &str) -> Result<T, Status> {
    value.ok_or_else(|| Status::invalid_argument(format!("{what} is missing")))
}
