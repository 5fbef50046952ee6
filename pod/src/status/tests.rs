//! Phases and conditions, as tables.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Inputs, Phase, PodStatus, StartFailure, State, generate};
use crate::clock::Timestamp;
use crate::model::Pod;
use crate::probe::{ProbeKind, Results, Verdict};
use crate::sync::observe::{LinuxUser, Observed, Run, RunResources, RunState, Sandbox};
use crate::testing;

const NOW: Timestamp = Timestamp::from_nanos(100_000_000_000);

/// `name:running`, `name:created`, `name:exit0`, `name:unknown`; the newest run first.
fn seen(runs: &str) -> Observed {
    let run = |(i, text): (usize, &str)| {
        let (name, what) = text.split_once(':').unwrap();
        let state = match what {
            "running" => RunState::Running,
            "created" => RunState::Created,
            "unknown" => RunState::Unknown,
            _ => RunState::Exited,
        };
        Run {
            id: format!("{name}-{i}"),
            state,
            created_at: NOW,
            started_at: NOW,
            finished_at: NOW,
            exit_code: what.trim_start_matches("exit").parse().unwrap_or(0),
            ..crate::testing::run(name)
        }
    };
    let sandbox = Sandbox {
        id: "s".into(),
        attempt: 0,
        ready: true,
        host_network: false,
        addresses: Some(vec!["10.0.0.2".into()]),
        created_at: NOW,
    };
    Observed {
        sandboxes: vec![sandbox],
        runs: runs.split_whitespace().enumerate().map(run).collect(),
    }
}

fn status(
    pod: &Pod,
    runs: &str,
    old: &PodStatus,
    failed: &[(&str, &str)],
    ended: bool,
) -> PodStatus {
    let failures: BTreeMap<String, StartFailure> = failed
        .iter()
        .map(|(name, reason)| {
            let failure = StartFailure { reason: (*reason).into(), message: String::new() };
            ((*name).to_owned(), failure)
        })
        .collect();
    generate(&Inputs {
        pod,
        seen: &seen(runs),
        failures: &failures,
        results: &Results::default(),
        old,
        host_ips: &[],
        resize: None,
        ephemeral: &[],
        recursive_read_only: false,
        stopping: ended,
        ended,
        now: NOW,
    })
}

#[test]
fn the_phase_follows_the_kubelets_rules() {
    use Phase::{Failed, Pending, Running, Succeeded};
    let two = "  containers: [{name: a, image: x:1}, {name: b, image: x:1}]\n";
    let init = "  initContainers: [{name: i, image: x:1}]\n  containers: [{name: a, image: x:1}]\n";
    let side = "  initContainers: [{name: s, image: x:1, restartPolicy: Always}]\n  containers: [{name: a, image: x:1}]\n";
    let rows: &[(&str, &str, &str, Phase)] = &[
        // policy, spec, runs, phase
        ("Always", two, "", Pending),
        ("Always", two, "a:running", Pending),
        ("Always", two, "a:running b:created", Pending),
        ("Always", two, "a:running b:running", Running),
        ("Always", two, "a:running b:exit1", Running),
        ("Always", two, "a:exit0 b:exit1", Running),
        ("OnFailure", two, "a:exit0 b:exit1", Running),
        ("OnFailure", two, "a:exit0 b:exit0", Succeeded),
        ("Never", two, "a:exit0 b:exit0", Succeeded),
        ("Never", two, "a:exit0 b:exit1", Failed),
        ("Never", two, "a:running b:exit1", Running),
        ("Always", two, "a:running b:unknown", Pending),
        ("Always", init, "i:running", Pending),
        ("Always", init, "i:exit1", Pending),
        ("Never", init, "i:exit1", Failed),
        ("OnFailure", init, "i:exit1", Pending),
        ("Always", init, "i:exit0", Pending),
        ("Always", init, "i:exit0 a:running", Running),
        // A forgotten init container of a pod that has run counts as done.
        ("Always", init, "a:running", Running),
        ("Always", side, "s:running", Pending),
        ("Always", side, "s:running a:running", Running),
        ("Never", side, "s:running a:exit0", Running),
        ("Never", side, "s:exit137 a:exit0", Succeeded),
        ("Never", side, "s:exit137 a:exit1", Failed),
    ];
    for (policy, spec, runs, want) in rows {
        let pod = testing::pod(&format!("  restartPolicy: {policy}\n{spec}"));
        let old = PodStatus::new(&pod, NOW);
        let found = status(&pod, runs, &old, &[], false).phase;
        assert_eq!(found, *want, "{policy} {runs:?}\n{spec}");
    }
}

