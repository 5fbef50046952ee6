//! The daemon called as a kubelet calls it: relists and events, probes of many containers at once,
//! contexts that are cancelled, pods that are made again.

use crate::suite::*;
use futures::StreamExt;
use rrun_cri_api::v1::*;
use rrun_cri_api::{Client, Cri};
use rrun_tests::harness::{BUSYBOX, WORK};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tokio::task::JoinSet;

/// States of the pods, and in each of its containers, by their ids.
type States = BTreeMap<String, (i32, BTreeMap<String, i32>)>;

/// What a relist finds (`GenericPLEG.Relist`).
async fn relist(client: &Client) -> States {
    let pods = client.list_pod_sandbox(Default::default()).await.unwrap().items;
    let containers = client.list_containers(Default::default()).await.unwrap().containers;
    let mut states: States =
        pods.into_iter().map(|pod| (pod.id, (pod.state, BTreeMap::new()))).collect();
    for container in containers {
        // A pod may come between the two lists.
        if let Some((_, its)) = states.get_mut(&container.pod_sandbox_id) {
            its.insert(container.id, container.state);
        }
    }
    states
}

/// An event brings the states of its whole pod (`EventedPLEG`).
fn fold(states: &mut States, event: ContainerEventResponse) {
    let gone = ContainerEventType::ContainerDeletedEvent as i32;
    let Some(pod) = event.pod_sandbox_status else { return };
    if event.container_event_type == gone && event.container_id == pod.id {
        states.remove(&pod.id);
        return;
    }
    let its = event.containers_statuses.into_iter().map(|status| (status.id, status.state));
    states.insert(pod.id, (pod.state, its.collect()));
}

