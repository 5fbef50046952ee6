//! One host that may be asked for an image.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

/// A client certificate; without a key file the certificate's file holds the key too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
}

/// A host, as configured by `hosts.toml` or implied by the image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Base of all requests, without a slash at the end; `/v2` included unless overridden.
    pub base: Url,
    /// The path of `base` is used as it is.
    pub override_path: bool,
    /// May be asked for content by digest.
    pub may_pull: bool,
    /// May be asked which digest a tag has.
    pub may_resolve: bool,
    /// CA certificates in PEM files, beside the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates.
    pub client: Vec<Pair>,
    /// Certificates are not checked.
    pub skip_verify: bool,
    /// Sent with every request to this host, and to its token server.
    pub headers: Vec<(String, String)>,
    /// For the TCP connection.
    pub dial_timeout: Option<Duration>,
    /// The registry this stands in for: sent as `ns=`.
    pub namespace: Option<String>,
    /// Plain HTTP is tried when TLS fails.
    pub http_fallback: bool,
}

impl Host {
    /// A host by the URL of a `hosts.toml`; without a scheme it is https.
    pub(crate) fn from_url(text: &str, image_host: &str) -> Result<Host, String> {
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).map_err(|e| format!("host {text:?}: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!("host {text:?}: not an http or https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(format!("host {text:?}: user, password and query have no place here"));
        }
        // A mirror must know which registry is meant; the registry itself knows.
        let is_own = authority(&url) == upstream(image_host);
        let namespace = (!is_own).then(|| image_host.to_owned());
        Ok(Host {
            base: url,
            override_path: false,
            may_pull: true,
            may_resolve: true,
            ca: Vec::new(),
            client: Vec::new(),
            skip_verify: false,
            headers: Vec::new(),
            dial_timeout: None,
            namespace,
            http_fallback: false,
        })
    }

    /// Applies what depends on several keys: the path, and TLS on an http URL.
    pub(crate) fn settle(&mut self) {
        let path = self.base.path().trim_end_matches('/').to_owned();
        let path = match self.override_path || path.ends_with("/v2") {
            true => path,
            false => format!("{path}/v2"),
        };
        self.base.set_path(&path);
        let has_tls = self.skip_verify || !self.ca.is_empty() || !self.client.is_empty();
        if self.base.scheme() == "http" && has_tls && self.base.port_or_known_default() != Some(80)
        {
            // The scheme of a URL with a port can always be changed between http and https.
            let _ = self.base.set_scheme("https");
            self.http_fallback = true;
        }
    }

    /// Host and port, as credentials name it.
    pub fn authority(&self) -> String {
        authority(&self.base)
    }
}

/// Host, and the port unless it is the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where a registry really is.
fn upstream(image_host: &str) -> &str {
    if image_host == "docker.io" { "registry-1.docker.io" } else { image_host }
}

/// The host that the image's own name implies; none if the name makes no URL.
pub(crate) fn implied(image_host: &str) -> Vec<Host> {
    let place = upstream(image_host);
    let Ok(mut host) = Host::from_url(&format!("https://{place}"), image_host) else {
        return Vec::new();
    };
    host.namespace = None;
    if is_loopback(&host.base) {
        match written_port(image_host) {
            Some(80) => {
                host.base.set_port(None).ok();
                host.base.set_scheme("http").ok();
            }
            Some(443) | None => host.skip_verify = true,
            Some(_) => {
                host.skip_verify = true;
                host.http_fallback = true;
            }
        }
    }
    host.settle();
    vec![host]
}

fn written_port(image_host: &str) -> Option<u16> {
    image_host.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// Whether the URL is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
