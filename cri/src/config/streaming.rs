//! `[streaming]`

use super::some_absolute;
use crate::streaming::{Tls, TlsFiles};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[streaming]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streaming {
    /// Where the streaming server listens; port 0 takes any. The kubelet and crictl connect from this
    /// machine: whoever has the URL of a session is inside the container, and without TLS only an
    /// address on loopback is taken.
    #[serde(deserialize_with = "one_address")]
    pub address: SocketAddr,
    /// The certificate that the server shows, and those that vouch for it, in PEM; with
    /// `tls_key_file` streams are encrypted. Read again when the file has changed.
    #[serde(deserialize_with = "some_absolute")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    #[serde(deserialize_with = "some_absolute")]
    pub tls_key_file: Option<PathBuf>,
    /// Clients must show a certificate of one of these authorities, in PEM.
    #[serde(deserialize_with = "some_absolute")]
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for Streaming {
    fn default() -> Self {
        Streaming {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert_file: None,
            tls_key_file: None,
            tls_ca_file: None,
        }
    }
}

impl Streaming {
    /// What streams are encrypted with, if they are.
    ///
    /// # Errors
    /// Names the key that is missing, or that makes no sense without the others.
    pub fn tls(&self) -> Result<Option<TlsFiles>, String> {
        let ca = self.tls_ca_file.clone();
        match (self.tls_cert_file.clone(), self.tls_key_file.clone()) {
            (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key, ca })),
            (Some(_), None) => Err("config: streaming.tls_key_file: is missing".to_owned()),
            (None, Some(_)) => Err("config: streaming.tls_cert_file: is missing".to_owned()),
            (None, None) if ca.is_some() => {
                Err("config: streaming.tls_ca_file: wants tls_cert_file and tls_key_file"
                    .to_owned())
            }
            (None, None) if !self.address.ip().is_loopback() => Err(format!(
                "config: streaming.address: {} is not on loopback, and streams are not encrypted \
                 without tls_cert_file and tls_key_file",
                self.address
            )),
            (None, None) => Ok(None),
        }
    }

    /// Reads that. Blocks.
    ///
    /// # Errors
    /// As [`Streaming::tls`]; names the key and the file that cannot be used.
    pub fn open_tls(&self) -> Result<Option<Tls>, String> {
        self.tls()?.map(Tls::open).transpose()
    }
}

/// The URLs that clients get have this address: one that stands for all of the machine's is none.
fn one_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let address = SocketAddr::deserialize(deserializer)?;
    match address.ip().is_unspecified() {
        false => Ok(address),
        true => Err(D::Error::custom(format!(
            "{address} is no single address, and not on loopback: clients of other machines go through \
             the kubelet"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn an_address_that_is_not_on_loopback_wants_tls_and_tls_wants_all_of_its_files() {
        let (cert, key) = ("tls_cert_file = '/c'\n", "tls_key_file = '/k'\n");
        let (ca, address) = ("tls_ca_file = '/a'\n", "address = '192.0.2.1:0'\n");
        for (keys, expected) in [
            ("".to_owned(), Ok(false)),
            (format!("{address}{cert}{key}"), Ok(true)),
            (format!("{cert}{key}{ca}"), Ok(true)),
            (cert.to_owned(), Err("streaming.tls_key_file: is missing")),
            (key.to_owned(), Err("streaming.tls_cert_file: is missing")),
            (ca.to_owned(), Err("streaming.tls_ca_file: wants tls_cert_file")),
            (address.to_owned(), Err("streaming.address: 192.0.2.1:0 is not on loopback")),
        ] {
            let config = Config::parse(&format!("[streaming]\n{keys}"), "f").unwrap();
            match (config.streaming.tls(), expected) {
                (Ok(files), Ok(is_on)) => assert_eq!(files.is_some(), is_on, "{keys}"),
                (Err(words), Err(expected)) => assert!(words.contains(expected), "{words}"),
                (other, _) => panic!("{keys}: {other:?}"),
            }
        }
    }
}
