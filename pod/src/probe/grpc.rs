//! The gRPC health check, `grpc.health.v1.Health/Check`, over plain HTTP/2.

use std::time::Duration;

use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::result::ProbeResult;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; 1 is SERVING.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// Asks the server at `address` (an IP, `port`) about `service`.
pub async fn check(address: &str, port: u16, service: &str, timeout: Duration) -> ProbeResult {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let authority = format!("{host}:{port}");
    let work = ask(&authority, service);
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => ProbeResult::Failure(format!(
            "timeout: failed to connect service \"{authority}\" within {timeout:?}: context deadline exceeded"
        )),
    }
}

async fn ask(authority: &str, service: &str) -> ProbeResult {
    let endpoint = match Endpoint::from_shared(format!("http://{authority}")) {
        Ok(endpoint) => endpoint.user_agent(super::http::PROBE_AGENT),
        Err(e) => return ProbeResult::Error(format!("{authority}: {e}")),
    };
    let channel = match endpoint {
        Ok(endpoint) => endpoint.connect().await,
        Err(e) => return ProbeResult::Error(format!("{authority}: {e}")),
    };
    let mut client = match channel {
        Ok(channel) => Grpc::new(channel),
        Err(e) => {
            return ProbeResult::Failure(format!(
                "error: failed to connect service at \"{authority}\": {e}"
            ));
        }
    };
    if let Err(e) = client.ready().await {
        return ProbeResult::Failure(format!("error: health rpc probe failed: {e}"));
    }
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: ProstCodec<HealthRequest, HealthResponse> = ProstCodec::default();
    let request = Request::new(HealthRequest { service: service.to_owned() });
    match client.unary(request, path, codec).await {
        Ok(reply) if reply.get_ref().status == SERVING => {
            ProbeResult::Success(format!("service healthy (responded with {SERVING})"))
        }
        Ok(reply) => {
            let name = match reply.get_ref().status {
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            };
            ProbeResult::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Err(e) if e.code() == Code::Unimplemented => ProbeResult::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            e.message()
        )),
        Err(e) => ProbeResult::Failure(format!("error: health rpc probe failed: {}", e.message())),
    }
}
