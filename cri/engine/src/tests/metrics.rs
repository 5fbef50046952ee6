//! When the figures are read that metrics tell.

use super::{Machine, running};
use crate::Owner;
use std::time::Duration;

const OWNER: &Owner = &Owner::Cri;

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn the_figures_of_metrics_are_read_in_the_background_for_as_long_as_somebody_asks() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    running(&engine, "one").await;
    let world = &machine.world;
    tokio::time::pause();
    after(60).await;
    assert_eq!(world.counted(), 0, "nobody asks");

    let pods = engine.list_pod_metrics(OWNER).await;
    assert_eq!((pods.len(), pods[0].containers.len(), world.counted()), (1, 1, 1));
    assert!(pods[0].containers[0].counts.is_some() && pods[0].interfaces.is_some());
    engine.list_pod_metrics(OWNER).await;
    assert_eq!(world.counted(), 1, "they are fresh");
    after(25).await;
    assert_eq!(world.counted(), 3, "read after 10 seconds, and after 20");
    engine.list_pod_metrics(OWNER).await;
    assert_eq!(world.counted(), 3);

    after(200).await;
    let at_the_end = world.counted();
    assert!(at_the_end <= 3 + 13, "{at_the_end}");
    after(200).await;
    assert_eq!(world.counted(), at_the_end, "nobody has asked for minutes");
}

#[tokio::test]
async fn metrics_tell_of_running_containers_in_ready_pods_of_the_caller() {
    let machine = Machine::new();
    let (engine, _) = machine.open().await;
    let (first, id) = running(&engine, "one").await;
    let (second, _) = running(&engine, "two").await;
    let other = Owner::Engine("other".to_owned());
    assert_eq!(engine.list_pod_metrics(&other).await.len(), 0);
    let told: Vec<_> = engine.list_pod_metrics(OWNER).await.into_iter().map(|pod| pod.id).collect();
    assert_eq!(told, [first.clone(), second.clone()]);
    engine.stop_container(OWNER, id.as_str(), Duration::from_secs(1)).await.unwrap();
    engine.stop_pod(OWNER, second.as_str()).await.unwrap();
    let told = engine.list_pod_metrics(OWNER).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].containers.is_empty(), "it has ended");
}
