//! Parts of requests that only a real container can show.

use crate::foreign_image::open;
use crate::suite::*;
use futures::StreamExt;
use nix::sys::resource::{Resource, getrlimit};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_images::Holder;
use rrun_tests::harness::{BUSYBOX, WORK};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn namespaces(pid: NamespaceMode) -> Option<NamespaceOption> {
    Some(NamespaceOption { pid: pid as i32, ..Default::default() })
}

#[tokio::test]
async fn a_container_and_its_execs_have_a_session_keyring_of_their_own() {
    let suite = Suite::start().await;
    let mut config = suite.harness.pod("keys");
    config.linux.as_mut().unwrap().security_context =
        Some(LinuxSandboxSecurityContext { privileged: true, ..Default::default() });
    let pod = suite.run_pod(&config).await;
    // A privileged one, where /proc/keys is not masked, whose user sees a ring of root's only as a
    // member of it.
    let script = "grep -o '_ses.[0-9a-f]*' /proc/keys; sleep 1000";
    let mut container = suite.harness.container("main", BUSYBOX, &["sh", "-c", script]);
    let security = LinuxContainerSecurityContext {
        privileged: true,
        run_as_user: Some(Int64Value { value: 1234 }),
        ..Default::default()
    };
    container.linux.as_mut().unwrap().security_context = Some(security);
    let id = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    let ring = format!("_ses.{id}");
    let log = suite.log_path("keys", "main");
    let said = async || fs::read_to_string(&log).is_ok_and(|text| text.contains("_ses."));
    suite.until("it has looked", said).await;
    assert!(fs::read_to_string(&log).unwrap().contains(&ring));
    let exec = suite.exec(&id, &["grep", "-c", &ring, "/proc/keys"], 10).await.unwrap();
    assert_eq!(exec.stdout, b"1\n");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_container_that_says_pod_has_the_processes_that_its_pod_gives_it() {
    let suite = Suite::start().await;
    let ns = |pid: i64| fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    let host = ns(std::process::id().into());
    for (pid, shared, is_host) in [
        (NamespaceMode::Pod, true, false),
        (NamespaceMode::Container, false, false),
        (NamespaceMode::Node, true, true),
    ] {
        let mut config = suite.harness.pod(&format!("pids-{shared}-{is_host}"));
        config.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
            namespace_options: namespaces(pid),
            ..Default::default()
        });
        let pod = suite.run_pod(&config).await;
        let mut all = Vec::new();
        for name in ["a", "b"] {
            let mut container = suite.harness.container(name, WORK, &["/bin/sleeper"]);
            container.linux.as_mut().unwrap().security_context =
                Some(LinuxContainerSecurityContext {
                    namespace_options: namespaces(NamespaceMode::Pod),
                    ..Default::default()
                });
            let id = suite.create(&pod, container, &config).await.unwrap();
            suite.start_container(&id).await.unwrap();
            all.push(ns(suite.pid(&id).await));
        }
        assert_eq!(all[0] == all[1], shared);
        assert_eq!(all.contains(&host), is_host);
        suite.remove(&pod).await;
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn statuses_tell_containers_specs_and_more_to_who_is_verbose() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let (pod, id) = suite.run("told", &["/bin/sleeper"]).await;
    let shown = |info: &BTreeMap<String, String>, key: &str| -> bool {
        let info = info.get("info").and_then(|text| serde_json::from_str(text).ok());
        info.is_some_and(|info: serde_json::Value| !info[key].is_null())
    };
    for verbose in [false, true] {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose };
        let answer = client.pod_sandbox_status(request).await.unwrap();
        assert_eq!(shown(&answer.info, "pid"), verbose, "{:?}", answer.info);
        let [status] = &answer.containers_statuses[..] else { panic!("{answer:?}") };
        assert_eq!((&status.id, status.state), (&id, RUNNING));

        let request = ContainerStatusRequest { container_id: id.clone(), verbose };
        let answer = client.container_status(request).await.unwrap();
        assert_eq!(shown(&answer.info, "runtimeSpec"), verbose, "{:?}", answer.info);

        let image = ImageSpec { image: WORK.to_owned(), ..Default::default() };
        let request = ImageStatusRequest { image: Some(image), verbose };
        let answer = client.image_status(request).await.unwrap();
        assert_eq!(shown(&answer.info, "imageSpec"), verbose, "{:?}", answer.info);
        let image = answer.image.unwrap();
        assert_eq!(image.spec.unwrap().image, image.id);

        let answer = client.status(StatusRequest { verbose }).await.unwrap();
        assert_eq!(!answer.info.is_empty(), verbose, "{:?}", answer.info);
    }
    let listed = client.list_images(Default::default()).await.unwrap().images;
    assert!(listed.iter().all(|image| image.spec.as_ref().unwrap().image == image.id));
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