#[test]
fn an_ended_pod_is_terminal_whatever_its_policy() {
    let pod = testing::pod("  containers: [{name: a, image: x:1}]\n");
    let old = PodStatus::new(&pod, NOW);
    assert_eq!(status(&pod, "a:exit0", &old, &[], true).phase, Phase::Succeeded);
    assert_eq!(status(&pod, "a:exit1", &old, &[], true).phase, Phase::Failed);
}

#[test]
fn a_container_that_cannot_be_started_waits_with_the_reason_and_keeps_its_last_end() {
    let pod = testing::pod("  containers: [{name: a, image: x:1}]\n");
    let old = PodStatus::new(&pod, NOW);
    let found = status(&pod, "a:exit3", &old, &[("a", "CrashLoopBackOff")], false);
    let State::Waiting { reason, .. } = &found.containers[0].state else { panic!("waiting") };
    assert_eq!(reason, "CrashLoopBackOff");
    assert_eq!(found.containers[0].last.as_ref().unwrap().exit_code, 3);
    // A sidecar that ended well is told as it is.
    let side = testing::pod(
        "  initContainers: [{name: s, image: x:1, restartPolicy: Always}]\n  containers: [{name: a, image: x:1}]\n",
    );
    for (run, waits) in [("s:exit3", true), ("s:exit0", false)] {
        let runs = format!("{run} a:running");
        let found =
            status(&side, &runs, &PodStatus::new(&side, NOW), &[("s", "CrashLoopBackOff")], false);
        let state = &found.container("s").unwrap().state;
        assert_eq!(matches!(state, State::Waiting { .. }), waits, "{run}");
    }
    // A container that runs is not waiting for anything.
    let found = status(&pod, "a:running", &old, &[("a", "CrashLoopBackOff")], false);
    assert!(matches!(found.containers[0].state, State::Running { .. }));
}

#[test]
fn a_container_that_vanished_while_it_ran_has_ended_all_the_same() {
    let pod = testing::pod("  containers: [{name: a, image: x:1}]\n");
    let before = status(&pod, "a:running", &PodStatus::new(&pod, NOW), &[], false);
    let after = status(&pod, "", &before, &[], false);
    let last = after.containers[0].last.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_str()), (137, "ContainerStatusUnknown"));
    assert_eq!((after.containers[0].restart_count, after.phase), (1, Phase::Running));
}

#[test]
fn a_readiness_gate_that_nobody_sets_is_named() {
    let pod = testing::pod(
        "  readinessGates: [{conditionType: x.io/up}]\n  containers: [{name: a, image: x:1}]\n",
    );
    let found = status(&pod, "a:running", &PodStatus::new(&pod, NOW), &[], false);
    let ready = found.conditions.iter().find(|c| c.kind == "Ready").unwrap();
    assert_eq!(
        ready.message,
        "corresponding condition of pod readiness gate \"x.io/up\" does not exist."
    );
}

