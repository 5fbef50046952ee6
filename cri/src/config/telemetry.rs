//! What the daemon tells of itself: `[metrics]`, `[tracing]`, and how its log is written.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::SocketAddr;

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where `/metrics`, `/healthz` and `/readyz` are served, on loopback; without one they are not,
    /// and nothing is counted for them.
    #[serde(deserialize_with = "loopback")]
    pub address: Option<SocketAddr>,
}

/// `[tracing]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// The collector that gets a trace of each call, by OTLP over gRPC; without one there are none.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: Option<String>,
    /// So many calls of a million are traced of whose caller nobody has decided it.
    #[serde(deserialize_with = "per_million")]
    pub sampling_rate_per_million: u32,
}

/// How the daemon's log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for a person.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// It is neither encrypted nor asks who wants to know.
fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let address = SocketAddr::deserialize(deserializer)?;
    match address.ip().is_loopback() {
        true => Ok(Some(address)),
        false => Err(D::Error::custom(format!(
            "{address} is not on loopback, and nobody is asked who wants to know: an agent of this \
             machine goes there"
        ))),
    }
}

/// As gRPC wants it. A collector on this machine, or a service mesh, has what encrypts.
fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let uri = text.parse::<http::Uri>();
    match uri {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => Ok(Some(text)),
        _ => Err(D::Error::custom(format!("{text:?} is no URL such as http://127.0.0.1:4317"))),
    }
}

fn per_million<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        rate @ 0..=1_000_000 => Ok(rate),
        _ => Err(D::Error::custom("want 0 to 1000000")),
    }
}
