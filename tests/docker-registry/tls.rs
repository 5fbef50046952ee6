//! Private CAs and client certificates.

use crate::pki::Authority;
use crate::setup::{IMAGE, Setup};
use rrun_images::Kind;
use rrun_tests::images;
use rrun_tests::registry::{Options, Registry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The registry's CA, and a registry with a certificate of it.
fn private(setup: &Setup) -> (Authority, Options) {
    let authority = Authority::new(setup.root(), "ca");
    let (certificate, key) = authority.sign("server");
    let storage = images::store().unwrap().storage;
    (authority, Registry::options(&storage).read_only().tls(&certificate, &key))
}

/// Carries bytes to a server and counts connections.
struct Wire {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    carrying: JoinHandle<()>,
}

impl Wire {
    async fn to(server: &str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, server) = (Arc::new(AtomicUsize::new(0)), server.to_owned());
        let count = Arc::clone(&connections);
        let carrying = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        Wire { address, connections, carrying }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

#[tokio::test]
async fn a_private_ca_is_trusted_if_hosts_toml_names_it_or_waives_the_check() {
    let setup = Setup::new().await;
    let (authority, options) = private(&setup);
    let registry = options.start().unwrap();
    let server = format!("server = 'https://{}'\n", registry.address());
    setup.hosts(&format!("{server}ca = '{}'\n", authority.certificate.display()));
    setup.pull_hosted().await.unwrap();
    setup.hosts(&format!("{server}skip_verify = true\n"));
    setup.pull_hosted().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_refused_at_once_with_the_reason() {
    let setup = Setup::new().await;
    let (authority, options) = private(&setup);
    let registry = options.start().unwrap();
    let other = Authority::new(setup.root(), "other");
    let ca = format!("ca = '{}'\n", authority.certificate.display());
    let wrong = format!("ca = '{}'\n", other.certificate.display());
    // The certificate is for 127.0.0.1.
    for (host, ca, why) in [
        ("127.0.0.1", "", "UnknownIssuer"),
        ("127.0.0.1", wrong.as_str(), "invalid peer certificate"),
        ("localhost", ca.as_str(), "not valid for name \"localhost\""),
    ] {
        let wire = Wire::to(registry.address()).await;
        setup.hosts(&format!("server = 'https://{host}:{}'\n{ca}", wire.address.port()));
        let error = setup.pull_hosted().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.to_string().contains(&format!("GET https://{host}:")), "{error}");
        assert_eq!(wire.connections.load(Ordering::SeqCst), 1, "{why}");
    }
    setup.assert_empty().await;
}

#[tokio::test]
async fn a_crt_file_in_the_registrys_folder_is_its_ca_and_another_one_is_not() {
    let setup = Setup::new().await;
    let (authority, options) = private(&setup);
    let registry = options.start().unwrap();
    let file = setup.folder(&format!("{}_", registry.address().replace(':', "_"))).join("a.crt");
    let name = format!("{}/{IMAGE}", registry.address());
    let other = Authority::new(setup.root(), "other");
    std::fs::copy(&other.certificate, &file).unwrap();
    let error = setup.pull(&name, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    std::fs::copy(&authority.certificate, &file).unwrap();
    setup.pull(&name, None).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_wants_a_client_certificate_gets_it() {
    let setup = Setup::new().await;
    let (authority, options) = private(&setup);
    let registry = options.client_ca(&authority.certificate).start().unwrap();
    let ca = authority.certificate.display();
    let server = format!("server = 'https://{}'\nca = '{ca}'\n", registry.address());
    setup.hosts(&server);
    // The alert that says so may be lost with the connection.
    let error = setup.pull_hosted().await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Denied | Kind::Unavailable), "{error}");
    assert!(error.to_string().contains(&format!("GET https://{}", registry.address())), "{error}");
    setup.assert_empty().await;
    let (certificate, key) = authority.sign("client");
    let pair = format!("['{}', '{}']", certificate.display(), key.display());
    setup.hosts(&format!("{server}client = [{pair}]\n"));
    setup.pull_hosted().await.unwrap();
    // Of several the one whose authority the registry names, wherever it stands.
    let (certificate, key) = Authority::new(setup.root(), "stranger").sign("theirs");
    let theirs = format!("['{}', '{}']", certificate.display(), key.display());
    for pairs in [format!("{theirs}, {pair}"), format!("{pair}, {theirs}")] {
        let other = Setup::new().await;
        other.hosts(&format!("{server}client = [{pairs}]\n"));
        other.pull_hosted().await.unwrap();
    }
    let other = Setup::new().await;
    other.hosts(&format!("{server}client = [{theirs}]\n"));
    other.pull_hosted().await.unwrap_err();
}
