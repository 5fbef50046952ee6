//! A failure, or a death, at every step.

use super::{Machine, container_with_volumes, pod, run, running};
use crate::steps::faults;
use crate::verbs::create_container::CREATE_CONTAINER;
use crate::verbs::run_pod::RUN_POD;
use crate::{CgroupDriver, Engine, Owner};
use rrun_sys::step::Point;

const OWNER: &Owner = &Owner::Cri;

/// The steps by which systemd puts a process into its groups.
const PLACE_REAPER: &str = "engine.run-pod.place-reaper";
const PLACE: &str = "engine.create-container.place";

fn points(names: Vec<&'static str>) -> impl Iterator<Item = (&'static str, Point)> {
    names.into_iter().flat_map(|name| [(name, Point::Before), (name, Point::After)])
}

const DRIVERS: [CgroupDriver; 2] = [CgroupDriver::Cgroupfs, CgroupDriver::Systemd];

/// The same under each driver of control groups, with the steps that only systemd's has.
fn under_each_driver(
    names: Vec<&'static str>,
    placing: &'static str,
) -> impl Iterator<Item = (CgroupDriver, &'static str, Point)> {
    DRIVERS.into_iter().flat_map(move |driver| {
        let more = (driver == CgroupDriver::Systemd).then_some(placing);
        let names = names.iter().copied().chain(more.filter(|name| !name.is_empty()));
        points(names.collect()).map(move |(name, point)| (driver, name, point))
    })
}

async fn remove_all(engine: &Engine) {
    for pod in engine.list_pods(OWNER, &Default::default()) {
        engine.remove_pod(OWNER, pod.id.as_str()).await.unwrap();
    }
}

#[test]
fn a_pod_that_fails_at_any_step_leaves_nothing_and_its_retry_succeeds() {
    for (driver, name, point) in under_each_driver(RUN_POD.names(), PLACE_REAPER) {
        let machine = Machine::with(driver);
        machine.life(async |engine, _| {
            faults::plan(name, point, false);
            let failed = engine.run_pod(OWNER, pod("web"), "").await;
            assert!(failed.unwrap_err().to_string().contains("on purpose"), "{name} {point:?}");
            assert_eq!(machine.remains(), [""; 0], "{name} {point:?}");
            assert!(engine.list_pods(OWNER, &Default::default()).is_empty());
            run(&engine, "web").await;
            remove_all(&engine).await;
        });
    }
}

#[test]
fn a_container_that_fails_at_any_step_leaves_nothing_and_its_retry_succeeds() {
    for (driver, name, point) in under_each_driver(CREATE_CONTAINER.names(), PLACE) {
        let machine = Machine::with(driver);
        machine.life(async |engine, _| {
            let pod = run(&engine, "web").await;
            let before = machine.remains();
            faults::plan(name, point, false);
            let failed =
                engine.create_container(OWNER, pod.as_str(), container_with_volumes("c")).await;
            assert!(failed.unwrap_err().to_string().contains("on purpose"), "{name} {point:?}");
            assert_eq!(machine.remains(), before, "{name} {point:?}");
            let made = engine
                .create_container(OWNER, pod.as_str(), container_with_volumes("c"))
                .await
                .unwrap();
            engine.remove_container(OWNER, made.as_str()).await.unwrap();
            assert_eq!(machine.remains(), before, "{name} {point:?}");
            engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
            assert_eq!(machine.remains(), [""; 0]);
        });
    }
}

#[test]
fn a_pod_whose_maker_dies_at_any_step_is_taken_back_by_the_next_one() {
    for (driver, name, point) in under_each_driver(RUN_POD.names(), PLACE_REAPER) {
        let machine = Machine::with(driver);
        machine.life(async |engine, _| {
            faults::plan(name, point, true);
            engine.run_pod(OWNER, pod("web"), "").await.unwrap_err();
        });
        let done = name == "engine.run-pod.ready" && point == Point::After;
        machine.life(async |engine, recovery| {
            let listed = engine.list_pods(OWNER, &Default::default()).len();
            assert_eq!(listed, usize::from(done), "{name} {point:?}");
            assert!(recovery.not_undone.is_empty(), "{name} {point:?}: {:?}", recovery.not_undone);
            run(&engine, "web").await;
            remove_all(&engine).await;
        });
        assert_eq!(machine.remains(), [""; 0], "{name} {point:?}");
    }
}

