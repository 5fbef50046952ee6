//! The life of pods and containers.

use super::{Machine, container, container_with_volumes, pod, run, running};
use crate::event::EventKind::{Created, Deleted, Started, Stopped};
use crate::model::Tags;
use crate::status::{ContainerFilter, PodFilter};
use crate::{ContainerPhase, Kind, Owner, PodPhase};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const OWNER: &Owner = &Owner::Cri;

#[tokio::test]
async fn a_pod_lives_and_leaves_nothing_and_tells_each_change_in_order() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let mut events = engine.events(OWNER);
    let (pod, id) = running(&engine, "web").await;
    let status = engine.container_status(OWNER, id.as_str(), true).await.unwrap();
    assert_eq!((status.phase, status.started_at), (ContainerPhase::Running, 7));
    assert_eq!(status.image_id, "sha256:1");
    let info = status.info.unwrap();
    assert_eq!(info["sandboxID"], pod.as_str());
    assert_eq!(info["runtimeSpec"]["process"]["args"][0], "/bin/web");
    let status = engine.pod_status(OWNER, &pod.as_str()[..12], true).await.unwrap();
    assert!(status.is_ready() && status.ips.len() == 1);
    engine.stop_container(OWNER, id.as_str(), Duration::from_secs(1)).await.unwrap();
    let status = engine.container_status(OWNER, id.as_str(), false).await.unwrap();
    let exit = status.exit.unwrap();
    assert_eq!((exit.code, exit.reason.as_str(), exit.at), (143, "Error", 99));
    engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    engine.remove_container(OWNER, id.as_str()).await.unwrap();
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
    let mut seen = Vec::new();
    let mut last = 0;
    while seen.len() < 8 {
        let event = events.next().await.unwrap();
        assert!(event.at > last);
        last = event.at;
        seen.push((event.kind, event.container.is_some()));
    }
    let expected = [
        (Created, false),
        (Started, false),
        (Created, true),
        (Started, true),
        (Stopped, true),
        (Stopped, false),
        (Deleted, true),
        (Deleted, false),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_image_that_is_a_volume_is_leased_told_by_its_id_and_given_back() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let before = machine.remains();
    let config = container_with_volumes("c");
    let id = engine.create_container(OWNER, pod.as_str(), config).await.unwrap();
    assert!(machine.remains().contains(&format!("image sha256:1 of {id}")));
    let status = engine.container_status(OWNER, id.as_str(), true).await.unwrap();
    let image = status.mounts[1].image.clone().unwrap();
    assert_eq!([image.image, image.image_ref], ["sha256:1", "sha256:1"]);
    assert_eq!(image.user_specified, "web");
    let mounts = status.info.unwrap()["runtimeSpec"]["mounts"].clone();
    let mount = mounts.as_array().unwrap().iter().find(|m| m["destination"] == "/data").unwrap();
    assert_eq!((&mount["type"], &mount["options"][0]), (&"overlay".into(), &"ro".into()));
    engine.remove_container(OWNER, id.as_str()).await.unwrap();
    assert_eq!(machine.remains(), before);
}

#[tokio::test]
async fn a_volume_that_cannot_be_mounted_is_told_in_words_that_a_kubelet_knows() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let before = machine.remains();
    for (image, sub_path, why) in [
        ("missing", "", "mount /data: image missing: not found"),
        ("web", "missing", "mount /data: image sha256:1: not found in the image"),
    ] {
        let mut config = container_with_volumes("c");
        config.mounts.truncate(1);
        config.mounts[0].image.as_mut().unwrap().image = image.into();
        config.mounts[0].image_sub_path = sub_path.into();
        let error = engine.create_container(OWNER, pod.as_str(), config).await.unwrap_err();
        let told = format!("ImageVolumeMountFailed: create container c: {why}");
        assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, told));
        assert_eq!(machine.remains(), before);
    }
}

#[tokio::test]
async fn a_call_for_stats_walks_no_writable_layer_and_waits_for_no_walk() {
    let machine = Machine::new();
    machine.world.layer_gate.forget_permits(Semaphore::MAX_PERMITS);
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    let limit = Duration::from_secs(10);
    // The walk in the background has begun, and does not end.
    let begun = async {
        while machine.world.layer_walks() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, begun).await.unwrap();
    let calls = async {
        let containers = engine.list_container_stats(OWNER, &ContainerFilter::default()).await;
        assert_eq!(containers.len(), 1);
        assert!(containers[0].writable_layer.is_none());
        assert_eq!(engine.list_pod_stats(OWNER, &PodFilter::default()).await.len(), 1);
        engine.container_stats(OWNER, id.as_str()).await.unwrap();
        engine.pod_stats(OWNER, pod.as_str()).await.unwrap();
    };
    tokio::time::timeout(limit, calls).await.unwrap();
    assert_eq!(machine.world.layer_walks(), 1, "only the one in the background");
}

