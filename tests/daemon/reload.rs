//! SIGHUP: the configuration is read again.

use crate::suite::*;
use nix::sys::signal::Signal;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use serde_json::Value;
use std::fs;

/// The repository of [`WORK`] under a host that nobody answers for.
const LATE: &str = "late.rrun.test/work:latest";

/// Writes the configuration, tells the daemon, and waits until its log says `expected` once more.
pub async fn reload(suite: &Suite, config: &str, expected: &str) {
    let parent = suite.harness.sandbox().cgroup_parent();
    let text = format!("{config}\n[cgroup]\nparent = \"{parent}\"\n");
    fs::write(suite.harness.sandbox().inside("/etc/rrun/rrund.toml"), text).unwrap();
    let said = || suite.daemon_log().matches(expected).count();
    let before = said();
    signal(suite.harness.daemon().unwrap().pid().cast_signed(), Signal::SIGHUP);
    suite.until(expected, async || said() > before).await;
}

/// Whether an image is shown as one that a kubelet must not collect.
async fn is_pinned(suite: &Suite, image: &str) -> bool {
    let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
    let request = ImageStatusRequest { image, verbose: false };
    suite.harness.client.image_status(request).await.unwrap().image.unwrap().pinned
}

/// The configuration that verbose status tells, and whether the network is ready.
async fn config_and_network(suite: &Suite) -> (Value, bool) {
    let request = StatusRequest { verbose: true };
    let answer = suite.harness.client.status(request).await.unwrap();
    let conditions = answer.status.unwrap().conditions;
    let network = conditions.into_iter().find(|one| one.r#type == "NetworkReady").unwrap();
    (serde_json::from_str(&answer.info["config"]).unwrap(), network.status)
}

#[tokio::test]
async fn what_a_reload_changes_is_in_force_for_the_next_pull_pod_and_container() {
    let suite = Suite::start().await;
    let (stays, main) = suite.run("stays", &["/bin/sleeper"]).await;
    let inside = |path: &str| suite.harness.sandbox().inside(path);
    suite.harness.registry().write_mirror(&inside("/etc/rrun/late.d"), "late.rrun.test").unwrap();
    fs::create_dir(inside("/etc/rrun/profiles")).unwrap();
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
    fs::write(inside("/etc/rrun/profiles/all.json"), profile).unwrap();
    let config = suite.harness.pod("next");
    let pod = suite.run_pod(&config).await;
    let mut container = suite.harness.container("main", WORK, &["/bin/sleeper"]);
    let profile = SecurityProfile {
        profile_type: security_profile::ProfileType::Localhost as i32,
        localhost_ref: "all.json".to_owned(),
    };
    let security = LinuxContainerSecurityContext { seccomp: Some(profile), ..Default::default() };
    container.linux.as_mut().unwrap().security_context = Some(security);
    suite.create(&pod, container.clone(), &config).await.unwrap_err();
    suite.harness.pull(LATE).await.unwrap_err();

    assert!(!is_pinned(&suite, BUSYBOX).await);

    let text = format!(
        "[images]\ncerts_dirs = ['/etc/rrun/late.d']\npinned = ['{BUSYBOX}']\n[network]\n\
         mode = 'cni'\nconf_dir = '/etc/rrun/none'\n[seccomp]\nprofiles = '/etc/rrun/profiles'\n"
    );
    let changed = "images.certs_dirs, images.pinned, network.conf_dir, network.mode, \
                   seccomp.profiles";
    reload(&suite, &text, changed).await;
    assert!(is_pinned(&suite, BUSYBOX).await && !is_pinned(&suite, WORK).await);
    suite.harness.pull(LATE).await.unwrap();
    let made = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&made).await.unwrap();
    let (config, network_is_ready) = config_and_network(&suite).await;
    assert_eq!(config["network"]["mode"], "cni");
    assert!(!network_is_ready);
    let late = Some(suite.harness.pod("late"));
    let late = RunPodSandboxRequest { config: late, ..Default::default() };
    let refused = suite.harness.client.run_pod_sandbox(late).await.unwrap_err();
    assert!(refused.message().contains("/etc/rrun/none"), "{refused}");
    // Pods are taken down by what they were made with.
    assert_eq!(suite.status(&main).await.state, RUNNING);
    suite.remove(&stays).await;
    suite.remove(&pod).await;
    for folder in ["late.d", "profiles"] {
        fs::remove_dir_all(inside("/etc/rrun").join(folder)).unwrap();
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_a_key_that_is_fixed_is_named() {
    let suite = Suite::start().await;
    let (before, _) = config_and_network(&suite).await;
    for (text, expected) in [
        ("[network]\nmode = 'cni'\nmoed = 1\n", "rrund.toml:3: network.moed: unknown field `moed`"),
        (
            "[network]\nmode = 'cni'\nbridge = '/'\n",
            "config: network: bridge \"/\" is no interface name",
        ),
        ("[network]\nmode = \n", "rrund.toml:2: "),
    ] {
        reload(&suite, text, expected).await;
        assert_eq!(config_and_network(&suite).await.0, before);
    }
    let drop_ins = suite.harness.sandbox().inside("/etc/rrun/rrund.toml.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("10-site.toml"), "\n[log]\ndrain_byts = 7\n").unwrap();
    reload(&suite, "", "rrund.toml.d/10-site.toml:3: log.drain_byts: unknown field").await;
    assert_eq!(config_and_network(&suite).await.0, before);
    fs::write(drop_ins.join("10-site.toml"), "[log]\ndrain_timeout = 3\n").unwrap();
    reload(&suite, "[log]\ndrain_timeout = 2\n", "changed: log.drain_timeout").await;
    assert_eq!(config_and_network(&suite).await.0["log"]["drain_timeout"], 3);
    fs::remove_dir_all(&drop_ins).unwrap();
    let text = "root = '/elsewhere'\n[log]\ndrain_bytes = 7\n";
    reload(&suite, text, "config: root is changed and needs a restart").await;
    let (after, _) = config_and_network(&suite).await;
    assert_eq!((&after["root"], &after["log"]["drain_bytes"]), (&before["root"], &7.into()));
    assert_eq!(after["log"]["drain_timeout"], before["log"]["drain_timeout"]);
    let (pod, _) = suite.run("after", &["/bin/sleeper"]).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