#[test]
fn a_container_whose_maker_dies_at_any_step_is_taken_back_by_the_next_one() {
    for (driver, name, point) in under_each_driver(CREATE_CONTAINER.names(), PLACE) {
        let machine = Machine::with(driver);
        machine.life(async |engine, _| {
            let pod = run(&engine, "web").await;
            faults::plan(name, point, true);
            let died =
                engine.create_container(OWNER, pod.as_str(), container_with_volumes("c")).await;
            died.unwrap_err();
        });
        machine.life(async |engine, _| {
            let pod = run(&engine, "web").await;
            let made = engine
                .create_container(OWNER, pod.as_str(), container_with_volumes("c"))
                .await
                .unwrap();
            let listed = engine.list_containers(OWNER, &Default::default());
            assert_eq!(listed.len(), 1, "{name} {point:?}");
            engine.start_container(OWNER, made.as_str()).await.unwrap();
            remove_all(&engine).await;
        });
        assert_eq!(machine.remains(), [""; 0], "{name} {point:?}");
    }
}

#[test]
fn a_stop_or_a_removal_that_dies_at_any_step_is_finished_by_the_next_one() {
    let steps = [
        "engine.stop-pod.ending",
        "engine.stop-pod.making",
        "engine.stop-pod.containers",
        "engine.stop-pod.plugins",
        "engine.stop-pod.network",
        "engine.stop-pod.shim",
        "engine.stop-pod.netns",
        "engine.stop-pod.half-made",
        "engine.stop-pod.container-cgroups",
        "engine.stop-pod.cgroup",
        "engine.stop-pod.stopped",
        "engine.remove-container.kill",
        "engine.remove-container.plugins",
        "engine.remove-container.removing",
        "engine.remove-container.hooks",
        "engine.remove-container.init",
        "engine.remove-container.rootfs",
        "engine.remove-container.spec",
        "engine.remove-container.record",
        "engine.remove-pod.removing",
        "engine.remove-pod.state-dir",
        "engine.remove-pod.run-dir",
    ];
    for (driver, name, point) in under_each_driver(steps.to_vec(), "") {
        let machine = Machine::with(driver);
        let id = machine.life(async |engine, _| {
            let (pod, _) = running(&engine, "web").await;
            faults::plan(name, point, true);
            engine.remove_pod(OWNER, pod.as_str()).await.unwrap_err();
            pod
        });
        machine.life(async |engine, recovery| {
            assert!(recovery.not_undone.is_empty(), "{name} {point:?}: {:?}", recovery.not_undone);
            engine.stop_pod(OWNER, id.as_str()).await.unwrap();
            engine.remove_pod(OWNER, id.as_str()).await.unwrap();
        });
        assert_eq!(machine.remains(), [""; 0], "{name} {point:?}");
    }
}

#[test]
fn a_network_that_cannot_be_taken_back_keeps_its_record_and_is_tried_again_at_the_next_open() {
    let machine = Machine::new();
    machine.life(async |engine, _| {
        machine.world.set_broken_network(true);
        faults::plan("engine.run-pod.network", Point::After, false);
        engine.run_pod(OWNER, pod("web"), "").await.unwrap_err();
        assert!(engine.list_pods(OWNER, &Default::default()).is_empty());
    });
    assert!(machine.remains().iter().any(|left| left.starts_with("lib/pods")));
    machine.world.set_broken_network(false);
    machine.life(async |_, recovery| assert!(recovery.not_undone.is_empty()));
    assert_eq!(machine.remains(), [""; 0]);
}
