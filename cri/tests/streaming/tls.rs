//! Streams within TLS.

use crate::client::{TRANSPORTS, client, code, run, stderr, stdout};
use crate::{Served, within};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rrun_cri::streaming::{Tls, TlsFiles};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An authority, in whose folder are its own certificate, and certificates with keys of others.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca"), pem("CERTIFICATE", root.der())).unwrap();
        let root = root.der().clone();
        Authority { folder, issuer: Issuer::new(params, key), root }
    }

    /// A certificate and its key, in PEM.
    fn issue(&self) -> [String; 2] {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        [pem("CERTIFICATE", cert.der()), pem("PRIVATE KEY", &key.serialize_der())]
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What a server is started with.
    fn files(&self, ca: Option<&str>) -> TlsFiles {
        let [cert, key] = self.issue();
        write(&self.at("cert"), &cert);
        write(&self.at("key"), &key);
        TlsFiles { cert: self.at("cert"), key: self.at("key"), ca: ca.map(|ca| self.at(ca)) }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// As who renews certificates does.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Asks for what is not there, as a client that trusts one authority: the certificate that it is shown
/// and the head of the answer.
async fn ask(
    url: &str,
    trusts: &Authority,
    shows: Option<[String; 2]>,
) -> io::Result<(CertificateDer<'static>, String)> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(trusts.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        None => builder.with_no_client_auth(),
        Some([cert, key]) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![cert], key).unwrap()
        }
    };
    let (host, _) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let stream = TcpStream::connect(host).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /exec/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    Ok((shown.into_owned(), String::from_utf8_lossy(&head).into_owned()))
}

async fn served(files: TlsFiles) -> Served {
    Served::start_with(100_000, Some(Tls::open(files).unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn input_output_and_the_exit_code_go_through_tls_whole() {
    let authority = Authority::new();
    let served = served(authority.files(None)).await;
    let input: Vec<u8> = (0..4_000_000u32).flat_map(u32::to_le_bytes).collect();
    for transport in TRANSPORTS {
        let Some(mut speaks) = client("exec", transport) else { return };
        let url = served.exec(&["say", "to out", "to err", "3"], "oe");
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        let said = within(speaks.args(["-stdout", "-stderr", &url]).output()).await.unwrap();
        assert_eq!(code(&said), 3, "{transport:?}: {}", stderr(&said));
        assert_eq!((stdout(&said).as_str(), stderr(&said).as_str()), ("to out", "to err"));
        let Some(mut copies) = client("exec", transport) else { return };
        copies.args(["-stdin", "-stdout", &served.exec(&["cat"], "io")]);
        let copied = within(run(copies, input.clone())).await;
        assert_eq!(code(&copied), 0, "{transport:?}: {}", stderr(&copied));
        assert!(copied.stdout == input, "{transport:?}: {} bytes", copied.stdout.len());
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_gets_nothing() {
    let authority = Authority::new();
    let served = served(authority.files(None)).await;
    let url = served.exec(&["say", "", "", "0"], "o");
    let (host, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let mut bare = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    bare.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An alert, and the end.
    let _ = within(bare.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_client_and_half_of_one_to_none() {
    let authority = Authority::new();
    let served = served(authority.files(None)).await;
    let url = served.exec(&["say", "", "", "0"], "o");
    let shown = async || {
        let (shown, head) = within(ask(&url, &authority, None)).await.unwrap();
        assert_eq!(head, "HTTP/1.1 404");
        shown
    };
    let first = shown().await;
    let [cert, key] = authority.issue();
    write(&authority.at("cert"), &cert);
    assert_eq!(shown().await, first);
    write(&authority.at("key"), &key);
    let second = shown().await;
    assert_ne!(second, first);
    write(&authority.at("cert"), "torn");
    assert_eq!(shown().await, second);
    fs::remove_file(authority.at("cert")).unwrap();
    assert_eq!(shown().await, second);
}

#[tokio::test]
async fn where_there_is_an_authority_for_clients_only_those_of_it_are_served() {
    let (authority, other) = (Authority::new(), Authority::new());
    let served = served(authority.files(Some("ca"))).await;
    let url = served.exec(&["say", "", "", "0"], "o");
    let ask = async |shows| within(ask(&url, &authority, shows)).await.map(|(_, head)| head);
    assert_eq!(ask(Some(authority.issue())).await.unwrap(), "HTTP/1.1 404");
    assert!(ask(None).await.is_err());
    assert!(ask(Some(other.issue())).await.is_err());
}

#[test]
fn a_file_that_cannot_be_used_is_refused_by_its_key_and_name() {
    let authority = Authority::new();
    let files = || authority.files(Some("ca"));
    assert!(Tls::open(files()).is_ok());
    let [_, other] = authority.issue();
    write(&authority.at("other"), &other);
    write(&authority.at("text"), "text");
    let at = |name: &str| authority.at(name);
    for (wrong, key, name, why) in [
        (TlsFiles { cert: at("none"), ..files() }, "tls_cert_file", "none", "ENOENT"),
        (TlsFiles { cert: at("text"), ..files() }, "tls_cert_file", "text", "has no certificate"),
        (TlsFiles { key: at("none"), ..files() }, "tls_key_file", "none", "ENOENT"),
        (TlsFiles { key: at("text"), ..files() }, "tls_key_file", "text", "has no key in PEM"),
        (TlsFiles { key: at("other"), ..files() }, "tls_cert_file", "cert", "key"),
        (TlsFiles { ca: Some(at("none")), ..files() }, "tls_ca_file", "none", "ENOENT"),
        (TlsFiles { ca: Some(at("text")), ..files() }, "tls_ca_file", "text", "has no certificate"),
    ] {
        let error = Tls::open(wrong).err().unwrap();
        let expected = format!("config: streaming.{key}: {}: ", at(name).display());
        assert!(error.starts_with(&expected) && error.contains(why), "{error}");
    }
}
