//! A node whose control groups are made by systemd.

use super::{Machine, container, pod, run, running};
use crate::{CgroupDriver, Kind, Owner};

const OWNER: &Owner = &Owner::Cri;

#[tokio::test]
async fn a_container_that_asks_is_placed_and_nothing_is_left_of_its_pod() {
    let machine = Machine::with(CgroupDriver::Systemd);
    let (engine, _) = machine.open().await;
    assert_eq!(engine.cgroup_driver(), CgroupDriver::Systemd);
    let (pod, id) = running(&engine, "web").await;
    // The reaper and the init.
    assert_eq!(machine.world.placed(), [2, 3]);
    let left = machine.remains().join(" ");
    for unit in [
        format!("/rrun.slice/rrun-shim-{pod}.scope"),
        format!("/rrun.slice/rrun-{pod}.slice/rrun-{pod}.scope"),
        format!("/rrun.slice/rrun-{pod}.slice/rrun-{id}.scope"),
    ] {
        assert!(left.contains(&unit), "{unit}: {left}");
    }
    let info = engine.container_status(OWNER, id.as_str(), true).await.unwrap().info.unwrap();
    let group = &info["runtimeSpec"]["linux"]["cgroupsPath"];
    assert_eq!(group, &format!("rrun-{pod}.slice:rrun:{id}"));
    engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
}

#[tokio::test]
async fn a_container_that_systemd_will_not_place_is_told_in_its_words_and_leaves_nothing() {
    let machine = Machine::with(CgroupDriver::Systemd);
    let (engine, _) = machine.open().await;
    let pod = run(&engine, "web").await;
    let before = machine.remains();
    machine.world.set_no_systemd();
    let error = engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap_err();
    assert!(error.to_string().contains("systemd says no"), "{error}");
    assert_eq!(machine.remains(), before);
}

#[tokio::test]
async fn a_clients_slice_is_used_where_systemd_has_it_and_anything_else_refused() {
    let machine = Machine::with(CgroupDriver::Systemd);
    let (engine, _) = machine.open().await;
    let mut config = pod("web");
    config.cgroup_parent = "kubepods-besteffort-pod1.slice".into();
    let id = engine.run_pod(OWNER, config, "").await.unwrap();
    let slice = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice";
    let left = machine.remains().join(" ");
    assert!(left.contains(&format!("{slice}/rrun-{id}.scope")), "{left}");
    engine.remove_pod(OWNER, id.as_str()).await.unwrap();
    assert_eq!(machine.remains(), [""; 0]);
    let mut config = pod("other");
    config.cgroup_parent = "/kubepods/pod1".into();
    let error = engine.run_pod(OWNER, config, "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("cgroup_parent"), "{error}");
}