#[tokio::test]
async fn writable_layers_take_what_those_of_all_containers_take_together() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    assert!(engine.writable_layers().is_none(), "there is no container");
    running(&engine, "one").await;
    running(&engine, "two").await;
    let both = async {
        loop {
            match engine.writable_layers() {
                Some(all) if all.inodes > 2 => return all,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    assert_eq!((all.bytes, all.inodes), (2 * 4096, 4));
    assert_eq!(all.mountpoint.to_str(), Some("/layers"));
    assert!(all.at > 0);
}

#[tokio::test]
async fn a_retry_gets_the_pod_that_stands_and_another_config_is_refused() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let id = run(&engine, "web").await;
    assert_eq!(run(&engine, "web").await, id);
    let mut other = pod("web");
    other.labels.insert("a".into(), "b".into());
    let refused = engine.run_pod(OWNER, other.clone(), "").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Exists);
    other.attempt = 1;
    assert_ne!(engine.run_pod(OWNER, other, "").await.unwrap(), id);
    engine.stop_pod(OWNER, id.as_str()).await.unwrap();
    let refused = engine.run_pod(OWNER, pod("web"), "").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Exists);
    engine.remove_pod(OWNER, id.as_str()).await.unwrap();
    assert_ne!(run(&engine, "web").await, id);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_job_that_its_retry_joins_and_nobody_sees_before() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    machine.world.network_gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut first = Box::pin(engine.run_pod(OWNER, pod("web"), ""));
    while machine.world.remains().iter().all(|left| !left.starts_with("attachment")) {
        let tick = tokio::time::timeout(Duration::from_millis(1), &mut first).await;
        assert!(tick.is_err(), "it waits for the network");
    }
    drop(first);
    assert!(engine.list_pods(OWNER, &PodFilter::default()).is_empty());
    let second = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run_pod(OWNER, pod("web"), "").await }
    });
    machine.world.network_gate.add_permits(1);
    let id = second.await.unwrap().unwrap();
    let listed = engine.list_pods(OWNER, &PodFilter::default());
    assert_eq!(listed.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&id]);
}

#[tokio::test]
async fn verbs_on_what_is_unknown_or_done_are_done() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let nobody = "f".repeat(64);
    for id in [nobody.as_str(), "abc"] {
        engine.stop_pod(OWNER, id).await.unwrap();
        engine.remove_pod(OWNER, id).await.unwrap();
        engine.stop_container(OWNER, id, Duration::ZERO).await.unwrap();
        engine.remove_container(OWNER, id).await.unwrap();
        let kind = |error: crate::Error| error.kind();
        let status = engine.pod_status(OWNER, id, false).await;
        assert_eq!(status.map(|_| ()).map_err(kind), Err(Kind::NotFound));
        let status = engine.container_status(OWNER, id, false).await;
        assert_eq!(status.map(|_| ()).map_err(kind), Err(Kind::NotFound));
    }
    let (pod, id) = running(&engine, "web").await;
    for _ in 0..2 {
        engine.stop_container(OWNER, id.as_str(), Duration::ZERO).await.unwrap();
        engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    }
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test]
async fn the_pods_of_another_owner_do_not_exist() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    let other = &Owner::Engine("rrun".into());
    assert!(engine.list_pods(other, &PodFilter::default()).is_empty());
    assert!(engine.list_containers(other, &ContainerFilter::default()).is_empty());
    assert_eq!(
        engine.pod_status(other, pod.as_str(), false).await.unwrap_err().kind(),
        Kind::NotFound
    );
    engine.remove_pod(other, pod.as_str()).await.unwrap();
    engine.remove_container(other, id.as_str()).await.unwrap();
    assert_eq!(engine.list_containers(OWNER, &ContainerFilter::default()).len(), 1);
    let same_name = engine.run_pod(other, super::pod("web"), "").await.unwrap();
    assert_ne!(same_name, pod);
}

