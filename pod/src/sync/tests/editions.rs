//! Another edition of a pod that is there.

use super::*;

const GUARANTEED: &str = "{limits: {cpu: 1, memory: 64Mi}}";

fn spec(resources: &str, more: &str) -> String {
    format!(
        "  containers: [{{name: a, image: 'x:1', resources: {resources}{more}}}, {{name: b, image: 'x:1', resources: {GUARANTEED}}}]\n"
    )
}

/// Lets a pod become what this says.
fn apply(pod: &PodHandle, spec: &str) {
    let next = pod.edition(&testing::pod(spec)).unwrap();
    pod.update(next);
}

fn resize_reasons(pod: &PodHandle) -> Vec<Reason> {
    let all = [Reason::ResizeStarted, Reason::ResizeCompleted, Reason::ResizeError];
    drain(pod.events()).into_iter().map(|e| e.reason).filter(|r| all.contains(r)).collect()
}

fn progress(status: &PodStatus) -> Option<String> {
    let found = status.conditions.iter().find(|c| c.kind == "PodResizeInProgress")?;
    assert!(found.status);
    Some(format!("{} {}", found.reason, found.message))
}

#[tokio::test(start_paused = true)]
async fn resources_change_in_place_and_the_pods_group_has_room_first() {
    let scene = Scene::new().await;
    let pod = scene.run(&spec(GUARANTEED, ""));
    seconds(2).await;
    apply(&pod, &spec("{limits: {cpu: 2, memory: 96Mi}}", ""));
    seconds(2).await;
    let entries = scene.cri.entries();
    let updates: Vec<_> = entries.iter().filter(|e| e.starts_with("update")).collect();
    assert_eq!(updates, ["update a 1024 100000 100663296", "update a 2048 200000 100663296"]);
    assert_eq!(scene.cri.when("start a").len(), 1);
    let limits = scene.node.limits.lock().unwrap().clone();
    let figures: Vec<_> =
        limits.iter().map(|l| (l.shares, l.quota.unwrap(), l.memory.unwrap() >> 20)).collect();
    assert_eq!(
        figures,
        [
            (2_048, 200_000, 128),
            (2_048, 200_000, 160),
            (2_048, 300_000, 160),
            (3_072, 300_000, 160)
        ]
    );
    assert_eq!(resize_reasons(&pod), [Reason::ResizeStarted, Reason::ResizeCompleted]);
    let status = now(&pod);
    assert_eq!(progress(&status), None);
    let a = status.container("a").unwrap();
    assert_eq!(a.resources.clone().unwrap().limits["cpu"], "2");
    assert_eq!(a.resources.clone().unwrap().limits["memory"], "96Mi");
    assert_eq!(a.allocated_resources["memory"], "96Mi");
    // And back: the containers first.
    apply(&pod, &spec(GUARANTEED, ""));
    seconds(2).await;
    let last = scene.node.limits.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.shares, last.quota, last.memory), (2_048, Some(200_000), Some(128 << 20)));
    assert_eq!(now(&pod).container("a").unwrap().resources.clone().unwrap().limits["cpu"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_wants_it_is_started_again_with_its_new_resources() {
    let scene = Scene::new().await;
    let policy = ", resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]";
    let pod = scene.run(&spec(GUARANTEED, policy));
    seconds(2).await;
    apply(&pod, &spec("{limits: {cpu: 2, memory: 64Mi}}", policy));
    seconds(2).await;
    assert_eq!(scene.cri.when("start a").len(), 1, "CPU costs nothing");
    apply(&pod, &spec("{limits: {cpu: 2, memory: 32Mi}}", policy));
    seconds(20).await;
    assert_eq!(scene.cri.when("start a").len(), 2);
    assert_eq!(scene.cri.when("start b").len(), 1);
    let killed = drain(pod.events()).into_iter().find(|e| e.reason == Reason::Killing).unwrap();
    assert_eq!(killed.message, "Container a resize requires restart");
    assert_eq!(now(&pod).container("a").unwrap().restart_count, 1);
    assert_eq!(progress(&now(&pod)), None);
}

#[tokio::test(start_paused = true)]
async fn less_memory_than_is_used_is_an_error_that_is_told_until_it_is_less() {
    let scene = Scene::new().await;
    let pod = scene.run(&spec(GUARANTEED, ""));
    seconds(2).await;
    *scene.cri.memory_used.lock().unwrap() = 40 << 20;
    apply(&pod, &spec("{limits: {cpu: 1, memory: 32Mi}}", ""));
    seconds(15).await;
    let words = "Error cannot decrease memory limits: attempting to set container \"a\" memory limit (33554432) below current usage (41943040)";
    assert_eq!(progress(&now(&pod)).as_deref(), Some(words));
    assert_eq!(resize_reasons(&pod), [Reason::ResizeStarted, Reason::ResizeError]);
    *scene.cri.memory_used.lock().unwrap() = 1 << 20;
    seconds(15).await;
    assert_eq!(progress(&now(&pod)), None);
    assert_eq!(scene.cri.when("update a 1024 100000 33554432").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_engine_goes_on_with_a_change_of_resources() {
    let scene = Scene::new().await;
    let pod = scene.run(&spec(GUARANTEED, ""));
    seconds(2).await;
    // Its process ends before it has done anything about the new edition, which is on record.
    let state = pod.state().borrow().clone();
    let other = spec("{limits: {cpu: 500m, memory: 64Mi}}", "");
    let taken = scene.engine.resume(testing::pod(&other), state);
    seconds(15).await;
    assert_eq!(scene.cri.when("update a 512 50000 67108864").len(), 1, "{:?}", scene.cri.entries());
    assert_eq!(progress(&now(&taken)), None);
    assert_eq!(resize_reasons(&taken), [Reason::ResizeCompleted]);
}

#[tokio::test(start_paused = true)]
async fn another_image_makes_the_container_anew_and_volumes_follow_each_edition() {
    let scene = Scene::new().await;
    let pod = scene.run("  containers: [{name: a, image: 'x:1'}]\n");
    seconds(2).await;
    apply(&pod, "  containers: [{name: a, image: 'x:2'}]\n");
    seconds(15).await;
    assert_eq!(scene.cri.when("start a").len(), 2);
    assert_eq!(*scene.node.refreshed.lock().unwrap(), 1);
    let killed = drain(pod.events()).into_iter().find(|e| e.reason == Reason::Killing).unwrap();
    assert_eq!(killed.message, "Container a definition changed, will be restarted");
}