/// One of many pods: it runs on, ends, is stopped or is removed.
async fn one_of_many(client: Client, pod: PodSandboxConfig, container: ContainerConfig, n: usize) {
    let request = RunPodSandboxRequest { config: Some(pod.clone()), ..Default::default() };
    let id = client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let request = CreateContainerRequest {
        pod_sandbox_id: id.clone(),
        config: Some(container),
        sandbox_config: Some(pod),
    };
    let container_id = client.create_container(request).await.unwrap().container_id;
    client.start_container(StartContainerRequest { container_id }).await.unwrap();
    if n % 4 >= 2 {
        let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
        client.stop_pod_sandbox(request).await.unwrap();
    }
    if n % 4 == 3 {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id };
        client.remove_pod_sandbox(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_pods_that_come_and_go_are_the_same_by_relists_and_by_events() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let mut events = client.get_container_events(GetEventsRequest {}).await.unwrap();
    let mut pods = JoinSet::new();
    let (mut by_events, mut begun, mut relists) = (States::new(), 0, 0);
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    while begun < 100 || !pods.is_empty() {
        if begun < 100 && pods.len() < 10 {
            let name = format!("pod{begun}");
            let words: &[&str] = if begun % 4 == 1 { &["/bin/true"] } else { &["/bin/sleeper"] };
            let container = suite.harness.container("main", WORK, words);
            pods.spawn(one_of_many(client.clone(), suite.harness.pod(&name), container, begun));
            begun += 1;
            continue;
        }
        tokio::select! {
            event = events.next() => fold(&mut by_events, event.unwrap().unwrap()),
            done = pods.join_next() => done.unwrap().unwrap(),
            _ = every_second.tick() => {
                relist(client).await;
                relists += 1;
            }
        }
    }
    assert!(relists > 1);
    let ended = |states: &States| {
        let its = states.values().flat_map(|(_, its)| its.values());
        its.filter(|state| **state == EXITED).count()
    };
    suite.until("those that end have ended", async || ended(&relist(client).await) == 50).await;
    let by_relist = relist(client).await;
    assert_eq!(by_relist.len(), 75);
    while by_events != by_relist {
        let event = tokio::time::timeout(PATIENCE, events.next()).await;
        let event = event.unwrap_or_else(|_| panic!("{by_events:?}\n{by_relist:?}"));
        fold(&mut by_events, event.unwrap().unwrap());
    }
    for pod in by_relist.keys() {
        suite.remove(pod).await;
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn exec_probes_of_each_second_on_a_hundred_containers_are_all_answered() {
    let suite = Suite::start().await;
    let mut containers = Vec::new();
    let mut pods = Vec::new();
    for n in 0..20 {
        let config = suite.harness.pod(&format!("probed{n}"));
        let pod = suite.run_pod(&config).await;
        for name in ["a", "b", "c", "d", "e"] {
            containers.push(suite.add(&pod, &config, name, &["/bin/sleeper"]).await);
        }
        pods.push(pod);
    }
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    for round in 0..5 {
        every_second.tick().await;
        let mut probes = JoinSet::new();
        for container_id in containers.iter().cloned() {
            let client = suite.harness.client.clone();
            // Every fifth says that it is not well.
            let code = if (round + probes.len()).is_multiple_of(5) { 1 } else { 0 };
            let cmd = vec!["/bin/exit".to_owned(), code.to_string()];
            let request = ExecSyncRequest { container_id, cmd, timeout: 30 };
            probes.spawn(async move { (code, client.exec_sync(request).await.unwrap()) });
        }
        for (code, answer) in probes.join_all().await {
            assert_eq!(answer.exit_code, code, "{answer:?}");
        }
    }
    for pod in &pods {
        suite.remove(pod).await;
    }
    suite.assert_nothing_left();
}

/// Calls until there is an answer, each time twice as long: a kubelet's context is cancelled, and the
/// next sync asks again.
async fn insist<T>(from_ms: u64, mut call: impl AsyncFnMut() -> Result<T, tonic::Status>) -> T {
    let mut patience = Duration::from_millis(from_ms);
    loop {
        match tokio::time::timeout(patience, call()).await {
            Ok(answer) => return answer.unwrap(),
            Err(_) => patience *= 2,
        }
    }
}

#[tokio::test]
async fn calls_that_are_cancelled_and_made_again_come_to_one_pod_and_to_none() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    for from in [1, 2, 3, 5, 7, 11, 17] {
        let pod = suite.harness.pod(&format!("cancelled{from}"));
        let id = insist(from, async || {
            let config = Some(pod.clone());
            client.run_pod_sandbox(RunPodSandboxRequest { config, ..Default::default() }).await
        });
        let id = id.await.pod_sandbox_id;
        let config = suite.harness.container("main", WORK, &["/bin/sleeper"]);
        let made = insist(from, async || suite.create(&id, config.clone(), &pod).await).await;
        // A start that goes on is not asked for again: the relist finds the container running.
        let start = suite.start_container(&made);
        if let Ok(started) = tokio::time::timeout(Duration::from_millis(from), start).await {
            started.unwrap();
        }
        let runs = async || suite.status(&made).await.state == RUNNING;
        suite.until("it runs", runs).await;
        let listed = client.list_containers(Default::default()).await.unwrap().containers;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((&listed[0].id, listed[0].state), (&made, RUNNING));
        let run = async || {
            let cmd = vec!["/bin/true".to_owned()];
            let request = ExecSyncRequest { container_id: made.clone(), cmd, timeout: 10 };
            client.exec_sync(request).await
        };
        assert_eq!(insist(from, run).await.exit_code, 0);
        let stop = async || {
            let request = StopContainerRequest { container_id: made.clone(), timeout: 10 };
            client.stop_container(request).await
        };
        insist(from, stop).await;
        assert_eq!(suite.status(&made).await.state, EXITED);
        let remove = async || {
            let request = RemoveContainerRequest { container_id: made.clone() };
            client.remove_container(request).await
        };
        insist(from, remove).await;
        let stop = async || {
            let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            client.stop_pod_sandbox(request).await
        };
        insist(from, stop).await;
        let remove = async || {
            let request = RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
            client.remove_pod_sandbox(request).await
        };
        insist(from, remove).await;
        assert_eq!(relist(client).await, States::new());
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_pod_that_died_is_made_again_beside_the_old_one_and_outlives_its_removal() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let mut pod = suite.harness.pod("again");
    let mut pods = Vec::new();
    for attempt in 0..3 {
        pod.metadata.as_mut().unwrap().attempt = attempt;
        let id = suite.run_pod(&pod).await;
        // The kubelet counts restarts by the numbers of the logs where no container tells them.
        let mut config =
            suite.harness.container("main", BUSYBOX, &["sh", "-c", "echo $0; sleep 99", "x"]);
        config.metadata.as_mut().unwrap().attempt = attempt;
        config.log_path = format!("main/{attempt}.log");
        let container = suite.started(&id, config, &pod).await;
        if attempt < 2 {
            // Somebody else ends it.
            suite.stop(&id).await;
            assert_eq!(suite.pod_status(&id).await.state, NOT_READY);
        }
        pods.push((id, container));
    }
    let listed = client.list_pod_sandbox(Default::default()).await.unwrap().items;
    let by_age: Vec<(u32, i32)> = {
        let mut all = listed;
        all.sort_by_key(|pod| pod.created_at);
        all.iter().map(|pod| (pod.metadata.as_ref().unwrap().attempt, pod.state)).collect()
    };
    assert_eq!(by_age, [(0, NOT_READY), (1, NOT_READY), (2, READY)]);
    let address = suite.pod_status(&pods[2].0).await.network.unwrap().ip;
    let mut events = client.get_container_events(GetEventsRequest {}).await.unwrap();
    for (old, container) in &pods[..2] {
        suite.stop(old).await;
        suite.remove_container(container).await;
        suite.remove(old).await;
    }
    let now = suite.pod_status(&pods[2].0).await;
    assert_eq!((now.state, now.network.unwrap().ip), (READY, address));
    assert_eq!(suite.exec(&pods[2].1, &["true"], 10).await.unwrap().exit_code, 0);
    let logs = suite.log_path("again", "main").with_extension("");
    let mut kept: Vec<_> =
        fs::read_dir(logs).unwrap().map(|file| file.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["0.log", "1.log", "2.log"]);
    suite.remove(&pods[2].0).await;
    // A status with the end of a pod has the kubelet forget all of its uid: only the last has one.
    let mut told = Vec::new();
    while told.len() < pods.len() {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        if pods.iter().any(|(pod, _)| *pod == event.container_id)
            && event.container_event_type == ContainerEventType::ContainerDeletedEvent as i32
        {
            told.push((event.container_id, event.pod_sandbox_status.is_some()));
        }
    }
    let of = |n: usize, last| (pods[n].0.clone(), last);
    assert_eq!(told, [of(0, false), of(1, false), of(2, true)]);
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_termination_message_is_there_when_the_stop_is_answered() {
    let suite = Suite::start().await;
    let said = suite.harness.sandbox().root().join("termination");
    let pod = suite.harness.pod("message");
    let id = suite.run_pod(&pod).await;
    let cases = [
        ("polite", "trap 'echo bye > /dev/termination-log; exit 3' TERM; echo up", 30, 3, "bye\n"),
        (
            "stubborn",
            "trap '' TERM; echo last words > /dev/termination-log; echo up",
            1,
            137,
            "last words\n",
        ),
    ];
    for (name, begin, grace, code, message) in cases {
        fs::write(&said, "").unwrap();
        let script = format!("{begin}; while :; do sleep 0.05; done");
        let mut config = suite.harness.container(name, BUSYBOX, &["sh", "-c", &script]);
        config.mounts.push(Mount {
            container_path: "/dev/termination-log".to_owned(),
            host_path: said.to_str().unwrap().to_owned(),
            ..Default::default()
        });
        let container = suite.started(&id, config, &pod).await;
        let log = suite.log_path("message", name);
        let is_up = async || fs::read_to_string(&log).unwrap_or_default().ends_with("up\n");
        suite.until("it is up", is_up).await;
        suite.stop_container(&container, grace).await;
        assert_eq!(fs::read_to_string(&said).unwrap(), message);
        assert_eq!(suite.status(&container).await.exit_code, code);
    }
    fs::remove_file(&said).unwrap();
    suite.remove(&id).await;
    suite.assert_nothing_left();
}
