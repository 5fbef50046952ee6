use super::*;
use crate::testing::pod;

/// A pod whose only container has these resources, with this policy.
fn with(resources: &str, policy: &str) -> Pod {
    pod(&format!(
        "  containers: [{{name: a, image: i, resources: {resources}, resizePolicy: {policy}}}]\n"
    ))
}

/// A run of the only container.
fn run(state: RunState) -> Run {
    Run { state, ..crate::testing::run("a") }
}

#[test]
fn what_changed_is_told_and_restarts_only_where_the_container_wants_it() {
    let (old, half) = ("{limits: {cpu: 1, memory: 64Mi}}", "{limits: {cpu: 500m, memory: 64Mi}}");
    let restart = "[{resourceName: cpu, restartPolicy: RestartContainer}]";
    for (to, policy, state, want) in [
        (old, "[]", RunState::Running, (true, 0, 0)),
        (half, "[]", RunState::Running, (true, 0, 1)),
        ("{limits: {cpu: 1, memory: 32Mi}}", restart, RunState::Running, (true, 1, 0)),
        ("{limits: {cpu: 2, memory: 32Mi}}", "[]", RunState::Running, (true, 1, 1)),
        (half, restart, RunState::Running, (false, 0, 0)),
        (half, "[]", RunState::Exited, (true, 0, 0)),
    ] {
        let mut has = Actuated::default();
        has.complete(&with(old, "[]"));
        let pod = with(to, policy);
        let mut resize = Resize::default();
        let kept = resize.keeps(&pod, &pod.spec.containers[0], &run(state), &has);
        assert_eq!((kept, resize.memory.len(), resize.cpu.len()), want, "{to} {policy}");
    }
}

#[test]
fn what_becomes_less_comes_first() {
    let spec = |a: &str, b: &str| {
        pod(&format!(
            "  containers:\n  - {{name: a, image: i, resources: {{limits: {{memory: {a}}}}}}}\n  - {{name: b, image: i, resources: {{limits: {{memory: {b}}}}}}}\n"
        ))
    };
    let mut has = Actuated::default();
    has.complete(&spec("10Mi", "20Mi"));
    let pod = spec("20Mi", "10Mi");
    let mut resize = Resize::default();
    for container in &pod.spec.containers {
        resize.keeps(&pod, container, &run(RunState::Running), &has);
    }
    let names: Vec<_> = resize.memory.iter().map(|update| update.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn an_event_has_the_resources_as_the_kubelet_writes_them() {
    let pod = with("{requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: '1'}}", "[]");
    assert_eq!(
        message("Pod resize started", &pod, ""),
        "Pod resize started: {\"containers\":[{\"name\":\"a\",\"resources\":{\"limits\":{\"cpu\":\"1\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"10Mi\"}}}],\"generation\":0}"
    );
    assert!(message("x", &pod, "why").ends_with(",\"generation\":0,\"error\":\"why\"}"));
}
