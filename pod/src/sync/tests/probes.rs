//! Probes and hooks.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_readiness_probe_gates_ready_and_is_asked_at_once() {
    let scene = Scene::new().await;
    scene.cri.exec("ready", |at| Exec::code(i32::from((12..35).contains(&at))));
    let pod = scene.run("  containers:
  - {name: a, image: x:1, readinessProbe: {exec: {command: [ready]}, periodSeconds: 10, failureThreshold: 1}}
");
    seconds(2).await;
    assert!(now(&pod).is_ready(), "asked as soon as it runs, not after a period");
    seconds(20).await;
    let status = now(&pod);
    assert!(!status.is_ready() && status.phase == Phase::Running);
    assert_eq!(condition(&status, "ContainersReady"), (false, "ContainersNotReady".into()));
    seconds(25).await;
    assert!(now(&pod).is_ready());
    assert_eq!(scene.cri.when("start a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exec_probes_command_is_expanded_before_it_is_run() {
    let scene = Scene::new().await;
    let pod = scene.run("  containers:
  - {name: a, image: x:1, env: [{name: WORD, value: ready}], readinessProbe: {exec: {command: [$(WORD)]}}}
");
    seconds(2).await;
    assert!(now(&pod).is_ready());
    assert!(!scene.cri.when("exec a ready").is_empty(), "{:?}", scene.cri.entries());
}

#[tokio::test(start_paused = true)]
async fn a_liveness_probe_that_fails_three_times_restarts_the_container() {
    let scene = Scene::new().await;
    scene.cri.exec("alive", |at| Exec::code(i32::from((20..60).contains(&at))));
    let pod = scene.run("  containers:
  - {name: a, image: x:1, livenessProbe: {exec: {command: [alive]}, terminationGracePeriodSeconds: 5}}
");
    seconds(58).await;
    assert_eq!(scene.cri.when("start a").len(), 2);
    assert_eq!(scene.cri.when("stop a 5").len(), 1, "the probe's own grace");
    let told = drain(pod.events());
    let unhealthy = told.iter().filter(|e| e.reason == Reason::Unhealthy).count();
    assert!(unhealthy >= 3);
    assert!(told.iter().any(|e| {
        e.reason == Reason::Killing
            && e.message == "Container a failed liveness probe, will be restarted"
    }));
    assert_eq!(now(&pod).containers[0].restart_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_times_out_counts_and_one_that_cannot_run_does_not() {
    let scene = Scene::new().await;
    scene.cri.exec("hang", |_| Exec { takes: Duration::from_secs(60), result: Ok(0) });
    scene
        .cri
        .exec("broken", |_| Exec { takes: Duration::ZERO, result: Err(Status::internal("no")) });
    let _pod = scene.run(
        "  containers:
  - {name: a, image: x:1, livenessProbe: {exec: {command: [hang]}}}
  - {name: b, image: x:1, livenessProbe: {exec: {command: [broken]}}}
",
    );
    seconds(45).await;
    assert_eq!(scene.cri.when("start a"), [0, 31]);
    assert_eq!(scene.cri.when("start b").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_startup_probe_holds_the_other_probes_and_kills_a_slow_starter() {
    let scene = Scene::new().await;
    scene.cri.exec("up", |at| Exec::code(i32::from(at < 25)));
    scene.cri.exec("never", |_| Exec::code(1));
    let pod = scene.run("  containers:
  - {name: a, image: x:1, startupProbe: {exec: {command: [up]}, failureThreshold: 5}, readinessProbe: {exec: {command: [ok]}}}
  - {name: b, image: x:1, startupProbe: {exec: {command: [never]}, failureThreshold: 2}}
");
    seconds(24).await;
    assert!(scene.cri.when("exec a ok").is_empty());
    assert_eq!(now(&pod).container("a").unwrap().started, Some(false));
    assert_eq!(scene.cri.when("start b").len(), 2);
    seconds(10).await;
    let status = now(&pod);
    assert_eq!(status.container("a").unwrap().started, Some(true));
    assert!(status.container("a").unwrap().ready, "readiness is asked as soon as it is started");
    assert_eq!(scene.cri.when("start a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pre_stop_spends_grace_and_the_stop_gets_the_rest() {
    for (takes, left) in [(10, "stop a 20"), (29, "stop a 2"), (90, "stop a 2")] {
        let scene = Scene::new().await;
        scene.cri.exec("bye", move |_| Exec { takes: Duration::from_secs(takes), result: Ok(0) });
        let pod = scene.run("  containers: [{name: a, image: x:1, lifecycle: {preStop: {exec: {command: [bye]}}}}]\n");
        seconds(3).await;
        pod.stop(None);
        pod.wait().await;
        assert_eq!(scene.cri.when(left).len(), 1, "{takes}: {:?}", scene.cri.journal());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_takes_over_and_a_container_that_does_not_listen_is_killed() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::stops_in(1_000)]);
    let pod = scene.run("  containers: [{name: a, image: x:1}]\n");
    seconds(3).await;
    pod.stop(None);
    seconds(5).await;
    pod.stop(Some(4));
    let status = pod.wait().await;
    assert_eq!(waiting(&status, "a"), "terminated 137");
    assert_eq!(status.phase, Phase::Failed);
    let stops = (scene.cri.when("stop a 30"), scene.cri.when("stop a 4"));
    assert_eq!(stops, (vec![3], vec![8]));
    assert_eq!(scene.cri.when("ended a"), [12]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_post_start_hook_kills_the_container_and_the_next_one_starts() {
    let scene = Scene::new().await;
    scene.cri.exec("hello", |_| Exec::code(1));
    let pod = scene.run(
        "  containers:
  - {name: a, image: x:1, lifecycle: {postStart: {exec: {command: [hello]}}}}
  - {name: b, image: x:1}
",
    );
    seconds(2).await;
    let status = now(&pod);
    assert_eq!(
        scene.cri.entries()[..5],
        ["sandbox 0", "start a", "exec a hello", "stop a 30", "ended a"]
    );
    assert_eq!(scene.cri.when("start b").len(), 1);
    assert!(["PostStartHookError", "CrashLoopBackOff"].contains(&waiting(&status, "a").as_str()));
}
