//! The streaming server's certificate, and who may connect.
//!
//! Certificates are renewed while the daemon runs, file by file: whoever connects is met with what is
//! there by then, and with what was there before as long as that is no whole.

use rrun_blocking::Pool;
use rrun_error::reason;
use rrun_sys::in_root::read_regular_of_host;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The files may be on a disk that hangs.
static LOOKS: Pool = Pool::new(2);

/// How long a client waits for that, before it is met with what is known.
const LOOK: Duration = Duration::from_secs(1);

/// How long a client may take to agree on how it is spoken with.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Longer than any of them, in bytes.
const LARGEST: u64 = 1 << 20;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain that the server shows, in PEM, its own certificate first.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Whose certificates clients must show; without, they show none.
    pub ca: Option<PathBuf>,
}

/// What clients are met with.
pub struct Tls {
    files: TlsFiles,
    known: Mutex<Known>,
}

struct Known {
    stamps: Stamps,
    config: Arc<ServerConfig>,
}

/// What tells a file from one that has taken its place: device, inode, size, and when it was changed.
type Stamp = Option<(u64, u64, u64, i64, i64)>;
type Stamps = [Stamp; 3];

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Names the key of the configuration and the file.
    pub fn open(files: TlsFiles) -> Result<Tls, String> {
        // Before they are read: what comes meanwhile is another one.
        let stamps = files.stamps();
        let config = files.load()?;
        Ok(Tls { files, known: Mutex::new(Known { stamps, config }) })
    }

    /// Meets a client.
    pub(super) async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let looks = Arc::clone(self);
        let _ = timeout(LOOK, LOOKS.run(move || looks.look())).await;
        let config = Arc::clone(&self.known().config);
        match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Reads the files again if they have changed. Blocks.
    fn look(&self) {
        let stamps = self.files.stamps();
        if self.known().stamps == stamps {
            return;
        }
        let loaded = self.files.load();
        let mut known = self.known();
        // Those that cannot be used are told of once.
        known.stamps = stamps;
        match loaded {
            Ok(config) => {
                tracing::info!("streaming: the certificate is read again");
                known.config = config;
            }
            Err(why) => tracing::error!("{why}; streams go on with the certificate from before"),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is whole: a panic elsewhere leaves it so.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
        };
        [stamp(&self.cert), stamp(&self.key), self.ca.as_deref().and_then(stamp)]
    }

    fn load(&self) -> Result<Arc<ServerConfig>, String> {
        let (cert, key) = ("tls_cert_file", "tls_key_file");
        let chain = certificates(cert, &self.cert)?;
        let pem = read(key, &self.key)?;
        let secret = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| wrong(key, &self.key, format!("has no key in PEM: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("streaming: TLS: {error}"))?;
        let builder = match &self.ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let key = "tls_ca_file";
                let mut roots = RootCertStore::empty();
                for root in certificates(key, ca)? {
                    roots.add(root).map_err(|error| wrong(key, ca, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(key, ca, error))?)
            }
        };
        let config = builder.with_single_cert(chain, secret);
        let mut config = config.map_err(|error| wrong(cert, &self.cert, error))?;
        // Streams are upgrades, which later versions of HTTP have not.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    read_regular_of_host(path, LARGEST).map_err(|error| wrong(key, path, reason(&error)))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(key, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| wrong(key, path, error))?;
    match all.is_empty() {
        true => Err(wrong(key, path, "has no certificate in PEM")),
        false => Ok(all),
    }
}

fn wrong(key: &str, path: &Path, why: impl std::fmt::Display) -> String {
    format!("config: streaming.{key}: {}: {why}", path.display())
}
