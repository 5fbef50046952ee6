//! What another engine, a lost sandbox and a stop in the middle of a start leave.

use super::*;

#[tokio::test(start_paused = true)]
async fn another_engine_goes_on_with_what_runs_and_keeps_the_counts() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::ends(2, 1), Life::FOREVER]);
    let spec = "  initContainers: [{name: i, image: x:1}]
  containers: [{name: a, image: x:1}]
";
    scene.cri.script("i", &[Life::ends(1, 0)]);
    let first = scene.run(spec);
    seconds(30).await;
    let before = now(&first);
    assert_eq!(before.container("a").unwrap().restart_count, 1);
    let starts = scene.cri.entries().len();
    let engine =
        PodEngine::new(scene.cri.clone(), scene.node.clone(), scene.clock.clone()).await.unwrap();
    let second = engine.run(testing::pod(spec));
    seconds(5).await;
    let after = now(&second);
    assert_eq!(scene.cri.entries().len(), starts, "nothing was started again");
    assert_eq!(after.containers, before.containers);
    assert_eq!((after.phase, after.start_time), (Phase::Running, before.start_time));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_away_before_there_is_a_sandbox_is_asked_until_it_is_back() {
    let scene = Scene::new().await;
    *scene.cri.away.lock().unwrap() = true;
    let pod = scene.run("  containers: [{name: a, image: x:1}]\n");
    seconds(60).await;
    assert_eq!(now(&pod).phase, Phase::Pending);
    *scene.cri.away.lock().unwrap() = false;
    seconds(15).await;
    assert_eq!(now(&pod).phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_replaced_and_the_pod_begins_again() {
    let scene = Scene::new().await;
    scene.cri.script("i", &[Life::ends(1, 0)]);
    let pod = scene.run(
        "  initContainers: [{name: i, image: x:1}]
  containers: [{name: a, image: x:1}]
",
    );
    seconds(10).await;
    scene.cri.lose_sandbox();
    seconds(10).await;
    let status = now(&pod);
    assert_eq!(scene.cri.when("sandbox 1").len(), 1);
    assert_eq!((scene.cri.when("start i").len(), scene.cri.when("start a").len()), (2, 2));
    assert_eq!(status.phase, Phase::Running);
    assert_eq!(status.container("a").unwrap().restart_count, 1);
    assert!(drain(pod.events()).iter().any(|e| e.reason == Reason::SandboxChanged));
}

#[tokio::test(start_paused = true)]
async fn each_sandbox_has_the_nodes_name_servers_of_when_it_is_made() {
    let scene = Scene::new().await;
    let servers = |all: &[&str]| {
        scene.node.resolv.lock().unwrap().servers = all.iter().map(|s| (*s).to_owned()).collect();
    };
    servers(&["10.0.0.53"]);
    let pod = scene.run("  containers: [{name: a, image: x:1}]\n");
    seconds(10).await;
    assert_eq!(scene.cri.name_servers(), ["10.0.0.53"]);
    servers(&["10.1.0.53", "10.2.0.53"]);
    seconds(10).await;
    assert_eq!(scene.cri.name_servers(), ["10.0.0.53"], "a sandbox keeps those that it has");
    scene.cri.lose_sandbox();
    seconds(30).await;
    assert_eq!(scene.cri.name_servers(), ["10.1.0.53", "10.2.0.53"]);
    assert_eq!(now(&pod).phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_never_pod_that_lost_its_sandbox_is_not_run_again() {
    let scene = Scene::new().await;
    let pod = scene.run(
        "  restartPolicy: Never
  containers: [{name: a, image: x:1}]
",
    );
    seconds(10).await;
    scene.cri.lose_sandbox();
    let status = pod.wait().await;
    assert_eq!((status.phase, scene.cri.when("start a").len()), (Phase::Failed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_start_leaves_nothing_running() {
    let scene = Scene::new().await;
    scene.cri.exec("slow", |_| Exec { takes: Duration::from_secs(500), result: Ok(0) });
    let pod = scene.run(
        "  containers:
  - {name: a, image: x:1, lifecycle: {postStart: {exec: {command: [slow]}}}}
  - {name: b, image: x:1}
",
    );
    seconds(5).await;
    pod.stop(Some(5));
    let status = pod.wait().await;
    assert!(scene.cri.when("start b").is_empty());
    assert_eq!(waiting(&status, "a"), "terminated 0");
    assert_eq!(scene.cri.when("ended a"), [5]);
}

#[tokio::test(start_paused = true)]
async fn removing_a_pod_leaves_nothing_of_it() {
    let scene = Scene::new().await;
    let spec = "  containers: [{name: a, image: x:1}]\n";
    let pod = scene.run(spec);
    seconds(3).await;
    pod.stop(None);
    pod.wait().await;
    let pod = testing::pod(spec);
    scene.engine.remove(&pod).await.unwrap();
    scene.engine.remove(&pod).await.unwrap();
    assert_eq!((scene.cri.sandboxes(), scene.cri.containers()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_sandbox_is_made_leaves_no_sandbox_behind() {
    let scene = Scene::new().await;
    scene.cri.slow_sandboxes(Duration::from_secs(3));
    let spec = "  containers: [{name: a, image: x:1}]\n";
    let pod = scene.run(spec);
    seconds(1).await;
    pod.stop(Some(0));
    pod.wait().await;
    scene.engine.remove(&testing::pod(spec)).await.unwrap();
    seconds(10).await;
    assert_eq!((scene.cri.sandboxes(), scene.cri.when("sandbox 0").len()), (0, 1));
}
