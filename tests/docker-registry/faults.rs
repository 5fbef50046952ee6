//! Lines that break and hosts that lie.

use crate::proxy::{Proxy, Verdict};
use crate::setup::{Setup, built, registry};
use rrun_images::Kind;

#[tokio::test]
async fn a_layer_that_is_cut_once_is_resumed_where_it_broke() {
    let (registry, layer) = (registry(), built().layers[0].clone());
    let (cut, mut is_first) = (layer.clone(), true);
    let proxy = Proxy::before(registry.address(), move |request| {
        match request.is_blob(&cut) && std::mem::take(&mut is_first) {
            true => Verdict::Cut,
            false => Verdict::Pass,
        }
    });
    let setup = Setup::new().await;
    setup.hosts(&format!("server = 'http://{}'\n", proxy.address));
    setup.pull_hosted().await.unwrap();
    let asked = proxy.asked(&layer);
    assert_eq!(asked.len(), 2);
    let from = asked[1].range.trim_start_matches("bytes=").trim_end_matches('-');
    assert!(from.parse::<u64>().unwrap() > 0, "{}", asked[1].range);
}

#[tokio::test]
async fn a_line_that_always_breaks_is_one_error_with_blob_and_host_and_leaves_nothing() {
    let (registry, layer) = (registry(), built().layers[0].clone());
    let cut = layer.clone();
    let proxy = Proxy::before(registry.address(), move |request| match request.is_blob(&cut) {
        true => Verdict::Cut,
        false => Verdict::Pass,
    });
    let setup = Setup::new().await;
    setup.hosts(&format!("server = 'http://{}'\n", proxy.address));
    let error = setup.pull_hosted().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let words = error.to_string();
    assert!(words.contains(&layer) && words.contains(&proxy.address), "{words}");
    assert!(words.contains("cut 5 times"), "{words}");
    setup.assert_empty().await;
}

/// Spoils every answer whose path has `part`.
fn liar(upstream: &str, part: &str) -> Proxy {
    let part = part.to_owned();
    Proxy::before(upstream, move |request| match request.path.contains(&part) {
        true => Verdict::Spoil,
        false => Verdict::Pass,
    })
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused_and_leaves_nothing() {
    let (registry, built) = (registry(), built());
    for part in [&built.layers[0], &built.config, &built.manifest, "1.29-2"] {
        let proxy = liar(registry.address(), part);
        let setup = Setup::new().await;
        setup.hosts(&format!("server = 'http://{}'\n", proxy.address));
        let error = setup.pull_hosted().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{part}: {error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
        setup.assert_empty().await;
    }
}

#[tokio::test]
async fn a_mirror_that_lies_is_passed_over_for_the_next_host() {
    let (registry, built) = (registry(), built());
    for part in [&built.layers[0], &built.config, &built.manifest, "1.29-2"] {
        let proxy = liar(registry.address(), part);
        let setup = Setup::new().await;
        let (mirror, server) = (&proxy.address, registry.address());
        setup.hosts(&format!("server = 'http://{server}'\n[host.'http://{mirror}']\n"));
        let image = setup.pull_hosted().await.unwrap();
        assert_eq!(image.id.to_string(), built.config);
    }
}