#[tokio::test]
async fn lists_are_filtered_by_everything_that_is_given() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let mut config = pod("one");
    config.labels = Tags::from([("app".into(), "web".into()), ("tier".into(), "x".into())]);
    let one = engine.run_pod(OWNER, config, "").await.unwrap();
    let two = run(&engine, "two").await;
    let list = |filter: PodFilter| {
        let all = engine.list_pods(OWNER, &filter);
        all.into_iter().map(|pod| pod.id).collect::<Vec<_>>()
    };
    assert_eq!(list(PodFilter::default()), [one.clone(), two.clone()]);
    let app = Tags::from([("app".into(), "web".into())]);
    assert_eq!(
        list(PodFilter { labels: app.clone(), ..PodFilter::default() }),
        std::slice::from_ref(&one)
    );
    let id = Some(two.as_str()[..10].to_owned());
    assert_eq!(
        list(PodFilter { id: id.clone(), ..PodFilter::default() }),
        std::slice::from_ref(&two)
    );
    assert!(list(PodFilter { id, labels: app, ..PodFilter::default() }).is_empty());
    engine.stop_pod(OWNER, two.as_str()).await.unwrap();
    assert_eq!(list(PodFilter { ready: Some(false), ..PodFilter::default() }), [two]);
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_ends_its_container_with_128_and_a_reason() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let id = engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap();
    machine.world.set_unexecutable();
    let error = engine.start_container(OWNER, id.as_str()).await.unwrap_err();
    assert!(error.to_string().contains("not found in $PATH"), "{error}");
    let exit = engine.container_status(OWNER, id.as_str(), false).await.unwrap().exit.unwrap();
    assert_eq!((exit.code, exit.reason.as_str()), (128, "StartError"));
    assert!(exit.message.contains("not found in $PATH"));
    let error = engine.start_container(OWNER, id.as_str()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
}

#[tokio::test]
async fn an_end_is_told_with_its_code() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (_, id) = running(&engine, "web").await;
    let mut events = engine.events(OWNER);
    machine.world.end(id.as_str(), 3);
    let event = events.next().await.unwrap();
    assert_eq!((event.kind, event.container.as_ref()), (Stopped, Some(&id)));
    let exit = event.containers[0].exit.clone().unwrap();
    assert_eq!((exit.code, exit.reason.as_str()), (3, "Error"));
}

#[tokio::test]
async fn a_pod_whose_shim_dies_ends_with_a_reason_and_can_be_removed_and_others_notice_nothing() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    let (other, _) = running(&engine, "other").await;
    let mut events = engine.events(OWNER);
    machine.world.kill_shim(&pod);
    while events.next().await.unwrap().container.is_some() {}
    let status = engine.pod_status(OWNER, pod.as_str(), false).await.unwrap();
    assert_eq!((status.phase, status.reason.as_str()), (PodPhase::Ending, "ShimLost"));
    let exit = engine.container_status(OWNER, id.as_str(), false).await.unwrap().exit.unwrap();
    assert_eq!((exit.code, exit.reason.as_str()), (137, "ShimLost"));
    assert!(engine.pod_status(OWNER, other.as_str(), false).await.unwrap().is_ready());
    engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    engine.remove_pod(OWNER, other.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test]
async fn a_broken_network_keeps_a_pod_until_it_is_mended() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, _) = running(&engine, "web").await;
    machine.world.set_broken_network(true);
    assert!(engine.stop_pod(OWNER, pod.as_str()).await.is_err());
    assert!(engine.remove_pod(OWNER, pod.as_str()).await.is_err());
    assert!(!engine.pod_status(OWNER, pod.as_str(), false).await.unwrap().is_ready());
    machine.world.set_broken_network(false);
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test]
async fn a_container_of_a_missing_image_is_not_found_and_leaves_nothing() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let mut config = container("c");
    config.image.image = "missing".into();
    let before = machine.remains();
    let error = engine.create_container(OWNER, pod.as_str(), config).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(machine.remains(), before);
}

#[tokio::test]
async fn exec_sync_collects_both_outputs_and_the_code() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (_, id) = running(&engine, "web").await;
    let output = engine.exec_sync(OWNER, id.as_str(), vec!["x".into()], None).await.unwrap();
    assert_eq!(
        (&output.stdout[..], &output.stderr[..], output.code),
        (&b"out"[..], &b"err"[..], 3)
    );
    engine.stop_container(OWNER, id.as_str(), Duration::ZERO).await.unwrap();
    let error = engine.exec_sync(OWNER, id.as_str(), vec!["x".into()], None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
}

#[tokio::test]
async fn probes_do_not_write_to_the_records_of_images_each_time() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (_, id) = running(&engine, "web").await;
    for _ in 0..20 {
        engine.exec_sync(OWNER, id.as_str(), vec!["x".into()], None).await.unwrap();
    }
    let noted = async {
        while machine.world.uses_noted() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.expect("the start is noted");
    assert_eq!(machine.world.uses_noted(), 1);
}

#[tokio::test]
async fn ten_pods_at_once_are_made_and_removed() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let engine = Arc::new(engine);
    let mut all = tokio::task::JoinSet::new();
    for n in 0..10 {
        let engine = Arc::clone(&engine);
        all.spawn(async move { running(&engine, &format!("p{n}")).await.0 });
    }
    let ids = all.join_all().await;
    assert_eq!(engine.list_containers(OWNER, &ContainerFilter::default()).len(), 10);
    for id in ids {
        engine.remove_pod(OWNER, id.as_str()).await.unwrap();
    }
    assert_eq!(machine.remains(), [""; 0]);
}
