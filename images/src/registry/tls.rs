//! The HTTP client of one host: TLS roots, client certificates, timeouts, proxy.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use super::folder;
use super::host::{Host, Pair};
use crate::error::{Context, Error, Result};

/// As containerd's.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The client for `host`.
///
/// HTTP/1.1 only: every registry and blob store speaks it, and a connection of its own for each
/// layer shares no flow-control window with the others. Redirects are followed by hand, because
/// of the headers.
pub(crate) fn client(host: &Host) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(host.dial_timeout.unwrap_or(DIAL_TIMEOUT))
        .http1_only()
        // What proxies make of headers, none of which we need: Go's clients take it as well.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .user_agent(concat!("rrun/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(config(host)?);
    if super::host::is_loopback(&host.base) {
        // As Go's clients do: a proxy's loopback is another machine's.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| Error::new(crate::Kind::Internal, e).context("set up HTTP"))
}

fn config(host: &Host) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(crate::Kind::Internal, e).context("set up TLS"))?;
    let builder = if host.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoVerifier(Arc::clone(&provider))))
    } else {
        builder.with_root_certificates(roots(host)?)
    };
    if host.client.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let all = host.client.iter().map(|pair| identity(pair, &provider)).collect::<Result<_>>()?;
    Ok(builder.with_client_cert_resolver(Arc::new(Identities(all))))
}

/// The client certificates of one host.
#[derive(Debug)]
struct Identities(Vec<Identity>);

#[derive(Debug)]
struct Identity {
    key: Arc<CertifiedKey>,
    /// Who issued the certificates of the chain, as a server names them.
    issuers: Vec<Vec<u8>>,
}

impl ResolvesClientCert for Identities {
    /// The first one that an authority issued whom the server names; the first one that it can
    /// check if it names nobody, or nobody that we know.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let fit = |i: &&Identity| i.key.key.choose_scheme(schemes).is_some();
        let named =
            |i: &&Identity| i.issuers.iter().any(|own| authorities.contains(&own.as_slice()));
        let mut fitting = self.0.iter().filter(fit);
        let found = self.0.iter().filter(fit).find(named).or_else(|| fitting.next());
        found.map(|identity| Arc::clone(&identity.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn identity(pair: &Pair, provider: &CryptoProvider) -> Result<Identity> {
    let pem = folder::read(&pair.cert).context(pair.cert.display())?;
    let chain = certificates(&pem).context(pair.cert.display())?;
    let issuers = chain.iter().map(|cert| {
        let cert = webpki::EndEntityCert::try_from(cert).map_err(Error::invalid)?;
        Ok(DistinguishedName::in_sequence(cert.issuer()).as_ref().to_vec())
    });
    let issuers = issuers.collect::<Result<_>>().context(pair.cert.display())?;
    let key_file = pair.key.as_ref().unwrap_or(&pair.cert);
    let pem = folder::read(key_file).context(key_file.display())?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|e| Error::invalid(e).context(key_file.display()))?;
    let key = CertifiedKey::from_der(chain, key, provider)
        .map_err(|e| Error::invalid(e).context(pair.cert.display()))?;
    Ok(Identity { key: Arc::new(key), issuers })
}

fn roots(host: &Host) -> Result<RootCertStore> {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        store
    });
    let mut store = system.clone();
    for file in &host.ca {
        let pem = folder::read(file).context(file.display())?;
        for certificate in certificates(&pem).context(file.display())? {
            store.add(certificate).map_err(|e| Error::invalid(e).context(file.display()))?;
        }
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(Error::invalid)?;
    if all.is_empty() { Err(Error::invalid("no certificate in it")) } else { Ok(all) }
}

/// For `skip_verify`: any certificate is taken; that the peer has its key is still checked.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
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
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::implied;
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn a_fifo_in_place_of_a_certificate_is_named_and_waited_for_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let host = || implied("example.com").remove(0);
        let pair = Pair { cert: fifo.clone(), key: None };
        for host in
            [Host { ca: vec![fifo.clone()], ..host() }, Host { client: vec![pair], ..host() }]
        {
            let refused = client(&host).unwrap_err().to_string();
            assert!(refused.contains("fifo: not a regular file"), "{refused}");
        }
    }
}