/// The list of images, which tells of each what is told of it alone; their names, and which is pinned.
async fn images(suite: &Suite) -> BTreeMap<String, bool> {
    let client = &suite.harness.client;
    let listed = client.list_images(Default::default()).await.unwrap().images;
    for image in &listed {
        let spec = ImageSpec { image: image.id.clone(), ..Default::default() };
        let request = ImageStatusRequest { image: Some(spec.clone()), verbose: false };
        let status = client.image_status(request).await.unwrap().image;
        assert_eq!(status.as_ref(), Some(image));
        let filter = ListImagesRequest { filter: Some(ImageFilter { image: Some(spec) }) };
        let alone = client.list_images(filter).await.unwrap().images;
        assert_eq!(alone, std::slice::from_ref(image));
    }
    listed.into_iter().map(|image| (image.repo_tags.join(" "), image.pinned)).collect()
}

#[tokio::test]
async fn a_list_of_images_tells_of_each_what_its_status_does_whoever_has_changed_what() {
    let suite = Suite::start().await;
    let (other, again) = (open(&suite.harness.sandbox().state()).await, "x.test/again:1");
    let listed = |all: &[(&str, bool)]| {
        all.iter().map(|(name, pinned)| ((*name).to_owned(), *pinned)).collect::<BTreeMap<_, _>>()
    };
    let both = listed(&[(BUSYBOX, false), (WORK, false)]);
    assert_eq!((images(&suite).await, images(&suite).await), (both.clone(), both.clone()));
    let (pod, _) = suite.run("has-one", &["/bin/sleeper"]).await;
    assert_eq!(images(&suite).await, both);

    other.tag(BUSYBOX, &again.parse().unwrap()).await.unwrap();
    let two = format!("{BUSYBOX} {again}");
    assert_eq!(images(&suite).await, listed(&[(&two, false), (WORK, false)]));
    let (holder, image) = (Holder::container("foreign").unwrap(), again);
    let id = other.find(image).await.unwrap().unwrap().id;
    other.view(&holder, &id).await.unwrap();
    assert_eq!(images(&suite).await, listed(&[(&two, true), (WORK, false)]));
    other.release(&holder).await.unwrap();
    other.untag(&again.parse().unwrap()).await.unwrap();
    assert_eq!(images(&suite).await, both);
    suite.remove(&pod).await;
    assert_eq!(images(&suite).await, both);
    drop(other);
    suite.assert_nothing_left();
}