#[test]
fn verdicts_decide_started_and_ready() {
    let pod = testing::pod("  containers:
  - {name: a, image: x:1, startupProbe: {exec: {command: [x]}}, readinessProbe: {exec: {command: [x]}}}
");
    let results = Results::default();
    let old = PodStatus::new(&pod, NOW);
    let look = |results: &Results| {
        let found = generate(&Inputs {
            pod: &pod,
            seen: &seen("a:running"),
            failures: &BTreeMap::new(),
            results,
            old: &old,
            host_ips: &[],
            resize: None,
            ephemeral: &[],
            recursive_read_only: false,
            stopping: false,
            ended: false,
            now: NOW,
        });
        (found.containers[0].started, found.containers[0].ready)
    };
    assert_eq!(look(&results), (Some(false), false));
    results.set("a-0", ProbeKind::Readiness, Verdict::Success);
    assert_eq!(look(&results), (Some(false), false));
    results.set("a-0", ProbeKind::Startup, Verdict::Success);
    assert_eq!(look(&results), (Some(true), true));
    results.set("a-0", ProbeKind::Readiness, Verdict::Failure);
    assert_eq!(look(&results), (Some(true), false));
}

#[test]
fn json_is_the_apis() {
    let pod = testing::pod("  containers: [{name: a, image: x:1}]\n");
    let found = status(&pod, "a:running a:exit2", &PodStatus::new(&pod, NOW), &[], false);
    let json = super::to_json(&found, "rrun");
    assert_eq!(json["phase"], "Running");
    assert_eq!(json["podIP"], "10.0.0.2");
    let a = &json["containerStatuses"][0];
    assert_eq!(a["containerID"], "rrun://a-0");
    assert_eq!(a["state"]["running"]["startedAt"], "1970-01-01T00:01:40Z");
    assert_eq!(a["lastState"]["terminated"]["exitCode"], 2);
    assert_eq!(json["conditions"][2]["type"], "Ready");
}

/// The status of a pod's first container in JSON, with this run of it.
fn first_container(pod: &Pod, change: impl Fn(&mut Run)) -> serde_json::Value {
    let mut seen = seen("a:running");
    change(&mut seen.runs[0]);
    let found = generate(&Inputs {
        pod,
        seen: &seen,
        failures: &BTreeMap::new(),
        results: &Results::default(),
        old: &PodStatus::new(pod, NOW),
        host_ips: &[],
        resize: None,
        ephemeral: &[],
        recursive_read_only: true,
        stopping: false,
        ended: false,
        now: NOW,
    });
    super::to_json(&found, "rrun")["containerStatuses"][0].clone()
}

#[test]
fn a_container_that_runs_tells_the_limits_that_the_runtime_says_are_in_force() {
    let pod = testing::pod(
        "  containers: [{name: a, image: x:1, resources: {limits: {cpu: 500m, memory: 64Mi, \
         hugepages-2Mi: 4Mi, ephemeral-storage: 1Gi}, requests: {cpu: 100m}}}]\n",
    );
    let asked = json!({
        "limits": {"cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"},
        "requests": {"cpu": "100m", "memory": "64Mi", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"},
    });
    let silent = first_container(&pod, |_| {});
    assert_eq!(silent["resources"], asked);
    assert_eq!(silent["allocatedResources"], asked["requests"]);
    let told = |run: &mut Run| {
        run.resources = RunResources {
            cpu_request: Some(101),
            cpu_limit: Some(1_500),
            memory_limit: Some(32 << 20),
        };
    };
    let telling = first_container(&pod, told);
    assert_eq!(telling["resources"]["limits"]["cpu"], "1500m");
    assert_eq!(telling["resources"]["limits"]["memory"], "32Mi");
    assert_eq!(telling["resources"]["requests"]["cpu"], "101m");
    assert_eq!(telling["allocatedResources"], asked["requests"]);
    let ended = first_container(&pod, |run| {
        told(run);
        run.state = RunState::Exited;
    });
    assert_eq!(ended["resources"], asked);
}

#[test]
fn the_least_that_a_kernel_takes_is_told_as_what_was_asked_for() {
    let pod =
        testing::pod("  containers: [{name: a, image: x:1, resources: {limits: {cpu: 1m}}}]\n");
    let least = first_container(&pod, |run| {
        run.resources.cpu_request = Some(2);
        run.resources.cpu_limit = Some(10);
    });
    assert_eq!(least["resources"], json!({"limits": {"cpu": "1m"}, "requests": {"cpu": "1m"}}));
}

#[test]
fn user_and_mounts_are_told_and_a_container_that_was_not_made_has_mounts_alone() {
    let pod = testing::pod(
        "  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: a
    image: x:1
    volumeMounts:
    - {name: v, mountPath: /w}
    - {name: v, mountPath: /r, readOnly: true}
    - {name: v, mountPath: /rr, readOnly: true, recursiveReadOnly: IfPossible}
",
    );
    let mounts = json!([
        {"name": "v", "mountPath": "/w"},
        {"name": "v", "mountPath": "/r", "readOnly": true, "recursiveReadOnly": "Disabled"},
        {"name": "v", "mountPath": "/rr", "readOnly": true, "recursiveReadOnly": "Enabled"},
    ]);
    let found = first_container(&pod, |run| {
        run.user = Some(LinuxUser { uid: 7, gid: 8, supplemental_groups: vec![8, 9] });
    });
    assert_eq!(found["volumeMounts"], mounts);
    let user = json!({"linux": {"uid": 7, "gid": 8, "supplementalGroups": [8, 9]}});
    assert_eq!(found["user"], user);
    let waiting = first_container(&pod, |run| run.name = "other".into());
    assert_eq!(waiting["volumeMounts"], mounts);
    for absent in ["user", "resources", "allocatedResources"] {
        assert!(waiting.get(absent).is_none(), "{waiting}");
    }
}

#[test]
fn the_generation_of_a_manifest_that_has_one_is_told_by_pod_and_conditions() {
    let spec = "  resources: {limits: {cpu: 2}}
  containers: [{name: a, image: x:1, resources: {requests: {memory: 1Gi}}}]
";
    let mut pod = testing::pod(spec);
    let json = |pod: &Pod| {
        let found = status(pod, "a:running", &PodStatus::new(pod, NOW), &[], false);
        super::to_json(&found, "rrun")
    };
    let without = json(&pod);
    assert!(without.get("observedGeneration").is_none());
    assert!(without["conditions"][0].get("observedGeneration").is_none());
    pod.meta.generation = 3;
    let with = json(&pod);
    assert_eq!(with["observedGeneration"], 3);
    let conditions = with["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|c| c["observedGeneration"] == 3), "{with}");
    let whole = json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2", "memory": "1Gi"}});
    assert_eq!(with["resources"], whole);
    assert_eq!(with["allocatedResources"], whole["requests"]);
}
