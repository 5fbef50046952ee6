//! All containers once more, and containers that are added to look into a pod.

use super::*;
use crate::ephemeral::Ephemeral;

fn added(name: &str, target: Option<&str>) -> Ephemeral {
    Ephemeral {
        name: name.into(),
        image: "x:1".into(),
        command: Vec::new(),
        target: target.map(str::to_owned),
        stdin: false,
        tty: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_with_the_first_init_container_in_the_same_sandbox() {
    let scene = Scene::new().await;
    scene.cri.script("i", &[Life::ends(1, 0)]);
    // Not even what is never started again ends the pod.
    let pod = scene.run(
        "  restartPolicy: Never
  initContainers: [{name: i, image: 'x:1'}]
  containers: [{name: a, image: 'x:1'}]
",
    );
    seconds(5).await;
    pod.add(added("look", None)).unwrap();
    seconds(2).await;
    pod.restart().await;
    seconds(5).await;
    let entries = scene.cri.entries();
    let starts: Vec<_> =
        entries.iter().filter(|e| e.contains("sta") || e.contains("sandbox")).collect();
    assert_eq!(starts, ["sandbox 0", "start i", "start a", "start look", "start i", "start a"]);
    let status = now(&pod);
    assert_eq!(status.phase, Phase::Running);
    assert!(status.is_ready());
    let main = status.container("a").unwrap();
    let last = main.last.as_ref().unwrap();
    assert!(!last.container_id.is_empty() && last.finished_at > last.started_at, "{last:?}");
    assert_ne!(Some(&last.container_id), main.container_id.as_ref());
    assert_eq!(scene.cri.sandboxes(), 1);
}

#[tokio::test(start_paused = true)]
async fn how_a_run_ended_before_a_restart_is_known_to_the_next_engine() {
    let scene = Scene::new().await;
    let spec = "  containers: [{name: a, image: 'x:1'}]\n";
    let first = scene.run(spec);
    seconds(5).await;
    first.restart().await;
    seconds(5).await;
    let last = |pod: &PodHandle| now(pod).container("a").unwrap().last.clone();
    let state = first.state().borrow().clone();
    let second = scene.engine.resume(testing::pod(spec), state);
    seconds(5).await;
    assert!(last(&first).is_some());
    assert_eq!(last(&second), last(&first));
}

const RULED: &str = "  restartPolicy: Never
  initContainers: [{name: i, image: 'x:1'}]
  containers:
  - name: a
    image: x:1
    restartPolicy: Never
    restartPolicyRules:
    - {action: Restart, exitCodes: {operator: In, values: [3]}}
    - {action: RestartAllContainers, exitCodes: {operator: In, values: [3, 42]}}
  - {name: b, image: 'x:1', lifecycle: {preStop: {exec: {command: [never]}}}}
  - {name: done, image: 'x:1'}
";

#[tokio::test(start_paused = true)]
async fn a_rule_makes_all_containers_anew_from_the_first_on() {
    let scene = Scene::new().await;
    scene.cri.script("i", &[Life::ends(1, 0)]);
    scene.cri.script("a", &[Life::ends(10, 42), Life::FOREVER]);
    scene.cri.script("done", &[Life::ends(1, 0)]);
    let pod = scene.run(RULED);
    seconds(5).await;
    let status = now(&pod);
    assert_eq!(condition(&status, "AllContainersRestarting"), (false, String::new()));
    assert_eq!(waiting(&status, "done"), "terminated 0");
    // While its init container runs again.
    tokio::time::sleep(Duration::from_millis(6600)).await;
    let status = now(&pod);
    assert_eq!((status.phase, waiting(&status, "i").as_str()), (Phase::Pending, "running"));
    assert_eq!(
        (waiting(&status, "b"), waiting(&status, "done")),
        ("PodInitializing".into(), "PodInitializing".into())
    );
    assert!(condition(&status, "Initialized").0);
    seconds(30).await;
    let status = now(&pod);
    assert_eq!((status.phase, waiting(&status, "a").as_str()), (Phase::Running, "running"));
    assert_eq!(condition(&status, "AllContainersRestarting"), (false, String::new()));
    for name in ["i", "a", "b", "done"] {
        let found = status.container(name).unwrap();
        let last = found.last.as_ref().unwrap();
        assert_eq!((found.restart_count, last.exit_code), (1, 137), "{name}");
        assert_eq!(last.reason, "RestartingAllContainers", "{name}");
        assert_eq!(scene.cri.when(&format!("start {name}")).len(), 2, "{name}");
    }
    // Without its hook, and at once.
    assert_eq!(scene.cri.when("stop b 2").len(), 1);
    assert!(!scene.cri.entries().iter().any(|entry| entry.contains("exec b")));
    assert_eq!(scene.cri.sandboxes(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_rule_of_an_exit_code_counts() {
    let scene = Scene::new().await;
    scene.cri.script("i", &[Life::ends(1, 0)]);
    scene.cri.script("a", &[Life::ends(5, 3), Life::FOREVER]);
    let pod = scene.run(RULED);
    seconds(60).await;
    assert_eq!((scene.cri.when("start a").len(), scene.cri.when("start b").len()), (2, 1));
    let last = now(&pod).container("a").unwrap().last.clone().unwrap();
    assert_eq!(last.exit_code, 3);
}

#[tokio::test(start_paused = true)]
async fn an_added_container_is_started_once_and_nothing_depends_on_it() {
    let scene = Scene::new().await;
    scene.cri.script("look", &[Life::ends(3, 1)]);
    let pod = scene.run("  containers: [{name: a, image: 'x:1'}]\n");
    seconds(2).await;
    pod.add(added("look", Some("a"))).unwrap();
    seconds(30).await;
    let status = now(&pod);
    assert_eq!(scene.cri.when("start look").len(), 1);
    assert_eq!(waiting(&status, "look"), "terminated 1");
    assert!(status.is_ready() && status.phase == Phase::Running);
    // The next engine knows it, and does not start it again.
    let state = pod.state().borrow().clone();
    let taken =
        scene.engine.resume(testing::pod("  containers: [{name: a, image: 'x:1'}]\n"), state);
    seconds(5).await;
    assert_eq!(scene.cri.when("start look").len(), 1);
    assert_eq!(waiting(&now(&taken), "look"), "terminated 1");
    let refusal = |container: Ephemeral| pod.add(container).unwrap_err().to_string();
    let at = "The Pod \"web\" is invalid: spec.ephemeralContainers[1]";
    assert_eq!(refusal(added("a", None)), format!("{at}.name: Duplicate value: \"a\""));
    assert_eq!(refusal(added("look", None)), format!("{at}.name: Duplicate value: \"look\""));
    assert_eq!(
        refusal(added("b", Some("none"))),
        format!("{at}.targetContainerName: Not found: \"none\"")
    );
    assert!(refusal(added("A_b", None)).starts_with(&format!("{at}.name: Invalid value: ")));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_run_is_told_and_waited_for() {
    let scene = Scene::new().await;
    scene.cri.script("a", &[Life::ends(1, 1)]);
    let pod = scene.run("  restartPolicy: OnFailure\n  containers: [{name: a, image: 'x:1'}, {name: b, image: 'x:1'}]\n");
    seconds(5).await;
    pod.add(added("look", Some("a"))).unwrap();
    seconds(1).await;
    let State::Waiting { reason, message } = now(&pod).container("look").unwrap().state.clone()
    else {
        panic!("it waits");
    };
    assert_eq!(reason, "CreateContainerConfigError");
    assert_eq!(message, "unable to find target container a");
}
