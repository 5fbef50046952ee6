//! Control groups that are not mounted where they usually are.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::WORK;

/// Every hierarchy below another folder, and nothing at the usual one.
const MOVE: &str = "mkdir \"$1\" && mount --rbind /sys/fs/cgroup \"$1\" \
    && mount -t tmpfs none /sys/fs/cgroup";

#[tokio::test]
async fn control_groups_are_those_of_the_folder_that_the_configuration_names() {
    let mut suite = Suite::start().await;
    suite.harness.kill();
    let folder = suite.harness.sandbox().root().join("groups");
    let mut script = suite.harness.sandbox().command("sh");
    let moved = rrun_tests::limit::status(script.args(["-ec", MOVE, "move"]).arg(&folder));
    assert!(moved.unwrap().success());
    suite.harness.configure(&format!("[cgroup]\nmount = '{}'\n", folder.display()));
    suite.restart().await;

    let config = suite.harness.pod("groups");
    let pod = suite.run_pod(&config).await;
    let mut container = suite.harness.container("main", WORK, &["/bin/work", "hold", "8"]);
    let limit =
        |bytes| LinuxContainerResources { memory_limit_in_bytes: bytes, ..Default::default() };
    container.linux =
        Some(LinuxContainerConfig { resources: Some(limit(64 << 20)), ..Default::default() });
    let id = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    let in_force = async || memory_limit(suite.pid(&id).await);
    assert_eq!(in_force().await, 64 << 20);
    let request = UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(limit(96 << 20)),
        ..Default::default()
    };
    suite.harness.client.update_container_resources(request).await.unwrap();
    assert_eq!(in_force().await, 96 << 20);
    let used = async || {
        let request = ContainerStatsRequest { container_id: id.clone() };
        let stats = suite.harness.client.container_stats(request).await.unwrap().stats.unwrap();
        stats.memory.unwrap().usage_bytes.unwrap().value
    };
    suite.until("the figures are those of its group", async || used().await > 8 << 20).await;
    assert_eq!(suite.exec(&id, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    // What is left are the test's own mounts, which go with the sandbox.
    suite.remove(&pod).await;
}

/// It is born in that of the unified hierarchy, and moves to those of v1.
#[tokio::test]
async fn a_shim_is_in_a_group_of_the_shims_in_each_hierarchy() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("shim");
    let pod = suite.run_pod(&config).await;
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", suite.shim(&pod))).unwrap();
    let own = |line: &&str| line.ends_with("/shims");
    // `name:controllers:path`; the sandbox has those that this host has mounted.
    let unified = groups.lines().find(|line| line.starts_with("0::"));
    assert!(unified.is_none_or(|line| own(&line)), "{groups}");
    assert!(groups.lines().any(|line| own(&line)), "{groups}");
    let memory = groups.lines().find(|line| line.contains(":memory:"));
    assert!(memory.is_none_or(|line| own(&line)), "{groups}");
    suite.remove(&pod).await;
}
