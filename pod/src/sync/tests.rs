//! The worker against a runtime in memory, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use crate::clock::{Clock, Timestamp};
use crate::engine::{PodEngine, PodHandle};
use crate::events::{Event, Events, Reason};
use crate::fake::{Exec, FakeCri, FakeNode, Life};
use crate::ids::PodUid;
use crate::model::Pod;
use crate::status::{Phase, PodStatus, State};
use crate::testing;

struct Scene {
    cri: Arc<FakeCri>,
    node: Arc<FakeNode>,
    clock: Clock,
    engine: PodEngine,
}

impl Scene {
    async fn new() -> Self {
        let clock = Clock::virtual_from(Timestamp::from_nanos(1_800_000_000_000_000_000));
        let cri = Arc::new(FakeCri::new(clock.clone()));
        let node = Arc::new(FakeNode::default());
        let engine = PodEngine::new(cri.clone(), node.clone(), clock.clone()).await.unwrap();
        Scene { cri, node, clock, engine }
    }

    fn run(&self, spec: &str) -> PodHandle {
        self.engine.run(testing::pod(spec))
    }
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn now(pod: &PodHandle) -> PodStatus {
    pod.status().borrow().clone()
}

fn waiting(status: &PodStatus, name: &str) -> String {
    match &status.container(name).unwrap().state {
        State::Waiting { reason, .. } => reason.clone(),
        State::Running { .. } => "running".into(),
        State::Terminated(end) => format!("terminated {}", end.exit_code),
    }
}

fn condition(status: &PodStatus, kind: &str) -> (bool, String) {
    let found = status.conditions.iter().find(|c| c.kind == kind).unwrap();
    (found.status, found.reason.clone())
}

fn drain(mut events: Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next_now()).collect()
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_after_another_and_then_the_rest_together() {
    let scene = Scene::new().await;
    scene.cri.script("i1", &[Life::ends(5, 0)]);
    scene.cri.script("i2", &[Life::ends(5, 0)]);
    let pod = scene.run(
        "  initContainers: [{name: i1, image: x:1}, {name: i2, image: x:1}]
  containers: [{name: a, image: x:1}, {name: b, image: x:1}]
",
    );
    seconds(2).await;
    let status = now(&pod);
    assert_eq!(status.phase, Phase::Pending);
    assert_eq!(waiting(&status, "a"), "PodInitializing");
    assert_eq!(condition(&status, "Initialized"), (false, "ContainersNotInitialized".into()));
    seconds(20).await;
    assert_eq!(scene.cri.entries(), ["sandbox 0", "start i1", "start i2", "start a", "start b"]);
    let status = now(&pod);
    assert_eq!(status.phase, Phase::Running);
    assert!(status.is_ready() && status.container("i1").unwrap().ready);
    assert_eq!(status.pod_ips, ["10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_init_container_of_a_never_pod_fails_it_and_nothing_else_starts() {
    let scene = Scene::new().await;
    scene.cri.script("i1", &[Life::ends(1, 7)]);
    let pod = scene.run(
        "  restartPolicy: Never
  initContainers: [{name: i1, image: x:1}]
  containers: [{name: a, image: x:1}]
",
    );
    let status = pod.wait().await;
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!(waiting(&status, "i1"), "terminated 7");
    assert!(scene.cri.when("start a").is_empty());
    assert!(*scene.node.torn_down.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_failed_init_container_is_tried_again_with_back_off() {
    let scene = Scene::new().await;
    scene.cri.script("i1", &[Life::ends(1, 1), Life::ends(1, 1), Life::ends(1, 0)]);
    let pod = scene.run(
        "  initContainers: [{name: i1, image: x:1}]
  containers: [{name: a, image: x:1}]
",
    );
    seconds(5).await;
    assert_eq!(waiting(&now(&pod), "i1"), "CrashLoopBackOff");
    assert_eq!(now(&pod).phase, Phase::Pending);
    seconds(30).await;
    assert_eq!(now(&pod).phase, Phase::Running);
    assert_eq!(now(&pod).container("i1").unwrap().restart_count, 2);
    assert_eq!(scene.cri.when("start i1").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn sidecars_start_in_order_after_their_startup_probe_and_end_last_first() {
    let scene = Scene::new().await;
    scene.cri.exec("up", |at| Exec::code(i32::from(at < 12)));
    scene.cri.script("a", &[Life::stops_in(3)]);
    scene.cri.script("s1", &[Life::stops_in(1)]);
    let pod = scene.run("  initContainers:
  - {name: s1, image: x:1, restartPolicy: Always, startupProbe: {exec: {command: [up]}, periodSeconds: 5, failureThreshold: 10}}
  - {name: s2, image: x:1, restartPolicy: Always}
  containers: [{name: a, image: x:1}]
");
    seconds(8).await;
    assert!(scene.cri.when("start s2").is_empty());
    assert_eq!(now(&pod).phase, Phase::Pending);
    seconds(20).await;
    assert_eq!(now(&pod).phase, Phase::Running);
    pod.stop(None);
    let status = pod.wait().await;
    let all = scene.cri.entries();
    let tail: Vec<&str> =
        all.iter().map(String::as_str).filter(|e| e.starts_with("ended")).collect();
    assert_eq!(tail, ["ended a", "ended s2", "ended s1"]);
    // The wait for the regular container was spent from the sidecars' grace.
    assert_eq!(scene.cri.when("stop s2 27").len(), 1);
    assert_eq!(status.phase, Phase::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_does_not_keep_a_finished_pod_alive() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::ends(5, 0)]);
    let pod = scene.run(
        "  restartPolicy: Never
  initContainers: [{name: s, image: x:1, restartPolicy: Always}]
  containers: [{name: a, image: x:1}]
",
    );
    let status = pod.wait().await;
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!(scene.cri.when("ended s").len(), 1);
    assert_eq!(condition(&status, "Ready"), (false, "PodCompleted".into()));
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_dies_is_started_again_even_in_a_never_pod() {
    let scene = Scene::new().await;
    scene.cri.script("s", &[Life::ends(5, 1), Life::FOREVER]);
    let pod = scene.run(
        "  restartPolicy: Never
  initContainers: [{name: s, image: x:1, restartPolicy: Always}]
  containers: [{name: a, image: x:1}]
",
    );
    seconds(10).await;
    assert_eq!(scene.cri.when("start s").len(), 2);
    assert_eq!(scene.cri.when("start a").len(), 1);
    assert_eq!(now(&pod).phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_waits_ten_seconds_then_twice_as_long_each_time() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::ends(2, 1)]);
    let pod = scene.run("  containers: [{name: a, image: x:1}]\n");
    seconds(1_500).await;
    let starts = scene.cri.when("start a");
    let waits: Vec<u64> = starts.windows(2).map(|w| w[1] - w[0] - 2).collect();
    let want = [0, 10, 20, 40, 80, 160, 300, 300];
    for (i, (found, want)) in waits.iter().zip(want).enumerate() {
        // What ends is seen within the second.
        assert!((want..=want + 1).contains(found), "wait {i}: {found}, not {want}: {starts:?}");
    }
    let status = now(&pod);
    assert_eq!(scene.cri.containers(), 1, "one dead run is kept, the others are collected");
    assert_eq!(waiting(&status, "a"), "CrashLoopBackOff");
    assert_eq!(status.phase, Phase::Running);
    let State::Waiting { message, .. } = &status.containers[0].state else { panic!("waiting") };
    assert_eq!(message, "back-off 5m0s restarting failed container=a pod=web_default(u-1)");
    assert_eq!(status.containers[0].last.as_ref().unwrap().exit_code, 1);
    let told = drain(pod.events());
    assert!(told.iter().any(|e| e.reason == Reason::BackOff));
}

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

#[tokio::test(start_paused = true)]
async fn on_failure_restarts_what_failed_and_leaves_what_did_not() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::ends(1, 3), Life::ends(1, 0)]);
    scene.cri.script("b", &[Life::ends(2, 0)]);
    let pod = scene.run(
        "  restartPolicy: OnFailure
  containers: [{name: a, image: x:1}, {name: b, image: x:1}]
",
    );
    let status = pod.wait().await;
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!((scene.cri.when("start a").len(), scene.cri.when("start b").len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_never_pod_keeps_its_exit_code_and_its_last_words() {
    let scene = Scene::new().await;
    *scene.node.message.lock().unwrap() = format!("{}it was the disk", "x".repeat(5_000));
    scene.cri.script("a", &[Life::ends(1, 3)]);
    let pod = scene.run(
        "  restartPolicy: Never
  containers: [{name: a, image: x:1}]
",
    );
    let status = pod.wait().await;
    assert_eq!(status.phase, Phase::Failed);
    let State::Terminated(end) = &status.containers[0].state else { panic!("terminated") };
    assert_eq!((end.exit_code, end.reason.as_str()), (3, "Error"));
    // Of a long message the end counts.
    assert_eq!(end.message.len(), 4 << 10);
    assert!(end.message.ends_with("it was the disk"), "{}", end.message);
    assert_eq!(scene.cri.when("sandbox 1").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rule_restarts_a_container_by_its_exit_code_whatever_its_policy() {
    for (rule, code, starts, phase) in [
        ("{operator: In, values: [42, 43]}", 42, 2, Phase::Running),
        ("{operator: In, values: [42, 43]}", 44, 1, Phase::Failed),
        ("{operator: In, values: [0]}", 0, 2, Phase::Running),
        ("{operator: NotIn, values: [42]}", 44, 2, Phase::Running),
        ("{operator: NotIn, values: [42]}", 42, 1, Phase::Failed),
        ("{operator: NotIn, values: [42]}", 0, 2, Phase::Running),
    ] {
        let scene = Scene::new().await;
        scene.cri.script("a", &[Life::ends(1, code), Life::FOREVER]);
        let pod = scene.run(&format!(
            "  restartPolicy: Always
  containers:
  - name: a
    image: x:1
    restartPolicy: Never
    restartPolicyRules: [{{action: Restart, exitCodes: {rule}}}]
"
        ));
        seconds(30).await;
        let found = (scene.cri.when("start a").len(), now(&pod).phase);
        assert_eq!(found, (starts, phase), "{rule} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_active_deadline_fails_the_pod() {
    let scene = Scene::new().await;
    let pod = scene.run(
        "  activeDeadlineSeconds: 20
  containers: [{name: a, image: x:1}]
",
    );
    let status = pod.wait().await;
    assert_eq!((status.phase, status.reason.as_str()), (Phase::Failed, "DeadlineExceeded"));
    assert_eq!(scene.cri.when("stop a 30"), [20]);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_backs_off_and_says_why() {
    let scene = Scene::new().await;
    scene.cri.fail_pulls("r/x:1", 3);
    let pod = scene.run("  containers: [{name: a, image: 'r/x:1'}]\n");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(waiting(&now(&pod), "a"), "ErrImagePull");
    seconds(5).await;
    assert_eq!(waiting(&now(&pod), "a"), "ImagePullBackOff");
    seconds(10).await;
    assert_eq!(waiting(&now(&pod), "a"), "ErrImagePull");
    seconds(10).await;
    let status = now(&pod);
    let State::Waiting { reason, message } = &status.containers[0].state else { panic!("waiting") };
    assert_eq!(reason, "ImagePullBackOff");
    assert_eq!(message, "Back-off pulling image \"r/x:1\": ErrImagePull: no such host");
    seconds(100).await;
    assert_eq!(now(&pod).phase, Phase::Running);
    assert_eq!(scene.cri.when("pull r/x:1"), [0, 11, 31, 71]);
    let told = drain(pod.events());
    let reasons: Vec<Reason> = told.iter().map(|e| e.reason).collect();
    assert_eq!(reasons[..3], [Reason::Pulling, Reason::Failed, Reason::Failed]);
    assert_eq!(reasons[reasons.len() - 3..], [Reason::Pulled, Reason::Created, Reason::Started]);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_may_not_be_root_and_is_one_is_a_config_error_and_the_others_start() {
    let scene = Scene::new().await;
    let pod = scene.run(
        "  containers:
  - {name: a, image: x:1, securityContext: {runAsNonRoot: true}}
  - {name: b, image: x:1}
",
    );
    seconds(2).await;
    let status = now(&pod);
    assert_eq!(waiting(&status, "a"), "CreateContainerConfigError");
    assert_eq!(waiting(&status, "b"), "running");
    assert_eq!(status.phase, Phase::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_made_is_tried_again() {
    let scene = Scene::new().await;
    *scene.node.broken.lock().unwrap() = 1;
    let pod = scene.run("  containers: [{name: a, image: x:1}]\n");
    seconds(5).await;
    assert_eq!(waiting(&now(&pod), "a"), "ContainerCreating");
    assert_eq!(drain(pod.events())[0].reason, Reason::FailedMount);
    seconds(10).await;
    assert_eq!(now(&pod).phase, Phase::Running);
}

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

#[tokio::test(start_paused = true)]
async fn a_pod_that_takes_more_of_the_disk_than_it_may_is_evicted() {
    let scene = Scene::new().await;
    let pod = scene.run(
        "  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]
  containers: [{name: a, image: x:1}]
",
    );
    let events = pod.events();
    seconds(15).await;
    assert_eq!(now(&pod).phase, Phase::Running);
    scene.node.usage.lock().unwrap().volumes.insert("v".into(), 2 << 20);
    let status = tokio::time::timeout(Duration::from_secs(60), pod.wait()).await.unwrap();
    let message = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
    assert_eq!((status.phase, status.reason.as_str()), (Phase::Failed, "Evicted"));
    assert_eq!(status.message, message);
    let told = drain(events).into_iter().filter(|e| e.reason == Reason::Evicted);
    assert_eq!(told.map(|e| e.message).collect::<Vec<_>>(), [message]);
    // Grace is what the kubelet gives: next to none, and the least that a signal needs.
    assert_eq!(scene.cri.when("stop a 2").len(), 1);
    assert!(*scene.node.torn_down.lock().unwrap());
}

/// A pod of its own uid with an image that is here, and with these credentials if it has any.
fn private(uid: &str, policy: &str, user: Option<&str>) -> Pod {
    let secret = |user: &str| {
        format!(
            "---
apiVersion: v1
kind: Secret
metadata: {{name: {uid}}}
type: kubernetes.io/dockerconfigjson
stringData: {{.dockerconfigjson: '{{\"auths\": {{\"r.io\": {{\"username\": \"{user}\", \"password\": \"p\"}}}}}}'}}
"
        )
    };
    let mut pod = testing::pod(&format!(
        "  imagePullSecrets: [{{name: {uid}}}]
  containers: [{{name: a, image: r.io/p:1, imagePullPolicy: {policy}}}]
{}",
        user.map(secret).unwrap_or_default()
    ));
    pod.meta.uid = PodUid::parse(uid).unwrap();
    pod
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_pulled_with_credentials_is_not_for_pods_without_them() {
    let scene = Scene::new().await;
    scene.cri.private.lock().unwrap().insert("r.io/p:1".into(), "anna".into());
    let preloaded = scene.engine.run(private("u-0", "IfNotPresent", None));
    seconds(2).await;
    assert_eq!(waiting(&now(&preloaded), "a"), "running", "nobody pulled it for a pod");
    let first = scene.engine.run(private("u-1", "Always", Some("anna")));
    seconds(2).await;
    assert_eq!(waiting(&now(&first), "a"), "running");
    let pulls = || scene.cri.when("pull r.io/p:1").len();
    assert_eq!(pulls(), 1);
    for (uid, policy, user, want, more) in [
        ("u-2", "IfNotPresent", Some("anna"), "running", 0),
        ("u-3", "Never", Some("anna"), "running", 0),
        ("u-4", "Never", None, "ErrImageNeverPull", 0),
        ("u-5", "IfNotPresent", None, "ImagePullBackOff", 1),
        ("u-6", "IfNotPresent", Some("bob"), "ImagePullBackOff", 1),
    ] {
        let before = pulls();
        let pod = scene.engine.run(private(uid, policy, user));
        seconds(2).await;
        assert_eq!((waiting(&now(&pod), "a").as_str(), pulls() - before), (want, more), "{uid}");
    }
    // Who may pull it without credentials makes it everybody's.
    scene.cri.private.lock().unwrap().clear();
    for uid in ["u-7", "u-8"] {
        let pod = scene.engine.run(private(uid, "IfNotPresent", None));
        seconds(2).await;
        assert_eq!(waiting(&now(&pod), "a"), "running");
    }
    assert_eq!(pulls(), 4);
    let said = drain(preloaded.events());
    let here =
        "Container image \"r.io/p:1\" already present on machine and can be accessed by the pod";
    assert!(said.iter().any(|e| e.reason == Reason::Pulled && e.message == here), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn after_fitting_credentials_nobody_tries_without_and_what_each_was_answered_is_told() {
    let own = "r.io/p:1";
    let node = "{\"auths\": {\"r.io\": {\"username\": \"node\", \"password\": \"p\"}}}";
    for (user, of_node, shown, told) in [
        (None, None, &[None][..], "nobody may not pull it"),
        (Some("bob"), None, &[Some("bob")], "bob may not pull it"),
        (None, Some(node), &[Some("node")], "node may not pull it"),
        (
            Some("bob"),
            Some(node),
            &[Some("bob"), Some("node")],
            "[bob may not pull it, node may not pull it]",
        ),
    ] {
        let scene = Scene::new().await;
        scene.cri.private.lock().unwrap().insert(own.into(), "anna".into());
        *scene.node.docker_config.lock().unwrap() = of_node.map(str::to_owned);
        let pod = scene.engine.run(private("u-1", "Always", user));
        seconds(1).await;
        let asked = scene.cri.shown.lock().unwrap().clone();
        let asked: Vec<_> = asked.iter().map(Option::as_deref).collect();
        assert_eq!(asked, shown);
        let status = now(&pod);
        let State::Waiting { reason, message } = &status.container("a").unwrap().state else {
            panic!("{status:?}");
        };
        assert_eq!((reason.as_str(), message.as_str()), ("ErrImagePull", told));
    }
}

#[tokio::test(start_paused = true)]
async fn last_words_are_the_end_of_a_message_and_of_a_log() {
    const HEAD: &str = "2026-01-01T00:00:00Z stdout F ";
    let log = |line: &dyn Fn(u32) -> String| -> String {
        (1..=500).map(|n| format!("{HEAD}{}\n", line(n))).collect()
    };
    let short: String = (421..=500).map(|n| format!("line {n}\n")).collect();
    let long: String =
        (1..=500).map(|n| format!("a long line with the number {n} in it\n")).collect();
    let long = long[long.len() - 2048..].to_owned();
    let message = format!("begin{}end", "x".repeat(4093));
    let end = message[message.len() - 4096..].to_owned();
    let logs = "FallbackToLogsOnError";
    for (policy, message, log, code, told) in [
        ("File", message.as_str(), String::new(), 1, end.as_str()),
        (logs, &message, log(&|n| format!("line {n}")), 1, &end),
        (logs, "", log(&|n| format!("line {n}")), 1, &short),
        (logs, "", log(&|n| format!("a long line with the number {n} in it")), 1, &long),
        (logs, "", log(&|n| format!("line {n}")), 0, ""),
        ("File", "", log(&|n| format!("line {n}")), 1, ""),
    ] {
        let scene = Scene::new().await;
        *scene.node.message.lock().unwrap() = message.to_owned();
        *scene.node.log.lock().unwrap() = log;
        scene.cri.script("a", &[Life::ends(1, code)]);
        let pod = scene.run(&format!(
            "  restartPolicy: Never
  containers: [{{name: a, image: x:1, terminationMessagePolicy: {policy}}}]
"
        ));
        let status = pod.wait().await;
        let State::Terminated(end) = &status.container("a").unwrap().state else {
            panic!("{status:?}");
        };
        assert_eq!(end.message, told, "{policy} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_sandbox_is_there_is_told_so_before_its_containers_are_started() {
    let scene = Scene::new().await;
    scene.cri.exec("slow", |_| Exec { takes: Duration::from_secs(20), result: Ok(0) });
    let pod = scene.run(
        "  containers:
  - {name: a, image: x:1, lifecycle: {postStart: {exec: {command: [slow]}}}}
",
    );
    seconds(5).await;
    let status = now(&pod);
    assert_eq!(condition(&status, "PodReadyToStartContainers"), (true, String::new()));
    assert_eq!(waiting(&status, "a"), "ContainerCreating");
}
