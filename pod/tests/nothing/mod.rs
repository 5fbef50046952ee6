//! A runtime that does nothing, and a gRPC health server that says what it is asked to.

use rrun_cri_api::Cri;

/// Network probes ask the runtime for nothing.
pub struct Nothing;

impl Cri for Nothing {}

/// `grpc.health.v1` on loopback: `` is serving, `down` is not, the rest is unknown.
pub async fn health_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("down", tonic_health::ServingStatus::NotServing).await;
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    port
}
