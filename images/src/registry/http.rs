//! One HTTP exchange, and what its failure means.

use std::error::Error as _;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use rrun_error::printable_line;
use serde::Deserialize;

use super::coding::Decoder;
use super::pace::{Pace, Stall};
use crate::error::{Error, Hint, Kind, Result};

/// From the request to the head of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of a body.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a request; fails only if there is no answer.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response> {
    match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(e)) => Err(to_error(e)),
        Err(_) => Err(Error::new(Kind::Unavailable, "no answer within 60 s")),
    }
}

/// What reqwest says, without the URL that the context has already, down to the cause.
pub(crate) fn to_error(e: reqwest::Error) -> Error {
    if e.is_connect() && e.is_timeout() {
        return Error::new(Kind::Unavailable, "no connection within the dial timeout")
            .with_hint(Some(Hint::Unreached));
    }
    let is_connect = e.is_connect();
    let e = e.without_url();
    let mut kind = Kind::Unavailable;
    let mut is_tls = false;
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            is_tls = true;
            if is_refusal(tls) {
                kind = Kind::Denied;
            }
        }
        text = rrun_error::reason(inner);
        // What an io::Error wraps is itself to it, and not its source.
        let io = inner.downcast_ref::<io::Error>();
        // The connection was there and ended in the middle of the handshake.
        is_tls |= io.is_some_and(|io| {
            use io::ErrorKind as E;
            matches!(io.kind(), E::UnexpectedEof | E::ConnectionReset | E::ConnectionAborted)
        });
        cause = io.and_then(io::Error::get_ref).map_or_else(|| inner.source(), |w| Some(w));
    }
    let hint = match (is_connect, is_tls) {
        (true, true) => Some(Hint::NotTls),
        (true, false) => Some(Hint::Unreached),
        (false, _) => None,
    };
    Error::new(kind, text).with_hint(hint)
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

/// The next piece of a body, which comes at this pace.
pub(crate) async fn piece(
    response: &mut Response,
    pace: &mut Pace,
) -> Result<Option<bytes::Bytes>> {
    let asked = Instant::now();
    match tokio::time::timeout(IDLE_TIMEOUT, response.chunk()).await {
        Ok(Ok(Some(piece))) => {
            pace.came(piece.len() as u64, asked.elapsed())?;
            Ok(Some(piece))
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err(e)) => Err(to_error(e)),
        Err(_) => Err(Error::new(Kind::Unavailable, "nothing came for 30 s")),
    }
}

/// A whole body of at most `largest` bytes, its content coding undone.
pub(crate) async fn body(mut response: Response, largest: u64) -> Result<Vec<u8>> {
    let mut decoder = Decoder::of(response.headers())?;
    let mut pace = Pace::new(Stall::default());
    let mut body = Vec::new();
    let mut add = |piece: &[u8]| {
        if (body.len() + piece.len()) as u64 > largest {
            return Err(Error::invalid(format_args!("the answer is larger than {largest} bytes")));
        }
        body.extend_from_slice(piece);
        Ok(())
    };
    while let Some(mut piece) = piece(&mut response, &mut pace).await? {
        match &mut decoder {
            Some(decoder) => {
                while !piece.is_empty() {
                    add(&decoder.decode(&mut piece)?)?;
                }
            }
            None => add(&piece)?,
        }
    }
    if let Some(decoder) = decoder {
        add(&decoder.finish()?)?;
    }
    Ok(body)
}

/// Where the answer sends us.
pub(crate) fn redirect(headers: &HeaderMap, status: StatusCode, at: &Url) -> Option<Result<Url>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(LOCATION)?;
    let text = String::from_utf8_lossy(location.as_bytes());
    Some(match at.join(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(Error::invalid(format_args!("{:?} is no way to go", url.scheme()))),
        Err(e) => Err(Error::invalid(e)),
    })
}

/// The error of an answer whose status is one, with the registry's own words if it has some.
pub(crate) async fn refusal(response: Response) -> Error {
    let status = response.status();
    let wait = retry_after(response.headers());
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
    let hint = match status.as_u16() {
        429 => Some(Hint::Busy(wait)),
        503 if wait.is_some() => Some(Hint::Busy(wait)),
        416 => Some(Hint::NoRanges),
        _ => None,
    };
    Error::new(kind(status), text).with_hint(hint)
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            Some(at.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

fn kind(status: StatusCode) -> Kind {
    match status.as_u16() {
        404 | 410 => Kind::NotFound,
        401 | 403 | 407 => Kind::Denied,
        // Will not be implemented by the next try either.
        501 | 505 => Kind::Invalid,
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
    let cut = |text: &str, chars| text.chars().take(chars).collect::<String>();
    Some(printable_line(&format!("{}: {}", cut(&word.code, 64), cut(&word.message, 200))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_in_seconds_or_a_date_and_anything_else_is_none() {
        let read =
            |text: &str| retry_after(&[(RETRY_AFTER, text.parse().unwrap())].into_iter().collect());
        assert_eq!(read("5"), Some(Duration::from_secs(5)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(read("Sat, 06 Nov 2094 08:49:37 GMT").unwrap() > Duration::from_secs(86_400));
        assert_eq!((read("soon"), read("-1"), read("")), (None, None, None));
    }
}
