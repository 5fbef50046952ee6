//! HTTP from the node into a pod: probes and hooks (`pkg/probe/http`).
//!
//! No certificate is checked, no proxy asked, no connection kept.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::dial;
use super::result::ProbeResult;
use crate::error::{Error, Kind, Result};
use crate::model::{HttpGet, Scheme};

/// What servers see of a probe.
pub const PROBE_AGENT: &str = "kube-probe/1.36";
/// What servers see of a hook.
pub const HOOK_AGENT: &str = "kube-lifecycle/1.36";
const MAX_REDIRECTS: usize = 10;
const MAX_BODY: usize = 10 << 10;

/// A request whose host and port are known.
#[derive(Clone, Debug)]
pub struct Fetch<'a> {
    /// The manifest's words.
    pub get: &'a HttpGet,
    /// The pod's address, or the manifest's host.
    pub host: &'a str,
    /// The port's number.
    pub port: u16,
    /// Seconds for all of it; `None` for no bound (hooks).
    pub timeout: Option<Duration>,
    /// The User-Agent, unless the manifest has one.
    pub agent: &'static str,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// At most 10 KiB of the body.
    pub body: String,
}

/// Sends the request. `Unavailable` if there is no answer, `Timeout` if it came too late.
pub async fn get(fetch: &Fetch<'_>, scheme: Scheme) -> Result<Response> {
    let url = url(fetch, scheme);
    send(fetch, &url).await.map_err(|e| to_error(&e, &url))
}

fn url(fetch: &Fetch<'_>, scheme: Scheme) -> String {
    let place = dial::place(fetch.host, fetch.port);
    let word = if scheme == Scheme::Https { "https" } else { "http" };
    let slash = if fetch.get.path.starts_with('/') { "" } else { "/" };
    format!("{word}://{place}{slash}{}", fetch.get.path)
}

fn to_error(e: &reqwest::Error, url: &str) -> Error {
    let kind = if e.is_timeout() { Kind::Timeout } else { Kind::Unavailable };
    Error::new(kind, words(e)).context(format!("Get {url:?}"))
}

/// What Go's client says, where it is known; else the error with its causes.
fn words(e: &reqwest::Error) -> String {
    if let (true, Some(io), Some(url)) = (e.is_connect(), os_error(e), e.url()) {
        // An IPv6 address has its brackets here.
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
        return dial::failure(&dial::place(host, port.unwrap_or_default()), io);
    }
    if e.is_timeout() {
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        return why.to_owned();
    }
    chain(e)
}

/// What the system refused, if that is the reason.
fn os_error(e: &reqwest::Error) -> Option<&io::Error> {
    let causes = std::iter::successors(e.source(), |cause| (*cause).source());
    let mut errors = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors.find(|error| error.raw_os_error().is_some())
}

async fn send(fetch: &Fetch<'_>, url: &str) -> reqwest::Result<Response> {
    let mut request = client()?.get(url);
    if let Some(timeout) = fetch.timeout {
        request = request.timeout(timeout);
    }
    let named = |name: &str| fetch.get.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !named("user-agent") {
        request = request.header("User-Agent", fetch.agent);
    }
    if !named("accept") {
        request = request.header("Accept", "*/*");
    }
    // What Go's client adds: to a probe's, as it keeps no connection; to a hook's, as it would unpack.
    let (name, value) =
        if fetch.timeout.is_some() { ("Connection", "close") } else { ("Accept-Encoding", "gzip") };
    if !named(name) {
        request = request.header(name, value);
    }
    for (name, value) in &fetch.get.headers {
        request = request.header(name, value);
    }
    let mut reply = request.send().await?;
    let status = reply.status().as_u16();
    let mut body = Vec::new();
    while body.len() < MAX_BODY {
        match reply.chunk().await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    body.truncate(MAX_BODY);
    Ok(Response { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Sends a hook's request. A server that answers HTTPS in plain HTTP is asked again without TLS,
/// and without what was meant for an encrypted connection only; true if it was.
pub async fn hook(fetch: &Fetch<'_>) -> Result<bool> {
    let scheme = fetch.get.scheme;
    let url = url(fetch, scheme);
    match send(fetch, &url).await {
        Ok(_) => Ok(false),
        Err(e) if scheme == Scheme::Https && is_no_tls(&e) => {
            let mut open = fetch.get.clone();
            open.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
            get(&Fetch { get: &open, ..fetch.clone() }, Scheme::Http).await?;
            Ok(true)
        }
        Err(e) => Err(to_error(&e, &url)),
    }
}

/// Whether the server answered the handshake with something that is no TLS.
fn is_no_tls(e: &reqwest::Error) -> bool {
    let mut cause = e.source();
    while let Some(inner) = cause {
        if let Some(rustls::Error::InvalidMessage(_)) = inner.downcast_ref() {
            return true;
        }
        // What an io::Error wraps is itself to it, and not its source.
        let io = inner.downcast_ref::<io::Error>();
        cause = io.and_then(io::Error::get_ref).map_or_else(|| inner.source(), |w| Some(w));
    }
    false
}

/// The probe's verdict on the answer.
pub async fn probe(fetch: &Fetch<'_>) -> ProbeResult {
    match get(fetch, fetch.get.scheme).await {
        Err(e) => ProbeResult::Failure(e.to_string()),
        Ok(reply) if (200..300).contains(&reply.status) => ProbeResult::Success(reply.body),
        Ok(reply) if (300..400).contains(&reply.status) => ProbeResult::Warning(format!(
            "Probe terminated redirects, Response body: {}",
            reply.body
        )),
        Ok(reply) => {
            ProbeResult::Failure(format!("HTTP probe failed with statuscode: {}", reply.status))
        }
    }
}

/// The client of all requests: what TLS takes to be set up is more than a request. It keeps no
/// connection, as the kubelet's keeps none, so that a probe meets what a new visitor meets.
fn client() -> reqwest::Result<reqwest::Client> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let made = new_client()?;
    Ok(CLIENT.get_or_init(|| made).clone())
}

fn new_client() -> reqwest::Result<reqwest::Client> {
    let redirects = Policy::custom(|attempt| {
        let first = attempt.previous().first().and_then(|url| url.host_str());
        if attempt.url().host_str() != first {
            attempt.stop()
        } else if attempt.previous().len() >= MAX_REDIRECTS {
            attempt.error("stopped after 10 redirects")
        } else {
            attempt.follow()
        }
    });
    reqwest::Client::builder()
        .redirect(redirects)
        .no_proxy()
        .pool_max_idle_per_host(0)
        // As Go's client writes them, for servers that read no other spelling.
        .http1_title_case_headers()
        .tls_backend_preconfigured(tls())
        .build()
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyServer(provider.clone()));
    let versions = rustls::ClientConfig::builder_with_provider(provider);
    // The provider is ours, and it has suites for both versions.
    let Ok(builder) = versions.with_safe_default_protocol_versions() else {
        unreachable!("ring speaks TLS 1.2 and 1.3")
    };
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // As Go's client: HTTP/2 where the server agrees to it during the handshake.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Accepts every certificate: a probe asks whether the server answers, not who it is. Signatures
/// are still checked, so that a broken server is not taken for a live one. The image store has the
/// same for `skip_verify`; no crate below both knows TLS.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The error with its causes, innermost last: reqwest's own words stop at "error sending request".
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&rrun_error::reason(inner));
        cause = inner.source();
    }
    text
}
