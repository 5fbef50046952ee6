//! Which protocol a request's upgrade leads to, and the answer to it.

use http::header::{
    ALLOW, CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(super) type Answer = Response<Full<Bytes>>;

const SPDY: &str = "SPDY/3.1";
const PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// Exec and attach over SPDY, best first. v5 differs from v4 over WebSocket only.
const EXEC_SPDY: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const EXEC_WEBSOCKET: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];
const FORWARD_SPDY: &[&str] = &["portforward.k8s.io"];
/// SPDY in WebSocket messages.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const FORWARD_WEBSOCKET: &[&str] = &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Spdy,
    WebSocket,
}

/// What both sides agreed on; `protocol` is empty when a WebSocket client named none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) transport: Transport,
    pub(super) protocol: &'static str,
}

/// Reads the request; the error is the answer that refuses it.
pub(super) fn agree(
    forward: bool,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Agreed, Box<Answer>> {
    if method != Method::GET && method != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or POST");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return Err(Box::new(answer));
    }
    if !names(headers, CONNECTION, "upgrade") {
        return Err(bad("no \"Connection: Upgrade\""));
    }
    if names(headers, UPGRADE, "websocket") {
        websocket(forward, headers)
    } else if names(headers, UPGRADE, SPDY) {
        spdy(forward, headers)
    } else {
        Err(bad("want \"Upgrade: SPDY/3.1\" or \"Upgrade: websocket\""))
    }
}

fn spdy(forward: bool, headers: &HeaderMap) -> Result<Agreed, Box<Answer>> {
    let supported = if forward { FORWARD_SPDY } else { EXEC_SPDY };
    let offered = tokens(headers, PROTOCOL);
    if offered.is_empty() {
        return Err(bad("no X-Stream-Protocol-Version"));
    }
    let protocol = first_common(&offered, supported)?;
    Ok(Agreed { transport: Transport::Spdy, protocol })
}

fn websocket(forward: bool, headers: &HeaderMap) -> Result<Agreed, Box<Answer>> {
    if !names(headers, SEC_WEBSOCKET_VERSION, "13") || !headers.contains_key(SEC_WEBSOCKET_KEY) {
        return Err(bad("want Sec-WebSocket-Version 13 and a Sec-WebSocket-Key"));
    }
    let supported = if forward { FORWARD_WEBSOCKET } else { EXEC_WEBSOCKET };
    let offered = tokens(headers, SEC_WEBSOCKET_PROTOCOL);
    let protocol = if offered.is_empty() { "" } else { first_common(&offered, supported)? };
    Ok(Agreed { transport: Transport::WebSocket, protocol })
}

fn first_common(
    offered: &[&str],
    supported: &'static [&'static str],
) -> Result<&'static str, Box<Answer>> {
    let common = offered.iter().find_map(|o| supported.iter().find(|s| *s == o));
    common.copied().ok_or_else(|| {
        let text = format!("unable to upgrade: of {offered:?} none is among {supported:?}");
        let mut answer = plain(StatusCode::FORBIDDEN, text);
        for name in supported {
            answer.headers_mut().append(ACCEPTED, HeaderValue::from_static(name));
        }
        Box::new(answer)
    })
}

/// The 101 that seals `agreed`.
pub(super) fn switch(agreed: Agreed, headers: &HeaderMap) -> Answer {
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let out = answer.headers_mut();
    out.clear();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let protocol = HeaderValue::from_static(agreed.protocol);
    match agreed.transport {
        Transport::Spdy => {
            out.insert(UPGRADE, HeaderValue::from_static(SPDY));
            out.insert(PROTOCOL, protocol);
        }
        Transport::WebSocket => {
            out.insert(UPGRADE, HeaderValue::from_static("websocket"));
            let key = headers.get(SEC_WEBSOCKET_KEY).map_or(&b""[..], HeaderValue::as_bytes);
            // Base64 is always a valid header value.
            if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
                out.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
            if !agreed.protocol.is_empty() {
                out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            }
        }
    }
    answer
}

/// An answer of text.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text.into())));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, text);
    answer
}

fn bad(text: &str) -> Box<Answer> {
    Box::new(plain(StatusCode::BAD_REQUEST, format!("unable to upgrade: {text}")))
}

/// The tokens of all lines of a header, in order.
fn tokens(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    let lines = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|l| l.split(',')).map(str::trim).filter(|t| !t.is_empty()).collect()
}

fn names(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).iter().any(|t| t.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = [(&'static str, &'static str)];

    fn headers(lines: &Lines) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const SPDY_UPGRADE: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    const WEBSOCKET_UPGRADE: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn protocol(forward: bool, lines: &Lines) -> Result<String, u16> {
        match agree(forward, &Method::POST, &headers(lines)) {
            Ok(agreed) => Ok(agreed.protocol.to_owned()),
            Err(answer) => Err(answer.status().as_u16()),
        }
    }

    #[test]
    fn the_first_offered_protocol_that_is_known_is_taken() {
        const SPDY: &str = "x-stream-protocol-version";
        const SOCKET: &str = "sec-websocket-protocol";
        let [a, b] = SPDY_UPGRADE;
        let [w, x, y, z] = WEBSOCKET_UPGRADE;
        let v4 = "v4.channel.k8s.io";
        let table: &[(bool, &Lines, Result<&str, u16>)] = &[
            (false, &[a, b, (SPDY, "v5.channel.k8s.io"), (SPDY, v4)], Ok(v4)),
            (false, &[a, b, (SPDY, "v5.channel.k8s.io, channel.k8s.io")], Ok("channel.k8s.io")),
            (false, &[a, b, (SPDY, "v9")], Err(403)),
            (false, &[a, b], Err(400)),
            (false, &[b, (SPDY, v4)], Err(400)),
            (false, &[a, (SPDY, v4)], Err(400)),
            (true, &[a, b, (SPDY, "portforward.k8s.io")], Ok("portforward.k8s.io")),
            (true, &[a, b, (SPDY, v4)], Err(403)),
            (false, &[w, x, y, z, (SOCKET, "v5.channel.k8s.io")], Ok("v5.channel.k8s.io")),
            (false, &[w, x, y, z], Ok("")),
            (false, &[w, x, y, z, (SOCKET, TUNNEL)], Err(403)),
            (false, &[w, x, y], Err(400)),
            (true, &[w, x, y, z, (SOCKET, TUNNEL)], Ok(TUNNEL)),
            (true, &[w, x, y, z, (SOCKET, "v5.channel.k8s.io")], Err(403)),
        ];
        for (forward, lines, want) in table {
            assert_eq!(protocol(*forward, lines).as_deref(), want.as_ref().copied(), "{lines:?}");
        }
    }

    #[test]
    fn a_refusal_lists_what_would_be_accepted() {
        let [a, b] = SPDY_UPGRADE;
        let lines = headers(&[a, b, ("x-stream-protocol-version", "v9")]);
        let answer = agree(false, &Method::POST, &lines).unwrap_err();
        let accepted: Vec<_> = answer.headers().get_all(ACCEPTED).into_iter().collect();
        assert_eq!(accepted, EXEC_SPDY);
    }

    #[test]
    fn the_websocket_answer_is_that_of_the_rfc() {
        let lines = headers(&WEBSOCKET_UPGRADE);
        let agreed = agree(false, &Method::GET, &lines).unwrap();
        let answer = switch(agreed, &lines);
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!answer.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }
}
