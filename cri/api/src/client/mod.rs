//! The CRI trait over a gRPC channel.

use async_trait::async_trait;
use futures::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use crate::v1::*;
use crate::{Cri, MAX_MESSAGE_BYTES, Messages};

// The trait, one call for each RPC of the contract.
include!(concat!(env!("OUT_DIR"), "/client.rs"));

/// A CRI server behind one channel. Clones share the connection, which is made again by itself
/// after the server restarted. Calls have no deadline of their own: bound them where they are
/// made, as dropping a call tells the server.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to `unix:///run/x.sock`, an absolute path, or `http://host:port`.
    ///
    /// # Errors
    /// `InvalidArgument` for another form, `Unavailable` when nobody answers there.
    pub async fn connect(endpoint: &str) -> Result<Client, Status> {
        let channel = parse(endpoint)?
            .connect()
            .await
            .map_err(|e| Status::unavailable(format!("connect {endpoint}: {}", innermost(&e))))?;
        Ok(Client { channel })
    }

    /// As [`Client::connect`], but dials with the first call. Wants a tokio runtime around it.
    ///
    /// # Errors
    /// `InvalidArgument` for an endpoint of another form.
    pub fn connect_lazy(endpoint: &str) -> Result<Client, Status> {
        Ok(Client { channel: parse(endpoint)?.connect_lazy() })
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

fn parse(endpoint: &str) -> Result<Endpoint, Status> {
    let uri = match endpoint {
        e if e.starts_with("unix:///") || e.starts_with("http://") => e.to_owned(),
        e if e.starts_with('/') => format!("unix://{e}"),
        e => {
            return Err(Status::invalid_argument(format!(
                "endpoint {e:?}: want unix:///path, /path or http://host:port"
            )));
        }
    };
    Endpoint::from_shared(uri)
        .map_err(|e| Status::invalid_argument(format!("endpoint {endpoint:?}: {e}")))
}

/// Why a call failed. Where it was the connection and no answer, tonic says "transport error" or
/// "tcp connect error", and of some that it does not know what failed.
fn told(status: Status) -> Status {
    let Some(source) = std::error::Error::source(&status) else { return status };
    let reason = format!("connection: {}", innermost(source));
    let code = if status.code() == Code::Unknown { Code::Unavailable } else { status.code() };
    Status::new(code, reason)
}

/// tonic says "transport error"; the reason is at the end of the chain.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => rrun_error::reason(error),
    }
}