#[tokio::test]
async fn stats_are_those_of_what_is_asked_for() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let mut pods = Vec::new();
    for name in ["one", "two"] {
        let mut config = suite.harness.pod(name);
        config.labels.insert("name".to_owned(), name.to_owned());
        let pod = suite.run_pod(&config).await;
        let mut container = suite.harness.container("main", WORK, &["/bin/sleeper"]);
        container.labels.insert("name".to_owned(), name.to_owned());
        let id = suite.create(&pod, container, &config).await.unwrap();
        suite.start_container(&id).await.unwrap();
        pods.push((pod, id));
    }
    let (pod_sandbox_id, container_id) = pods[0].clone();
    let label_selector = BTreeMap::from([("name".to_owned(), "one".to_owned())]);

    let request = ContainerStatsRequest { container_id: container_id.clone() };
    let stats = client.container_stats(request).await.unwrap().stats.unwrap();
    assert_eq!(stats.attributes.unwrap().id, container_id);
    assert!(stats.memory.unwrap().usage_bytes.unwrap().value > 0);
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod_sandbox_id.clone() };
    let stats = client.pod_sandbox_stats(request).await.unwrap().stats.unwrap();
    assert_eq!(stats.attributes.unwrap().id, pod_sandbox_id);
    let linux = stats.linux.unwrap();
    assert!(linux.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert_eq!(linux.network.unwrap().default_interface.unwrap().name, "eth0");
    assert_eq!(linux.containers[0].attributes.as_ref().unwrap().id, container_id);

    let of = |filter: ContainerStatsFilter| Some(filter);
    for filter in [
        ContainerStatsFilter { id: container_id.clone(), ..Default::default() },
        ContainerStatsFilter { pod_sandbox_id: pod_sandbox_id.clone(), ..Default::default() },
        ContainerStatsFilter { label_selector: label_selector.clone(), ..Default::default() },
    ] {
        let request = ListContainerStatsRequest { filter: of(filter.clone()) };
        let listed = client.list_container_stats(request).await.unwrap().stats;
        let request = StreamContainerStatsRequest { filter: of(filter) };
        let mut streamed = client.stream_container_stats(request).await.unwrap();
        let streamed = streamed.next().await.unwrap().unwrap().container_stats;
        for stats in [listed, streamed] {
            let ids: Vec<String> = stats.into_iter().map(|s| s.attributes.unwrap().id).collect();
            assert_eq!(ids, [container_id.as_str()]);
        }
    }
    for filter in [
        PodSandboxStatsFilter { id: pod_sandbox_id.clone(), ..Default::default() },
        PodSandboxStatsFilter { label_selector, ..Default::default() },
    ] {
        let request = ListPodSandboxStatsRequest { filter: Some(filter.clone()) };
        let listed = client.list_pod_sandbox_stats(request).await.unwrap().stats;
        let request = StreamPodSandboxStatsRequest { filter: Some(filter) };
        let mut streamed = client.stream_pod_sandbox_stats(request).await.unwrap();
        let streamed = streamed.next().await.unwrap().unwrap().pod_sandbox_stats;
        for stats in [listed, streamed] {
            let ids: Vec<String> = stats.into_iter().map(|s| s.attributes.unwrap().id).collect();
            assert_eq!(ids, [pod_sandbox_id.as_str()]);
        }
    }
    for (pod, _) in pods {
        suite.remove(&pod).await;
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_host_path_that_is_missing_is_made_and_its_containers_layer_is_in_image_fs_info() {
    let suite = Suite::start().await;
    let layers = async || {
        let info = suite.harness.client.image_fs_info(ImageFsInfoRequest {}).await.unwrap();
        let layers = info.container_filesystems[0].clone();
        assert_eq!(layers.fs_id, info.image_filesystems[0].fs_id, "they are on one disk");
        (layers.used_bytes.unwrap().value, layers.inodes_used.unwrap().value)
    };
    assert_eq!(layers().await, (0, 0), "there is no container");
    let missing = suite.harness.sandbox().root().join("missing/deep");
    let config = suite.harness.pod("made");
    let pod = suite.run_pod(&config).await;
    let script = "echo kept > /data/file && sleep 1000";
    let mut container = suite.harness.container("main", BUSYBOX, &["sh", "-c", script]);
    container.mounts = vec![Mount {
        host_path: missing.to_string_lossy().into_owned(),
        container_path: "/data".to_owned(),
        ..Default::default()
    }];
    let id = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    let written = async || fs::read_to_string(missing.join("file")).is_ok_and(|t| t == "kept\n");
    suite.until("the container has written there", written).await;
    suite.until("its layer is counted", async || layers().await.1 > 0).await;
    suite.remove(&pod).await;
    assert!(missing.is_dir(), "it stays, with what is in it");
    suite.assert_nothing_left();
}

#[tokio::test]
async fn the_runtime_tells_what_it_is_and_what_it_can() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let told = client.version(VersionRequest::default()).await.unwrap();
    assert_eq!((told.version.as_str(), told.runtime_api_version.as_str()), ("0.1.0", "v1"));
    assert_eq!((told.runtime_name.as_str(), told.runtime_version.is_empty()), ("rrun", false));
    let told = client.status(StatusRequest::default()).await.unwrap();
    let of = |c: &RuntimeCondition| (c.r#type.clone(), c.status);
    let conditions: Vec<_> = told.status.unwrap().conditions.iter().map(of).collect();
    assert_eq!(conditions, [("RuntimeReady".to_owned(), true), ("NetworkReady".to_owned(), true)]);
    let handlers: Vec<&str> = told.runtime_handlers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(handlers, ["", "rrun"]);
    let can = |h: &RuntimeHandler| h.features.as_ref().unwrap().recursive_read_only_mounts;
    assert!(told.runtime_handlers.iter().all(can));
    // By the trial of this host, which the suite of such pods needs.
    let can = |h: &RuntimeHandler| h.features.as_ref().unwrap().user_namespaces;
    assert!(told.runtime_handlers.iter().all(can), "{}", suite.daemon_log());
    assert!(told.features.unwrap().supplemental_groups_policy);
    let told = client.runtime_config(RuntimeConfigRequest {}).await.unwrap();
    assert_eq!(told.linux.unwrap().cgroup_driver, CgroupDriver::Cgroupfs as i32);
}

#[tokio::test]
async fn pods_containers_and_images_are_the_same_in_lists_streams_events_and_alone() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let mut events = client.get_container_events(GetEventsRequest {}).await.unwrap();
    let begun = now();
    let (pod_sandbox_id, container_id) = suite.run("told", &["/bin/sleeper"]).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert!(event.created_at >= begun);
        assert_eq!(event.pod_sandbox_status.unwrap().id, pod_sandbox_id);
        assert!(event.containers_statuses.iter().all(|status| status.id == container_id));
        seen.push((event.container_id, event.container_event_type));
    }
    let (made, started) = (
        ContainerEventType::ContainerCreatedEvent as i32,
        ContainerEventType::ContainerStartedEvent as i32,
    );
    let of = |id: &String| [(id.clone(), made), (id.clone(), started)];
    assert_eq!(seen, [of(&pod_sandbox_id), of(&container_id)].concat());

    let listed = client.list_pod_sandbox(Default::default()).await.unwrap().items;
    let mut stream = client.stream_pod_sandboxes(Default::default()).await.unwrap();
    let pod_sandboxes = stream.next().await.unwrap().unwrap().pod_sandboxes;
    assert_eq!((listed.len(), &listed[0].id), (1, &pod_sandbox_id));
    assert_eq!(pod_sandboxes, listed);
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod_sandbox_id.clone(), verbose: true };
    assert!(client.pod_sandbox_status(request).await.unwrap().timestamp >= begun);

    let listed = client.list_containers(Default::default()).await.unwrap().containers;
    let mut stream = client.stream_containers(Default::default()).await.unwrap();
    let containers = stream.next().await.unwrap().unwrap().containers;
    assert_eq!((listed.len(), &listed[0].id), (1, &container_id));
    assert_eq!(containers, listed);

    let image = ImageSpec { image: WORK.to_owned(), ..Default::default() };
    let pulled = PullImageRequest { image: Some(image.clone()), ..Default::default() };
    let image_ref = client.pull_image(pulled).await.unwrap().image_ref;
    let request = ImageStatusRequest { image: Some(image), verbose: false };
    let alone = client.image_status(request).await.unwrap().image.unwrap();
    assert_eq!((&alone.id, &alone.repo_tags[..]), (&image_ref, &[WORK.to_owned()][..]));
    assert!(alone.repo_digests[0].contains("/work@sha256:"), "{alone:?}");
    assert!(alone.size > 0 && !alone.pinned);
    let images = client.list_images(Default::default()).await.unwrap().images;
    assert!(images.contains(&alone), "{images:?}");
    let mut stream = client.stream_images(Default::default()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().images, images);
    suite.remove(&pod_sandbox_id).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_stop_and_an_exec_last_as_long_as_they_may() {
    let suite = Suite::start().await;
    let (pod, id) = suite.run("stubborn", &["/bin/stubborn"]).await;
    let begun = Instant::now();
    let request = ExecSyncRequest {
        container_id: id.clone(),
        cmd: ["/bin/work", "tree", "1"].map(str::to_owned).to_vec(),
        timeout: 1,
    };
    let late = suite.harness.client.exec_sync(request).await.unwrap_err();
    assert_eq!(late.code(), tonic::Code::DeadlineExceeded, "{late}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let begun = Instant::now();
    let request = StopContainerRequest { container_id: id.clone(), timeout: 2 };
    suite.harness.client.stop_container(request).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(suite.status(&id).await.exit_code, 137);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn who_attaches_is_read_where_that_is_asked_and_to_the_end_where_once() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("input");
    let pod = suite.run_pod(&config).await;
    let cat = async |name: &str, stdin: bool, stdin_once: bool| {
        let container = suite.harness.container(name, BUSYBOX, &["cat"]);
        let container = ContainerConfig { stdin, stdin_once, ..container };
        let id = suite.create(&pod, container, &config).await.unwrap();
        suite.start_container(&id).await.unwrap();
        id
    };
    let without = cat("without", false, false).await;
    assert_eq!(suite.ended(&without).await.exit_code, 0, "it has read the end at once");
    let (once, goes_on) = (cat("once", true, true).await, cat("goes-on", true, false).await);
    for (id, name) in [(&once, "once"), (&goes_on, "goes-on")] {
        assert_eq!(suite.status(id).await.state, RUNNING);
        let mut client = suite.crictl(&["attach", "--stdin", id]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let log = suite.log_path("input", name);
        let said = async || fs::read_to_string(&log).is_ok_and(|text| text.contains("F hello"));
        suite.until("it has said it again", said).await;
        if name == "goes-on" {
            client.kill().unwrap();
        }
        client.wait().unwrap();
    }
    assert_eq!(suite.ended(&once).await.exit_code, 0);
    assert_eq!(suite.status(&goes_on).await.state, RUNNING);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

/// `rrund` and its shims raise their own, for what they hold of many pods.
#[tokio::test]
async fn a_container_has_the_limit_of_files_that_the_daemon_was_called_with() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let suite = Suite::start_after("ulimit -Sn 1000").await;
    let files = |pid: i64| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        (numbers.next().unwrap(), numbers.next().unwrap())
    };
    assert_eq!(files(suite.harness.daemon().unwrap().pid().into()), (hard, hard));
    let (pod, container) = suite.run("files", &["/bin/sleeper"]).await;
    assert_eq!(files(suite.pid(&container).await), (1000, hard));
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
