//! A scripted CRI, and a gRPC transport that leaves `grpc-timeout` to the server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Answer, Cri, Messages};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Status, async_trait};

/// What the scripted handlers saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Entered,
    Finished,
    Dropped,
}

/// Handlers that enter, wait to be released, and tell how they ended.
pub struct Scripted {
    pub release: Notify,
    events: mpsc::UnboundedSender<Event>,
}

impl Scripted {
    pub fn new() -> (Scripted, mpsc::UnboundedReceiver<Event>) {
        let (events, seen) = mpsc::unbounded_channel();
        (Scripted { release: Notify::new(), events }, seen)
    }

    async fn work(&self) {
        let mut guard = Guard { events: &self.events, finished: false };
        let _ = self.events.send(Event::Entered);
        self.release.notified().await;
        guard.finished = true;
    }
}

struct Guard<'a> {
    events: &'a mpsc::UnboundedSender<Event>,
    finished: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let event = if self.finished { Event::Finished } else { Event::Dropped };
        let _ = self.events.send(event);
    }
}

#[async_trait]
impl Cri for Scripted {
    async fn version(&self, r: VersionRequest) -> Result<VersionResponse, Status> {
        Ok(VersionResponse { version: r.version, ..Default::default() })
    }

    async fn status(&self, _: StatusRequest) -> Result<StatusResponse, Status> {
        panic!("the cupboard is bare")
    }

    async fn run_pod_sandbox(
        &self,
        _: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        self.work().await;
        Ok(RunPodSandboxResponse::default())
    }

    async fn pull_image(&self, _: PullImageRequest) -> Result<PullImageResponse, Status> {
        self.work().await;
        Ok(PullImageResponse::default())
    }

    async fn list_images_encoded(
        &self,
        _: ListImagesRequest,
    ) -> Result<Answer<ListImagesResponse>, Status> {
        let image = |id: &str| Image { id: id.to_owned(), ..Default::default() };
        let part = |id| ListImagesResponse { images: vec![image(id)] }.encode_to_vec().into();
        Ok(Answer::Encoded(["a", "b"].map(part).to_vec()))
    }

    async fn get_container_events(
        &self,
        _: GetEventsRequest,
    ) -> Result<Messages<ContainerEventResponse>, Status> {
        let first = stream::iter([Ok(ContainerEventResponse::default())]);
        Ok(first.chain(stream::pending()).boxed())
    }

    async fn stream_images(
        &self,
        _: StreamImagesRequest,
    ) -> Result<Messages<StreamImagesResponse>, Status> {
        Ok(stream::once(async { panic!("half-way") }).boxed())
    }

    /// Answers as many bytes as the timeout says.
    async fn exec_sync(&self, r: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        let stdout = vec![7; usize::try_from(r.timeout).unwrap()];
        Ok(ExecSyncResponse { stdout, ..Default::default() })
    }
}

/// HTTP/2 without tonic's channel, which would keep the deadline itself.
#[derive(Clone)]
pub struct Raw(SendRequest<Body>);

impl Raw {
    pub async fn connect(socket: &std::path::Path) -> Raw {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Raw(sender)
    }
}

impl Service<http::Request<Body>> for Raw {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
