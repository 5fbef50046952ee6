//! Proxies that the environment names, as a service gets them by `Environment=`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::Command;

use rrun_images::Store;
use support::layer::{dir, file, layer};
use support::registry::TestRegistry;
use support::{TestImage, config, reference};

/// Where the process that pulls finds its folder.
const FOLDER: &str = "RRUN_TEST_PROXY_FOLDER";
const IMAGE: &str = "images.rrun.test/r/i:1";

/// Pulls in a process that has this environment, and returns what it says.
fn pull_with(test: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("certs.d/images.rrun.test");
    std::fs::create_dir_all(&hosts).unwrap();
    std::fs::write(hosts.join("hosts.toml"), "server = \"http://images.rrun.test\"\n").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder.path());
    let done = command.envs(environment.iter().copied()).output().unwrap();
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// In that process; whether this is one.
async fn is_pulled() -> bool {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return false };
    let store = Store::open(config(&folder)).await.unwrap();
    if let Err(error) = store.pull(&reference(IMAGE), None, None).await {
        panic!("refused: {error}");
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_is_reached_over_the_proxy_that_the_environment_names_with_its_password() {
    const NAME: &str =
        "a_registry_is_reached_over_the_proxy_that_the_environment_names_with_its_password";
    if is_pulled().await {
        return;
    }
    let proxy = TestRegistry::start().await;
    proxy.put("r/i", "1", &TestImage::of(&[layer(&[dir("./"), file("f", "f")])]));
    for variable in ["http_proxy", "HTTP_PROXY"] {
        let before = proxy.seen().len();
        let url = format!("http://user:secret@{}", proxy.address);
        pull_with(NAME, &[(variable, &url)]).unwrap();
        let asked = proxy.seen().split_off(before);
        assert!(!asked.is_empty());
        for one in asked {
            assert_eq!(one.headers["host"], "images.rrun.test", "{one:?}");
            let basic = "Basic dXNlcjpzZWNyZXQ=";
            assert_eq!(one.headers["proxy-authorization"], basic, "{one:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_proxy_names_is_reached_without_one_and_a_dead_proxy_is_named() {
    const NAME: &str = "what_no_proxy_names_is_reached_without_one_and_a_dead_proxy_is_named";
    if is_pulled().await {
        return;
    }
    let proxy = TestRegistry::start().await;
    let url = format!("http://{}", proxy.address);
    let error = pull_with(NAME, &[("http_proxy", &url), ("no_proxy", ".rrun.test")]).unwrap_err();
    assert!(error.contains("images.rrun.test"), "{error}");
    assert!(proxy.seen().is_empty());
    let dead = "http://user:secret@127.0.0.1:1";
    let error = pull_with(NAME, &[("http_proxy", dead)]).unwrap_err();
    assert!(error.contains("images.rrun.test") && !error.contains("secret"), "{error}");
}
