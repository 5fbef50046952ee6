//! Pods that ask for a user namespace of their own, where the host has them and where it has not.

use super::{Machine, container, pod};
use crate::model::{IdMapping, NamespaceMode, PodConfig, UserNamespace};
use crate::ports::USER_NAMESPACES;
use crate::{Kind, Owner};
use nix::errno::Errno;
use rrun_sys::kernel::Feature;

const OWNER: &Owner = &Owner::Cri;

fn mapped() -> PodConfig {
    let ids = vec![IdMapping { host_id: 65536, container_id: 0, length: 65536 }];
    let userns = UserNamespace { mode: NamespaceMode::Pod, uids: ids.clone(), gids: ids };
    let mut config = pod("mapped");
    config.security.namespaces.userns = Some(userns);
    config
}

#[test]
fn a_host_that_cannot_map_ids_says_so_and_refuses_such_a_pod_before_anything_is_made() {
    let machine = Machine::new();
    let feature =
        |missing| Feature { name: USER_NAMESPACES, since: "", instead: Some(""), missing };
    machine.world.set_feature(feature(Some(Errno::EOPNOTSUPP)));
    machine.life(async |engine, _| {
        assert!(!engine.has_user_namespaces());
        let refused = engine.run_pod(OWNER, mapped(), "").await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid);
        let text = refused.to_string();
        assert!(text.contains("userns_options: this host lacks user namespaces"), "{text}");
        assert!(machine.remains().is_empty());
        engine.run_pod(OWNER, pod("plain"), "").await.unwrap();
    });
}

#[test]
fn the_configuration_of_a_container_has_the_pods_maps_and_a_later_engine_knows_them() {
    let machine = Machine::new();
    let made = machine.life(async |engine, _| {
        assert!(engine.has_user_namespaces());
        let pod = engine.run_pod(OWNER, mapped(), "").await.unwrap();
        engine.create_container(OWNER, pod.as_str(), container("c")).await.unwrap();
        pod
    });
    machine.life(async |engine, _| {
        let id = engine.create_container(OWNER, made.as_str(), container("later")).await.unwrap();
        let status = engine.container_status(OWNER, id.as_str(), true).await.unwrap();
        let linux = &status.info.unwrap()["runtimeSpec"]["linux"];
        for maps in ["uidMappings", "gidMappings"] {
            assert_eq!(linux[maps][0]["hostID"], 65536, "{linux}");
        }
        let status = engine.pod_status(OWNER, made.as_str(), false).await.unwrap();
        assert_eq!(status.config.id_maps(), mapped().id_maps());
    });
}
