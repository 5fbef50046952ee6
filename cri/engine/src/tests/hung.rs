//! A shim that does not answer, and undos that fail.

use super::{Machine, container, pod, run, running};
use crate::steps::faults;
use crate::{ContainerPhase, Kind, Owner};
use rrun_sys::step::Point;
use std::time::Duration;

const OWNER: &Owner = &Owner::Cri;

/// Lets the others go on until something is so. A paused clock stands still meanwhile.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(120), "not in two minutes: {what}");
        tokio::task::yield_now().await;
    }
}

/// The same while a paused clock goes on, a day at most.
async fn in_a_day(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..86_400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not in a day: {what}");
}

#[tokio::test]
async fn verbs_on_a_hung_shim_fail_in_time_and_succeed_once_it_goes_on() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let id = engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap();
    machine.world.set_hung(true);
    let kind = |error: crate::Error| error.kind();
    let started = engine.start_container(OWNER, id.as_str()).await;
    assert_eq!(started.map_err(kind), Err(Kind::Timeout));
    let other = engine.create_container(OWNER, pod.as_str(), container("d")).await;
    assert_eq!(other.map_err(kind), Err(Kind::Timeout));
    let removed = engine.remove_container(OWNER, id.as_str()).await;
    assert_eq!(removed.map_err(kind), Err(Kind::Timeout));
    assert_eq!(engine.list_containers(OWNER, &Default::default()).len(), 1);
    assert!(engine.pod_status(OWNER, pod.as_str(), false).await.unwrap().is_ready());
    machine.world.set_hung(false);
    engine.start_container(OWNER, id.as_str()).await.unwrap();
    let other = engine.create_container(OWNER, pod.as_str(), container("d")).await.unwrap();
    engine.start_container(OWNER, other.as_str()).await.unwrap();
    engine.remove_container(OWNER, id.as_str()).await.unwrap();
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test]
async fn a_pod_with_a_hung_shim_is_stopped_and_removed_without_it() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    machine.world.set_hung(true);
    engine.create_container(OWNER, pod.as_str(), container("half")).await.unwrap_err();
    engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    let exit = engine.container_status(OWNER, id.as_str(), false).await.unwrap().exit.unwrap();
    assert_eq!((exit.code, exit.reason.as_str()), (137, "ShimLost"));
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_making_hangs_keeps_nobody_from_anything_and_ends_with_its_pod() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    machine.world.set_hung_creates(true);
    let create = |name: &str| {
        let (engine, pod, config) = (engine.clone(), pod.clone(), container(name));
        tokio::spawn(async move { engine.create_container(OWNER, pod.as_str(), config).await })
    };
    let hangs = create("hangs");
    let is_group = |left: &String| left.starts_with("group");
    let groups = || machine.world.remains().iter().filter(|left| is_group(left)).count();
    until("it is being made", async || groups() >= 3).await;
    machine.world.set_hung_creates(false);
    let other = create("other").await.unwrap().unwrap();
    engine.start_container(OWNER, other.as_str()).await.unwrap();
    engine.remove_container(OWNER, id.as_str()).await.unwrap();
    assert!(!hangs.is_finished());
    engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    let refused = hangs.await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), Kind::Timeout);
    let words = "create container hangs: the pod is stopped before its shim has answered";
    assert_eq!(refused.to_string(), words);
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_keeps_nobody_else_of_its_pod_waiting() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    let create = async |name: &str| {
        engine.create_container(OWNER, pod.as_str(), container(name)).await.unwrap()
    };
    let hangs = create("hangs").await;
    machine.world.set_hung_starts(true);
    let start = tokio::spawn({
        let (engine, hangs) = (engine.clone(), hangs.clone());
        async move { engine.start_container(OWNER, hangs.as_str()).await }
    });
    tokio::task::yield_now().await;
    machine.world.set_hung_starts(false);
    let other = create("other").await;
    engine.start_container(OWNER, other.as_str()).await.unwrap();
    engine.update_resources(OWNER, other.as_str(), Default::default()).await.unwrap();
    machine.world.end(other.as_str(), 3);
    let status = async || engine.container_status(OWNER, other.as_str(), false).await.unwrap();
    until("its end is on record", async || status().await.exit.is_some()).await;
    engine.stop_container(OWNER, id.as_str(), Duration::ZERO).await.unwrap();
    engine.remove_container(OWNER, id.as_str()).await.unwrap();
    assert!(!start.is_finished());
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(start.await.unwrap().unwrap_err().kind(), Kind::Timeout);
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_what_does_not_die_keeps_nobody_else_of_its_pod_waiting() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, id) = running(&engine, "web").await;
    machine.world.set_undying(&pod, id.as_str(), true);
    let removal = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.remove_container(OWNER, id.as_str()).await }
    });
    tokio::task::yield_now().await;
    let other = engine.create_container(OWNER, pod.as_str(), container("other")).await.unwrap();
    engine.start_container(OWNER, other.as_str()).await.unwrap();
    engine.remove_container(OWNER, other.as_str()).await.unwrap();
    assert!(!removal.is_finished());
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(removal.await.unwrap().unwrap_err().kind(), Kind::Timeout);
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_busy_with_nobody_in_it_is_tried_again_and_then_told() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (pod, _) = running(&engine, "web").await;
    machine.world.set_busy(30);
    engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    machine.world.set_busy(usize::MAX);
    let (other, _) = running(&engine, "other").await;
    let error = engine.stop_pod(OWNER, other.as_str()).await.unwrap_err();
    assert!(error.to_string().ends_with("EBUSY"), "{error}");
    machine.world.set_busy(0);
    for pod in [pod, other] {
        engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    }
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_shim_did_after_it_was_given_up_comes_on_record() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let id = engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap();
    machine.world.set_hung(true);
    engine.start_container(OWNER, id.as_str()).await.unwrap_err();
    machine.world.start(id.as_str());
    machine.world.set_hung(false);
    let phase = async || engine.container_status(OWNER, id.as_str(), false).await.unwrap().phase;
    assert_eq!(phase().await, ContainerPhase::Created);
    in_a_day("it is looked at", async || phase().await != ContainerPhase::Created).await;
    assert_eq!(phase().await, ContainerPhase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_could_not_be_taken_back_is_tried_again_until_nothing_is_left() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    machine.world.set_broken_network(true);
    faults::plan("engine.run-pod.network", Point::After, false);
    engine.run_pod(OWNER, pod("web"), "").await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(machine.remains().iter().any(|left| left.starts_with("attachment")));
    machine.world.set_broken_network(false);
    in_a_day("nothing is left", async || machine.remains().is_empty()).await;
}

#[tokio::test]
async fn a_container_that_could_not_be_taken_back_is_when_another_is_made_or_its_pod_stops() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let before = machine.remains();
    let half_make = async || {
        machine.world.set_broken_images(true);
        faults::plan("engine.create-container.init", Point::After, false);
        engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap_err();
        machine.world.set_broken_images(false);
        assert!(machine.remains().iter().any(|left| left.starts_with("lease")));
    };
    half_make().await;
    let made = engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap();
    engine.remove_container(OWNER, made.as_str()).await.unwrap();
    assert_eq!(machine.remains(), before);
    half_make().await;
    engine.stop_pod(OWNER, pod.as_str()).await.unwrap();
    assert!(machine.remains().iter().all(|left| !left.starts_with("lease")));
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}
