//! `hosts.toml`: who is asked.

use crate::gate::{Gate, Verdict};
use crate::ground::{Ground, HOST, IMAGE, hosted, registry};
use rrun_images::Kind;

#[tokio::test]
async fn a_mirror_that_is_down_leaves_the_pull_to_the_server() {
    let (registry, ground) = (registry(), Ground::new());
    let server = registry.address();
    ground.hosts(&format!("server = 'http://{server}'\n[host.'http://127.0.0.1:1']\n"));
    let image = ground.pull_hosted().await.unwrap();
    assert_eq!(image.tags, [hosted()]);
}

#[tokio::test]
async fn server_alone_is_asked_and_the_registry_itself_never() {
    let upstream = registry();
    let gate = Gate::before(upstream.address(), |_| Verdict::Pass);
    let ground = Ground::new();
    let folder = ground.folder(&format!("{}_", gate.address.replace(':', "_")));
    std::fs::write(folder.join("hosts.toml"), "server = 'http://127.0.0.1:1'\n").unwrap();
    let name = format!("{}/{IMAGE}", gate.address);
    let error = ground.pull(&name, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("127.0.0.1:1/"), "{error}");
    assert_eq!(gate.count(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_a_refusal_with_file_and_line() {
    let (registry, ground) = (registry(), Ground::new());
    ground.hosts(&format!("server = 'http://{}'\n\nskip_verfy = true\n", registry.address()));
    let error = ground.pull_hosted().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let want = format!("{HOST}/hosts.toml: line 3: unknown key \"skip_verfy\"");
    assert!(error.to_string().ends_with(&want), "{error}");
    ground.assert_empty();
}
