//! Private CAs and client certificates.

use crate::ground::{Ground, IMAGE};
use crate::pki::Authority;
use rrun_images::Kind;
use rrun_tests::images;
use rrun_tests::registry::{Options, Registry};

/// The registry's CA, and a registry with a certificate of it.
fn private(ground: &Ground) -> (Authority, Options) {
    let authority = Authority::new(ground.root(), "ca");
    let (certificate, key) = authority.sign("server");
    let storage = images::store().unwrap().storage;
    (authority, Registry::options(&storage).read_only().tls(&certificate, &key))
}

async fn assert_refused(ground: &Ground, why: &str) {
    let error = ground.pull_hosted().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains(why), "{error}");
    ground.assert_empty();
}

#[tokio::test]
async fn a_private_ca_is_refused_unless_hosts_toml_names_it_or_waives_it() {
    let ground = Ground::new();
    let (authority, options) = private(&ground);
    let registry = options.start().unwrap();
    let server = format!("server = 'https://{}'\n", registry.address());
    ground.hosts(&server);
    assert_refused(&ground, "UnknownIssuer").await;
    let other = Authority::new(ground.root(), "other");
    ground.hosts(&format!("{server}ca = '{}'\n", other.certificate.display()));
    assert_refused(&ground, "certificate").await;
    ground.hosts(&format!("{server}ca = '{}'\n", authority.certificate.display()));
    ground.pull_hosted().await.unwrap();
    ground.hosts(&format!("{server}skip_verify = true\n"));
    ground.pull_hosted().await.unwrap();
}

#[tokio::test]
async fn a_crt_file_in_the_registrys_folder_is_its_ca_and_another_one_is_not() {
    let ground = Ground::new();
    let (authority, options) = private(&ground);
    let registry = options.start().unwrap();
    let file = ground.folder(&format!("{}_", registry.address().replace(':', "_"))).join("a.crt");
    let name = format!("{}/{IMAGE}", registry.address());
    let other = Authority::new(ground.root(), "other");
    std::fs::copy(&other.certificate, &file).unwrap();
    let error = ground.pull(&name, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    std::fs::copy(&authority.certificate, &file).unwrap();
    ground.pull(&name, None).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_wants_a_client_certificate_gets_it() {
    let ground = Ground::new();
    let (authority, options) = private(&ground);
    let registry = options.client_ca(&authority.certificate).start().unwrap();
    let ca = authority.certificate.display();
    let server = format!("server = 'https://{}'\nca = '{ca}'\n", registry.address());
    ground.hosts(&server);
    assert_refused(&ground, &format!("GET https://{}", registry.address())).await;
    let (certificate, key) = authority.sign("client");
    let pair = format!("['{}', '{}']", certificate.display(), key.display());
    ground.hosts(&format!("{server}client = [{pair}]\n"));
    ground.pull_hosted().await.unwrap();
}
