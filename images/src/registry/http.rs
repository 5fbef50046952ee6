//! One HTTP exchange, and what its failure means.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// From the request to the head of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of a body.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a request; fails only if there is no answer.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response> {
    match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(e)) => Err(failure(e)),
        Err(_) => Err(Error::new(Kind::Unavailable, "no answer within 60 s")),
    }
}

/// What reqwest says, without the URL that the context has already, down to the cause.
pub(crate) fn failure(e: reqwest::Error) -> Error {
    if e.is_connect() && e.is_timeout() {
        return Error::new(Kind::Unavailable, "no connection within the dial timeout");
    }
    let e = e.without_url();
    let mut kind = Kind::Unavailable;
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(inner) = cause {
        if inner.downcast_ref().is_some_and(is_refusal) {
            kind = Kind::Denied;
        }
        text = inner.to_string();
        // What an io::Error wraps is itself to it, and not its source.
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = io.map_or_else(|| inner.source(), |wrapped| Some(wrapped));
    }
    Error::new(kind, text)
}

/// Whether one side refused the other's certificate or terms, which another try does not change.
fn is_refusal(e: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    match e {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::PeerIncompatible(_) => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::HandshakeFailure
                | Alert::InsufficientSecurity
                | Alert::ProtocolVersion
                | Alert::UnknownCA
                | Alert::UnrecognisedName
                | Alert::UnsupportedCertificate
        ),
        _ => false,
    }
}

/// The next piece of a body.
pub(crate) async fn piece(response: &mut Response) -> Result<Option<bytes::Bytes>> {
    match tokio::time::timeout(IDLE_TIMEOUT, response.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(e)) => Err(failure(e)),
        Err(_) => Err(Error::new(Kind::Unavailable, "nothing came for 30 s")),
    }
}

/// A whole body of at most `largest` bytes.
pub(crate) async fn body(mut response: Response, largest: u64) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = piece(&mut response).await? {
        if (body.len() + piece.len()) as u64 > largest {
            return Err(Error::invalid(format_args!("the answer is larger than {largest} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The error of an answer whose status is one, with the registry's own words if it has some.
pub(crate) async fn refusal(response: Response) -> Error {
    let status = response.status();
    let words = match body(response, 64 << 10).await {
        Ok(body) => registry_words(&body),
        Err(_) => None,
    };
    let name = status.canonical_reason().unwrap_or_default().to_lowercase();
    let status_text = format!("{} {name}", status.as_u16());
    let text = match words {
        Some(words) => format!("{}: {words}", status_text.trim_end()),
        None => status_text.trim_end().to_owned(),
    };
    Error::new(kind(status), text)
}

fn kind(status: StatusCode) -> Kind {
    match status.as_u16() {
        404 | 410 => Kind::NotFound,
        401 | 403 | 407 => Kind::Denied,
        408 | 425 | 429 | 500..=599 => Kind::Unavailable,
        _ => Kind::Invalid,
    }
}

/// `code: message` of the first error in a registry's answer, cut to a line.
pub fn registry_words(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Word>,
    }
    #[derive(Deserialize)]
    struct Word {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let word = answer.errors.into_iter().next()?;
    let line: String =
        word.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    Some(format!("{}: {line}", word.code.chars().take(64).collect::<String>()))
}
