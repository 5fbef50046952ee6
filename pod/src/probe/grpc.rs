//! The gRPC health check, `grpc.health.v1.Health/Check`, over plain HTTP/2.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::dial;
use super::http::PROBE_AGENT;
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

/// As gRPC's own client waits before it tries to connect again.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks the server at `address` (an IP, `port`) about `service`. The words are the kubelet's.
pub async fn check(address: &str, port: u16, service: &str, timeout: Duration) -> ProbeResult {
    let place = dial::place(address, port);
    let endpoint = Endpoint::from_shared(format!("http://{place}"));
    let endpoint = match endpoint.and_then(|endpoint| endpoint.user_agent(PROBE_AGENT)) {
        Ok(endpoint) => endpoint,
        Err(e) => return ProbeResult::Error(format!("{place}: {e}")),
    };
    let deadline = Instant::now() + timeout;
    let Ok(channel) = timeout_at(deadline, connect(&endpoint)).await else {
        return ProbeResult::Failure(format!(
            "timeout: failed to connect service {place:?} within {timeout:?}: context deadline exceeded"
        ));
    };
    match timeout_at(deadline, ask(channel, service)).await {
        Ok(Ok(result)) => result,
        Ok(Err(status)) => failed(&status, timeout),
        Err(_) => failed(&Status::deadline_exceeded(""), timeout),
    }
}

/// Tries until there is a connection, as the kubelet's client does: a refusal is no answer.
async fn connect(endpoint: &Endpoint) -> Channel {
    loop {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

async fn ask(channel: Channel, service: &str) -> Result<ProbeResult, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|e| Status::unavailable(rrun_error::reason(&e)))?;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: ProstCodec<HealthRequest, HealthResponse> = ProstCodec::default();
    let request = Request::new(HealthRequest { service: service.to_owned() });
    let reply = client.unary(request, path, codec).await?;
    let name = match reply.get_ref().status {
        SERVING => return Ok(ProbeResult::Success("service healthy".to_owned())),
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    };
    Ok(ProbeResult::Failure(format!("service unhealthy (responded with {name:?})")))
}

fn failed(status: &Status, timeout: Duration) -> ProbeResult {
    let message = status.message();
    ProbeResult::Failure(match status.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ),
        Code::DeadlineExceeded => {
            format!("timeout: health rpc did not complete within {timeout:?}")
        }
        code => {
            format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {message}")
        }
    })
}
