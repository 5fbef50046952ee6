//! Deadlines, lost clients and panics over a real unix socket.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rrun_cri_api::v1::image_service_client::ImageServiceClient;
use rrun_cri_api::v1::runtime_service_client::RuntimeServiceClient;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Client, Cri, server};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::codegen::http::Uri;
use tonic::{Code, Request};

mod support;
use support::{Event, Raw, Scripted};

struct Served {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    cri: Arc<Scripted>,
    events: mpsc::UnboundedReceiver<Event>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("cri.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (cri, events) = Scripted::new();
        let cri = Arc::new(cri);
        let (stop, stopped) = oneshot::channel();
        let routes = server::Service::new(Arc::clone(&cri)).routes();
        let server = tokio::spawn(server::serve(listener, routes, async {
            let _ = stopped.await;
        }));
        Served { _folder: folder, socket, cri, events, stop, server }
    }

    async fn client(&self) -> Client {
        Client::connect(&format!("unix://{}", self.socket.display())).await.unwrap()
    }

    async fn runtime(&self) -> RuntimeServiceClient<Raw> {
        RuntimeServiceClient::with_origin(Raw::connect(&self.socket).await, origin())
    }

    async fn images(&self) -> ImageServiceClient<Raw> {
        ImageServiceClient::with_origin(Raw::connect(&self.socket).await, origin())
    }

    async fn next(&mut self) -> Event {
        within(self.events.recv()).await.unwrap()
    }
}

fn origin() -> Uri {
    Uri::from_static("http://localhost")
}

fn with_deadline<T>(message: T, value: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", value.parse().unwrap());
    request
}

/// Bounds a test that would hang.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("within 30 s")
}

