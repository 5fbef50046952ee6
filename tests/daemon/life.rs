//! A pod from its start to its end, and the same calls made twice.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};

#[tokio::test]
async fn a_pod_lives_from_run_to_remove_and_leaves_nothing() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("life");
    let pod = suite.run_pod(&config).await;
    let status = suite.pod_status(&pod).await;
    assert_eq!(status.state, READY);
    assert!(!status.network.unwrap().ip.is_empty());

    let container = suite.harness.container("main", WORK, &["/bin/work", "exit", "3"]);
    let id = suite.create(&pod, container, &config).await.unwrap();
    let created = suite.status(&id).await;
    assert_eq!(created.state, ContainerState::ContainerCreated as i32);
    assert_eq!((created.started_at, created.finished_at), (0, 0));
    suite.start_container(&id).await.unwrap();
    let ended = suite.ended(&id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (3, "Error"));
    assert!(created.created_at <= ended.started_at && ended.started_at <= ended.finished_at);

    let sleeper = suite.add(&pod, &config, "sleeper", &["/bin/sleeper"]).await;
    assert_eq!(suite.status(&sleeper).await.state, RUNNING);
    suite.stop(&pod).await;
    suite.stop(&pod).await;
    assert_eq!(suite.pod_status(&pod).await.state, NOT_READY);
    let stopped = suite.status(&sleeper).await;
    // A sandbox' stop gives no grace: its client stops containers before.
    assert_eq!((stopped.state, stopped.exit_code), (EXITED, 137));
    suite.remove(&pod).await;
    suite.remove(&pod).await;
    let all = suite.harness.client.list_containers(Default::default()).await.unwrap();
    assert_eq!(all.containers, []);
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_new_containers_writable_layer_is_empty_whatever_is_mounted_in_it() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("empty");
    let pod = suite.run_pod(&config).await;
    let id = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let root = format!("/proc/{}/root", suite.pid(&id).await);
    let at = |path: &str| std::path::Path::new(&root).join(path);
    assert!(at("proc/1").exists() && at("dev/null").exists() && at("etc/hosts").is_file());
    let state = suite.harness.sandbox().state();
    let upper = state.join(format!("images/writable/container-{id}/upper"));
    let changed: Vec<_> = std::fs::read_dir(&upper).unwrap().map(Result::unwrap).collect();
    assert_eq!(changed.len(), 0, "{changed:?}");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_retry_of_a_pod_or_a_container_gets_the_first_ones_id() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("twice");
    let (first, second) = tokio::join!(suite.run_pod(&config), suite.run_pod(&config));
    assert_eq!(first, second);
    assert_eq!(suite.run_pod(&config).await, first);

    let container = suite.harness.container("main", WORK, &["/bin/sleeper"]);
    let create = || suite.create(&first, container.clone(), &config);
    let (one, two) = tokio::join!(create(), create());
    let one = one.unwrap();
    assert_eq!(one, two.unwrap());

    let mut other = config.clone();
    other.hostname = "other".to_owned();
    let request = RunPodSandboxRequest { config: Some(other), ..Default::default() };
    let refused = suite.harness.client.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::AlreadyExists, "{refused}");
    suite.remove(&first).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_client_that_gives_up_finds_the_pod_made_when_it_asks_again() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("patience");
    let impatient = std::time::Duration::from_millis(1);
    let gave_up = tokio::time::timeout(impatient, suite.run_pod(&config)).await;
    let pod = suite.run_pod(&config).await;
    if let Ok(first) = gave_up {
        assert_eq!(first, pod);
    }
    let all = suite.harness.client.list_pod_sandbox(Default::default()).await.unwrap();
    assert_eq!(all.items.len(), 1);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_is_an_exit_with_128_and_start_error() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("starterror");
    let pod = suite.run_pod(&config).await;
    let container = suite.harness.container("main", WORK, &["/bin/nothing"]);
    // What cannot be found is told by create or by start; the kubelet takes both.
    match suite.create(&pod, container, &config).await {
        Ok(id) => {
            let refused = suite.start_container(&id).await.unwrap_err();
            assert!(refused.message().contains("/bin/nothing"), "{refused}");
            let status = suite.status(&id).await;
            assert_eq!((status.state, status.exit_code), (EXITED, 128));
            assert_eq!(status.reason, "StartError");
            assert!(status.message.contains("/bin/nothing"), "{status:?}");
        }
        Err(refused) => panic!("{refused}"),
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

/// A kubelet starts another one where it finds it created, whatever the pod's restart policy is.
#[tokio::test]
async fn a_container_that_could_not_be_started_has_ended_for_whoever_looks_after_the_answer() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("p");
    let pod = suite.run_pod(&config).await;
    for n in 0..20 {
        let mut container = suite.harness.container(&format!("c{n}"), WORK, &["/bin/sleeper"]);
        container.working_dir = "/bin/sleeper".into();
        let id = suite.create(&pod, container, &config).await.unwrap();
        let refused = suite.start_container(&id).await.unwrap_err();
        let all = suite.harness.client.list_containers(Default::default()).await.unwrap();
        let listed = all.containers.iter().find(|container| container.id == id).unwrap();
        let status = suite.status(&id).await;
        assert_eq!((listed.state, status.state), (EXITED, EXITED), "{refused}");
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.contains("enter /bin/sleeper: ENOTDIR"), "{}", status.message);
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_container_is_oom_killed_when_it_dies_of_that_and_not_when_a_child_of_it_does() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("oom");
    let pod = suite.run_pod(&config).await;
    let alone: &[&str] = &["/bin/work", "hold", "64"];
    let outlives: &[&str] = &["/bin/work", "outlive", "64", "5"];
    for (name, command, end) in
        [("alone", alone, (137, "OOMKilled")), ("outlives", outlives, (5, "Error"))]
    {
        let mut container = suite.harness.container(name, WORK, command);
        let resources =
            LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() };
        container.linux =
            Some(LinuxContainerConfig { resources: Some(resources), ..Default::default() });
        let id = suite.create(&pod, container, &config).await.unwrap();
        suite.start_container(&id).await.unwrap();
        let ended = suite.ended(&id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), end, "{name}");
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn limits_are_changed_in_place_and_told_by_status() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("resize");
    let pod = suite.run_pod(&config).await;
    let mut container = suite.harness.container("main", WORK, &["/bin/sleeper"]);
    let resources = LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_period: 100_000,
        cpu_quota: 50_000,
        ..Default::default()
    };
    container.linux =
        Some(LinuxContainerConfig { resources: Some(resources), ..Default::default() });
    let id = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    let update = async |linux: LinuxContainerResources| {
        let request = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        suite.harness.client.update_container_resources(request).await
    };
    let limits = async || suite.status(&id).await.resources.unwrap().linux.unwrap();
    let change = LinuxContainerResources {
        memory_limit_in_bytes: 96 << 20,
        cpu_quota: 70_000,
        cpu_shares: 512,
        ..Default::default()
    };
    update(change).await.unwrap();
    let now = limits().await;
    assert_eq!((now.memory_limit_in_bytes, now.cpu_shares), (96 << 20, 512));
    assert_eq!((now.cpu_period, now.cpu_quota), (100_000, 70_000));
    // What the kernel does not take changes nothing.
    let refused = LinuxContainerResources { cpu_quota: 1, ..Default::default() };
    let error = update(refused).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
    assert_eq!(limits().await, now);
    // The kernel has them too.
    assert_eq!(memory_limit(suite.pid(&id).await), 96 << 20);
    suite.remove(&pod).await;
    let gone = update(LinuxContainerResources::default()).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound, "{gone}");
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_pod_has_addresses_of_both_families_which_reach_it_and_outlive_the_daemon() {
    let mut suite = Suite::start_with("[network]\nsubnet6 = 'fd00:77::/64'").await;
    let config = suite.harness.pod("both");
    let pod = suite.run_pod(&config).await;
    let words = ["/bin/work", "serve", "80", "here"];
    suite.add(&pod, &config, "main", &words).await;
    suite.restart().await;
    let network = suite.pod_status(&pod).await.network.unwrap();
    let [PodIp { ip: six }] = &network.additional_ips[..] else { panic!("{network:?}") };
    assert!(network.ip.starts_with("10.") && six.starts_with("fd00:77::"), "{network:?}");
    let (other, client) = {
        let config = suite.harness.pod("client");
        let other = suite.run_pod(&config).await;
        let client = suite.harness.container("main", BUSYBOX, &["sleep", "1000"]);
        let client = suite.started(&other, client, &config).await;
        (other, client)
    };
    for address in [network.ip.clone(), format!("[{six}]")] {
        let url = format!("http://{address}/");
        let asked = async || {
            let answer = suite.exec(&client, &["wget", "-qO-", &url], 10).await.unwrap();
            answer.stdout.starts_with(b"here")
        };
        suite.until(&url, asked).await;
    }
    suite.remove(&other).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
