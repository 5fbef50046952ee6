//! Certificates made for one test.

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// A private CA and its certificate's file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    pub certificate: PathBuf,
}

impl Authority {
    /// A new one, which keeps its files in `folder`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificate = folder.join(format!("{name}.pem"));
        write(&certificate, "CERTIFICATE", issuer.as_ref().der());
        Self { issuer, folder: folder.to_owned(), certificate }
    }

    /// Files with a certificate for 127.0.0.1 and its key, for servers and clients alike.
    pub fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.folder.join(name), self.folder.join(format!("{name}.key.pem")));
        write(&files.0, "CERTIFICATE", signed.der());
        write(&files.1, "PRIVATE KEY", &key.serialize_der());
        files
    }
}

fn write(file: &Path, what: &str, der: &[u8]) {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    fs::write(file, format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")).unwrap();
}
