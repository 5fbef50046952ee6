//! The harness is tested on containerd: what it starts works, and what is left there is seen.

use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{Harness, WORK};
use rrun_tests::leaks::Kind;

/// Runs a pod with one sleeper; gives its id.
async fn run(harness: &Harness, name: &str) -> String {
    let config = harness.pod(name);
    let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let pod = harness.client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(harness.container("main", WORK, &["/bin/sleeper"])),
        sandbox_config: Some(config),
    };
    let container_id = harness.client.create_container(request).await.unwrap().container_id;
    harness.client.start_container(StartContainerRequest { container_id }).await.unwrap();
    pod
}

async fn remove(harness: &Harness, pod: String) {
    let request = StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
    harness.client.stop_pod_sandbox(request).await.unwrap();
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod };
    harness.client.remove_pod_sandbox(request).await.unwrap();
}

#[tokio::test]
async fn a_running_pod_is_seen_in_every_kind_and_its_end_too() {
    let harness = Harness::peer().await.unwrap();
    harness.pull(WORK).await.unwrap();
    let pod = run(&harness, "warm").await;
    remove(&harness, pod).await;
    // containerd keeps snapshots' numbers, and host-local the last address.
    let root = harness.sandbox().root().join("logs").display().to_string();
    let view = harness.view().allow("last_reserved_ip").allow(&root);
    let before = rrun_tests::leaks::Snapshot::take(&view).unwrap();

    let pod = run(&harness, "web").await;
    let during = rrun_tests::leaks::Snapshot::take(&view).unwrap();
    let kinds: Vec<_> = before.differences(&during).into_iter().map(|(kind, _)| kind).collect();
    for kind in [Kind::Mount, Kind::Cgroup, Kind::Netns, Kind::Link, Kind::Process, Kind::File] {
        assert!(kinds.contains(&kind), "{kind:?} in {kinds:?}");
    }
    remove(&harness, pod).await;
    before.assert_nothing_left(&view).unwrap();
}

#[tokio::test]
async fn a_harness_that_goes_with_a_pod_running_takes_its_processes_along() {
    let harness = Harness::peer().await.unwrap();
    harness.pull(WORK).await.unwrap();
    run(&harness, "left").await;
    let processes = harness.snapshot().unwrap();
    let processes: Vec<_> = processes.of(Kind::Process).iter().cloned().collect();
    assert!(processes.iter().any(|line| line.ends_with(" sleeper")), "{processes:?}");
    let root = harness.sandbox().root().to_owned();
    let group = harness.sandbox().cgroup_parent();
    drop(harness);
    for line in processes {
        let pid = line.split(' ').next().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{line} lives");
    }
    assert!(!root.exists());
    assert!(!std::path::Path::new("/sys/fs/cgroup/pids").join(&group[1..]).exists());
}