#[tokio::test]
async fn a_pull_past_its_deadline_answers_deadline_exceeded_and_is_dropped() {
    let mut served = Served::start();
    let request = with_deadline(PullImageRequest::default(), "100m");
    let status = within(served.images().await.pull_image(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().starts_with("PullImage: "), "{status}");
    assert_eq!(served.next().await, Event::Entered);
    assert_eq!(served.next().await, Event::Dropped);
}

#[tokio::test]
async fn an_answer_that_was_encoded_in_parts_is_one_message() {
    let served = Served::start();
    let client = served.client().await;
    let listed = within(client.list_images(Default::default())).await.unwrap();
    let ids: Vec<&str> = listed.images.iter().map(|image| &*image.id).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[tokio::test]
async fn a_deadline_of_one_millisecond_is_deadline_exceeded_too() {
    let served = Served::start();
    let request = with_deadline(PullImageRequest::default(), "1m");
    let status = within(served.images().await.pull_image(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test]
async fn work_past_its_deadline_goes_on_to_its_end() {
    let mut served = Served::start();
    let request = with_deadline(RunPodSandboxRequest::default(), "100m");
    let status = within(served.runtime().await.run_pod_sandbox(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(served.next().await, Event::Entered);
    served.cri.release.notify_one();
    assert_eq!(served.next().await, Event::Finished);
}

#[tokio::test]
async fn work_of_a_client_that_vanishes_goes_on_and_a_pull_does_not() {
    let mut served = Served::start();
    let client = served.client().await;
    let run = tokio::spawn(async move { client.run_pod_sandbox(Default::default()).await });
    assert_eq!(served.next().await, Event::Entered);
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());

    let client = served.client().await;
    let pull = tokio::spawn(async move { client.pull_image(Default::default()).await });
    assert_eq!(served.next().await, Event::Entered);
    pull.abort();
    assert_eq!(served.next().await, Event::Dropped, "the pull, while the sandbox still waits");

    served.cri.release.notify_one();
    assert_eq!(served.next().await, Event::Finished);
}

#[tokio::test]
async fn a_panic_is_internal_and_names_the_rpc() {
    let served = Served::start();
    let client = served.client().await;
    let status = client.status(StatusRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(status.message(), "Status: the handler panicked: the cupboard is bare");

    let mut images = client.stream_images(StreamImagesRequest::default()).await.unwrap();
    let status = within(images.next()).await.unwrap().unwrap_err();
    assert_eq!(status.message(), "StreamImages: the handler panicked: half-way");

    let version = VersionRequest { version: "v1".into() };
    assert_eq!(client.version(version).await.unwrap().version, "v1", "the server lives on");
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_after_what_it_had() {
    let served = Served::start();
    let request = with_deadline(GetEventsRequest {}, "200m");
    let answer = within(served.runtime().await.get_container_events(request)).await.unwrap();
    let mut events = answer.into_inner();
    assert!(within(events.message()).await.unwrap().is_some());
    let status = within(events.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test]
async fn a_malformed_deadline_is_refused_by_name() {
    let served = Served::start();
    let request = with_deadline(VersionRequest::default(), "soon");
    let status = within(served.runtime().await.version(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "Version: malformed grpc-timeout \"soon\"");
}

#[tokio::test]
async fn messages_pass_up_to_sixteen_mebibytes() {
    let served = Served::start();
    let client = served.client().await;
    let exec = |timeout| ExecSyncRequest { timeout, ..Default::default() };
    let answer = client.exec_sync(exec((16 << 20) - 64)).await.unwrap();
    assert_eq!(answer.stdout.len(), (16 << 20) - 64);
    let status = client.exec_sync(exec(16 << 20)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn what_an_implementation_leaves_out_is_unimplemented_by_name() {
    let served = Served::start();
    let client = served.client().await;
    let status = client.image_fs_info(ImageFsInfoRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "ImageFsInfo is not implemented");
}

#[tokio::test]
async fn shutdown_lets_a_call_in_flight_end() {
    let mut served = Served::start();
    let client = served.client().await;
    let run = tokio::spawn(async move { client.run_pod_sandbox(Default::default()).await });
    assert_eq!(served.next().await, Event::Entered);
    served.stop.send(()).unwrap();
    served.cri.release.notify_one();
    within(run).await.unwrap().unwrap();
    within(served.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_endpoint_nobody_serves_is_named() {
    let status = Client::connect("unix:///nonexistent/x.sock").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let want = "connect unix:///nonexistent/x.sock: ENOENT";
    assert_eq!(status.message(), want);
    let status = Client::connect("ftp://x").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_connection_that_fails_is_told_with_its_reason() {
    let served = Served::start();
    let client = served.client().await;
    within(client.list_images(Default::default())).await.unwrap();
    std::fs::remove_file(&served.socket).unwrap();
    served.stop.send(()).unwrap();
    within(served.server).await.unwrap().unwrap();
    let status = within(client.list_images(Default::default())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "connection: ENOENT"));
}

/// As docker's socket does.
#[tokio::test]
async fn a_server_of_something_else_is_told_with_what_was_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("other.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = Client::connect(&format!("unix://{}", socket.display())).await.unwrap();
    let status = within(client.version(Default::default())).await.unwrap_err();
    let reason = status.message().strip_prefix("connection: ").unwrap();
    assert!(!reason.is_empty() && !reason.contains("transport error"), "{status}");
}

/// Whether the other side has not closed it.
fn is_open(stream: &UnixStream) -> bool {
    let mut settings = [0; 256];
    loop {
        match stream.try_read(&mut settings) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test]
async fn clients_that_never_call_make_room_for_others_and_half_a_request_keeps_nobody() {
    const CLIENTS: usize = 300;
    let mut served = Served::start();
    // HTTP/2's preface and no more; and one of a request that goes no further.
    let mut silent = Vec::new();
    for client in 0..CLIENTS {
        let mut stream = UnixStream::connect(&served.socket).await.unwrap();
        if client % 2 == 0 {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap();
        }
        silent.push(stream);
    }
    let client = served.client().await;
    within(client.version(VersionRequest::default())).await.unwrap();
    let calls = tokio::spawn({
        let client = client.clone();
        async move { client.run_pod_sandbox(Default::default()).await }
    });
    assert_eq!(served.next().await, Event::Entered);
    let some_are_left = async {
        loop {
            silent.retain(is_open);
            if silent.len() <= 64 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    within(some_are_left).await;
    assert!(!silent.is_empty());
    // Those that are about their calls stay.
    for _ in 0..CLIENTS {
        silent.push(UnixStream::connect(&served.socket).await.unwrap());
    }
    served.cri.release.notify_one();
    within(calls).await.unwrap().unwrap();
}
