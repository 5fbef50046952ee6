//! The worker against a runtime in memory, in virtual time.

mod editions;
mod env_file;
mod image_volumes;
mod images;
mod probes;
mod recovery;
mod relist;
mod restart;
mod services;
mod users;

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
    assert_eq!(scene.cri.containers(), 2, "two dead runs are kept, the others are collected");
    let gone = scene.node.tombstones.lock().unwrap().clone();
    assert_eq!(gone.len() + 2, starts.len(), "each of the others has its tombstone");
    let end = (gone[0].exit_code, gone[0].reason.as_str(), gone[0].restart_count);
    assert_eq!(end, (1, "Error", 0));
    assert_eq!(gone[0].cause, crate::tombstone::Cause::PerContainer { kept: 2 });
    assert_eq!(waiting(&status, "a"), "CrashLoopBackOff");
    assert_eq!(status.phase, Phase::Running);
    let State::Waiting { message, .. } = &status.containers[0].state else { panic!("waiting") };
    assert_eq!(message, "back-off 5m0s restarting failed container=a pod=web_default(u-1)");
    assert_eq!(status.containers[0].last.as_ref().unwrap().exit_code, 1);
    let told = drain(pod.events());
    assert!(told.iter().any(|e| e.reason == Reason::BackOff));
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

#[tokio::test(start_paused = true)]
async fn a_claim_may_be_for_reading_alone() {
    let scene = Scene::new().await;
    let claims =
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nspec: {}\n";
    for (more, read_only) in [("", false), (", readOnly: true", true)] {
        let spec = format!(
            "  containers:\n  - {{name: a, image: 'x:1', volumeMounts: [{{name: v, mountPath: /v}}]}}\n  \
             volumes: [{{name: v, persistentVolumeClaim: {{claimName: c{more}}}}}]\n{claims}"
        );
        let pod = scene.run(&spec);
        seconds(2).await;
        assert_eq!(scene.cri.mount("/v").unwrap().readonly, read_only);
        pod.stop(Some(1));
        pod.wait().await;
        scene.engine.remove(&testing::pod(&spec)).await.unwrap();
    }
}
