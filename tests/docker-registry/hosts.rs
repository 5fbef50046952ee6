//! `hosts.toml`: who is asked.

use crate::proxy::{Proxy, Verdict};
use crate::setup::{HOST, IMAGE, Setup, hosted, registry};
use nix::sys::socket::{Backlog, listen};
use rrun_images::Kind;
use std::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_mirror_that_is_down_leaves_the_pull_to_the_server() {
    let (registry, setup) = (registry(), Setup::new().await);
    let server = registry.address();
    setup.hosts(&format!("server = 'http://{server}'\n[host.'http://127.0.0.1:1']\n"));
    let image = setup.pull_hosted().await.unwrap();
    assert_eq!(image.tags, [hosted()]);
}

#[tokio::test]
async fn server_alone_is_asked_and_the_registry_itself_never() {
    let upstream = registry();
    let proxy = Proxy::before(upstream.address(), |_| Verdict::Pass);
    let setup = Setup::new().await;
    let folder = setup.folder(&format!("{}_", proxy.address.replace(':', "_")));
    std::fs::write(folder.join("hosts.toml"), "server = 'http://127.0.0.1:1'\n").unwrap();
    let name = format!("{}/{IMAGE}", proxy.address);
    let error = setup.pull(&name, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("127.0.0.1:1/"), "{error}");
    assert_eq!(proxy.count(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_a_refusal_with_file_line_and_path() {
    let (registry, setup) = (registry(), Setup::new().await);
    let proxy = Proxy::before(registry.address(), |_| Verdict::Pass);
    let server = &proxy.address;
    for (text, want) in [
        ("\nskip_verfy = true\n", "3: skip_verfy"),
        ("[host.'https://m']\nskip_verfy = true\n", "3: host.\"https://m\".skip_verfy"),
    ] {
        setup.hosts(&format!("server = 'http://{server}'\n{text}"));
        let error = setup.pull_hosted().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        let want = format!("/{HOST}/hosts.toml:{want}: unknown key");
        assert!(error.to_string().ends_with(&want), "{error}");
    }
    assert_eq!(proxy.count(), 0);
    setup.assert_empty().await;
}

#[tokio::test]
async fn a_path_is_followed_by_v2_unless_override_path_says_that_it_is_whole() {
    let registry = registry();
    // As a proxy for several registries has it: no /v2 in sight.
    let proxy = Proxy::before(registry.address(), |request| {
        match request.path.strip_prefix("/proxied/test/") {
            Some(rest) => Verdict::PassAt(format!("/v2/{rest}")),
            None => Verdict::Say("404 Not Found", String::new(), ""),
        }
    });
    let server = format!("server = 'http://{}/proxied/test'\n", proxy.address);
    let setup = Setup::new().await;
    setup.hosts(&server);
    let error = setup.pull_hosted().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let asked = format!("GET http://{}/proxied/test/v2/e2e-test-images/", proxy.address);
    assert!(error.to_string().contains(&asked), "{error}");
    setup.assert_empty().await;
    setup.hosts(&format!("{server}override_path = true\n"));
    setup.pull_hosted().await.unwrap();
}

/// An address that takes no connection and refuses none: its queue is full.
fn silent() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, waiting)
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_passed_over_after_its_dial_timeout() {
    let (registry, setup) = (registry(), Setup::new().await);
    let (listener, _waiting) = silent();
    let address = listener.local_addr().unwrap();
    let mirror = format!("[host.'http://{address}']\ndial_timeout = '150ms'\n");
    setup.hosts(&format!("server = 'http://{}'\n{mirror}", registry.address()));
    setup.pull_hosted().await.unwrap();
    setup.hosts(&format!("server = 'http://{address}'\ndial_timeout = '150ms'\n"));
    let error = setup.pull_hosted().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let want = format!("{address}/v2/{IMAGE}").replace(":1.29-2", "/manifests/1.29-2");
    let words = error.to_string();
    assert!(words.contains(&want), "{words}");
    assert!(words.ends_with("no connection within the dial timeout"), "{words}");
}

#[tokio::test]
async fn a_refusal_by_the_registry_is_final_at_once_even_if_a_mirror_is_down() {
    let setup = Setup::new().await;
    for (status, kind) in [
        ("401 Unauthorized", Kind::Denied),
        ("403 Forbidden", Kind::Denied),
        ("404 Not Found", Kind::NotFound),
    ] {
        let proxy = Proxy::before("127.0.0.1:1", move |_| Verdict::Say(status, String::new(), ""));
        let server = format!("server = 'http://{}'\n", proxy.address);
        for mirror in ["", "[host.'http://127.0.0.1:1']\n"] {
            let before = proxy.count();
            setup.hosts(&format!("{server}{mirror}"));
            let error = setup.pull_hosted().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&status.to_lowercase()), "{error}");
            assert_eq!(proxy.count(), before + 1, "{status}");
        }
    }
    setup.assert_empty().await;
}
