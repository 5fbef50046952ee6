//! What plugins are told, and what is made of what they wish.

use super::{Machine, container, pod, run, running};
use crate::model::Resources;
use crate::ports::{Moment, WishedUpdate, Wishes};
use crate::{Kind, Owner};
use serde_json::json;

const OWNER: &Owner = &Owner::Cri;

#[test]
fn each_step_of_a_life_is_told_once_and_in_order() {
    let machine = Machine::new();
    machine.world.listen(None);
    machine.life(async |engine, _| {
        let (pod, id) = running(&engine, "web").await;
        let limits = Resources { cpu_shares: 5, ..Resources::default() };
        let pod = pod.as_str();
        engine.update_pod_resources(OWNER, pod, None, Some(limits.clone())).await.unwrap();
        engine.stop_container(OWNER, id.as_str(), Default::default()).await.unwrap();
        engine.stop_pod(OWNER, pod).await.unwrap();
        engine.stop_pod(OWNER, pod).await.unwrap();
        engine.remove_pod(OWNER, pod).await.unwrap();
        let update = format!("{:?}", Moment::UpdatePod(Box::new([None, Some(limits)])));
        let expected = [
            "RunPod",
            "CreateContainer c",
            "CreatedContainer c",
            "StartContainer c",
            "StartedContainer c",
            &update,
            "UpdatedPod",
            "StopContainer c",
            "StopPod",
            "RemoveContainer c",
            "RemovePod",
        ];
        assert_eq!(machine.world.told(), expected);
    });
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn a_no_ends_what_was_begun_and_whoever_heard_of_it_hears_its_end() {
    let machine = Machine::new();
    machine.life(async |engine, _| {
        machine.world.listen(Some(Moment::RunPod));
        let error = engine.run_pod(OWNER, pod("web"), "").await.unwrap_err();
        assert_eq!(error.to_string(), "run pod default/web: not on this node");
        assert_eq!(machine.world.told(), ["RunPod", "StopPod", "RemovePod"]);
        assert_eq!(machine.remains(), [""; 0]);
        machine.world.listen(Some(Moment::CreateContainer));
        let pod = run(&engine, "web").await;
        let create = async || engine.create_container(OWNER, pod.as_str(), container("c")).await;
        let error = create().await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        let told = machine.world.told();
        assert_eq!(told[1..], ["CreateContainer c", "StopContainer c", "RemoveContainer c"]);
        machine.world.listen(Some(Moment::StartContainer));
        let id = create().await.unwrap();
        engine.start_container(OWNER, id.as_str()).await.unwrap_err();
        machine.world.listen(None);
        engine.start_container(OWNER, id.as_str()).await.unwrap();
        engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    });
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn what_cannot_be_done_to_another_container_fails_the_one_that_is_made_unless_it_may() {
    let machine = Machine::new();
    machine.life(async |engine, _| {
        let (pod, first) = running(&engine, "web").await;
        machine.world.listen(None);
        let wish = |resources, may_fail| {
            let container = first.to_string();
            let updates = vec![WishedUpdate { container, resources, may_fail }];
            machine.world.wish(Wishes { updates, ..Wishes::default() });
        };
        let create =
            async |name| engine.create_container(OWNER, pod.as_str(), container(name)).await;
        let bad = || json!({"memory": {"limit": -7}});
        wish(bad(), false);
        let error = create("a").await.unwrap_err().to_string();
        assert!(error.contains(&format!("a plugin's update of container {first}: ")), "{error}");
        wish(bad(), true);
        create("b").await.unwrap();
        let spec = json!({"linux": null});
        machine.world.wish(Wishes { spec: Some(spec), ..Wishes::default() });
        create("c2").await.unwrap_err();
        engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
    });
    assert_eq!(machine.remains(), [""; 0]);
}

#[test]
fn who_comes_hears_of_what_is_there_and_not_of_what_has_ended() {
    let machine = Machine::new();
    machine.life(async |engine, _| {
        let (pod, id) = running(&engine, "web").await;
        let other = engine.create_container(OWNER, pod.as_str(), container("d")).await.unwrap();
        engine.stop_container(OWNER, id.as_str(), Default::default()).await.unwrap();
        let noted = engine.noted(OWNER).describe().await;
        let told: Vec<_> = noted[0].1.iter().map(|container| container.id.as_str()).collect();
        assert_eq!((noted.len(), noted[0].0.id.as_str()), (1, pod.as_str()));
        assert_eq!(told, [other.as_str()]);
        let noted = engine.noted(OWNER);
        engine.remove_pod(OWNER, pod.as_str()).await.unwrap();
        assert!(noted.describe().await.iter().all(|(_, containers)| containers.is_empty()));
        assert!(engine.noted(OWNER).describe().await.is_empty());
    });
}
