//! How often the runtime's lists are looked at, and what is missed meanwhile.

use super::*;

const CRASHES: &str = "  containers: [{name: a, image: x:1}]\n";

/// A runtime that streams its events, and a pod that has begun; its container ends once, `ends`
/// seconds after its start.
async fn streamed(ends: u64) -> (Scene, PodHandle) {
    let scene = Scene::new().await;
    scene.cri.stream_events(true);
    scene.cri.script("a", &[Life::ends(ends, 1), Life::FOREVER]);
    let pod = scene.run(CRASHES);
    (scene, pod)
}

/// How often containers are listed in so many seconds.
async fn lists_in(scene: &Scene, n: u64) -> usize {
    let before = scene.cri.lists();
    seconds(n).await;
    scene.cri.lists() - before
}

#[tokio::test(start_paused = true)]
async fn lists_are_rare_while_events_are_streamed_and_come_each_second_without() {
    let (scene, _pod) = streamed(86_400).await;
    seconds(60).await;
    assert_eq!(lists_in(&scene, 300).await, 10);
    scene.cri.stream_events(false);
    seconds(1).await;
    assert!((299..=301).contains(&lists_in(&scene, 300).await));
    scene.cri.stream_events(true);
    seconds(60).await;
    assert_eq!(lists_in(&scene, 300).await, 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_by_an_event_is_seen_at_once() {
    let (scene, pod) = streamed(105).await;
    seconds(106).await;
    assert_eq!(scene.cri.when("start a"), [0]);
    scene.cri.tell();
    seconds(1).await;
    assert_eq!(scene.cri.when("start a"), [0, 106]);
    assert_eq!(now(&pod).container("a").unwrap().restart_count, 1);
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_event_a_moment_later_is_seen_within_a_second() {
    let (scene, _pod) = streamed(105).await;
    tokio::time::sleep(Duration::from_millis(104_500)).await;
    scene.cri.tell();
    seconds(3).await;
    assert_eq!(scene.cri.when("start a"), [0, 105]);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_event_would_have_told_is_seen_by_the_next_list() {
    let (scene, _pod) = streamed(105).await;
    seconds(140).await;
    let starts = scene.cri.when("start a");
    assert!(starts.len() == 2 && (106..=136).contains(&starts[1]), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_happens_when_the_stream_has_ended_is_seen_within_a_second() {
    let (scene, _pod) = streamed(105).await;
    seconds(100).await;
    scene.cri.stream_events(false);
    seconds(20).await;
    let starts = scene.cri.when("start a");
    assert!(starts.len() == 2 && (105..=106).contains(&starts[1]), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_the_stream_broke_is_seen_when_it_ends_and_when_there_is_another() {
    let (scene, _pod) = streamed(105).await;
    tokio::time::sleep(Duration::from_millis(105_200)).await;
    // Between the two ends nothing is told, and the next of the rare lists is far.
    scene.cri.stream_events(false);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.cri.when("start a"), [0, 105]);
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_failed_is_tried_again_with_the_next_second_though_events_are_streamed() {
    let mut tried = Vec::new();
    for streamed in [true, false] {
        let scene = Scene::new().await;
        scene.cri.stream_events(streamed);
        scene.cri.fail_pulls("x:1", 2);
        let _pod = scene.run(CRASHES);
        seconds(120).await;
        tried.push(scene.cri.when("pull x:1"));
    }
    assert_eq!(tried[0], tried[1]);
    assert!(tried[0].len() == 3 && tried[0][1] <= 11, "{tried:?}");
}
