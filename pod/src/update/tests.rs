use super::*;
use crate::testing::{facts, pod};

const OLD: &str = "  restartPolicy: Always
  activeDeadlineSeconds: 100
  initContainers:
  - {name: i, image: 'i:1', resources: {requests: {cpu: 100m}}}
  containers:
  - {name: a, image: 'i:1', command: [x], resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {memory: 20Mi, ephemeral-storage: 1Gi}}}
  - {name: b, image: 'i:1'}
";

/// What is said of this change of the manifest; none where it is taken.
fn refusal(from: &str, to: &str) -> Option<String> {
    let changed = OLD.replacen(from, to, 1);
    assert_ne!(changed, OLD, "{from}");
    apply(&pod(OLD), &pod(&changed), &facts()).err().map(|e| e.to_string())
}

#[test]
fn images_a_shorter_deadline_and_resources_of_the_same_class_may_change() {
    for (from, to) in [
        ("a, image: 'i:1'", "a, image: 'i:2'"),
        ("i, image: 'i:1'", "i, image: 'i'"),
        ("activeDeadlineSeconds: 100", "activeDeadlineSeconds: 99"),
        ("{cpu: 100m}", "{cpu: 200m, memory: 1Mi}"),
        ("{cpu: 100m, memory: 10Mi}", "{cpu: 50m, memory: 1Mi}"),
        ("{memory: 20Mi,", "{cpu: 1, memory: 40Mi,"),
        ("b, image: 'i:1'", "b, image: 'i:1', resources: {limits: {cpu: 1}}"),
    ] {
        assert_eq!(refusal(from, to), None, "{to}");
    }
}

#[test]
fn what_may_not_change_is_refused_by_its_path() {
    let may = "The Pod \"web\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,";
    for (from, to, path) in [
        ("command: [x]", "command: [z]", "spec.containers[0].command"),
        ("name: b", "name: c", "spec.containers[1].name"),
        ("  containers:", "  hostNetwork: true\n  containers:", "spec.hostNetwork"),
        ("  containers:", "  volumes: [{name: v}]\n  containers:", "spec.volumes"),
        (
            "image: 'i:1', res",
            "image: 'i:1', imagePullPolicy: Never, res",
            "spec.initContainers[0].imagePullPolicy",
        ),
    ] {
        let found = refusal(from, to).unwrap();
        assert!(
            found.starts_with(may) && found.ends_with(&format!(": {path} is another")),
            "{found}"
        );
    }
    for (from, to, want) in [
        (
            "  - {name: b, image: 'i:1'}\n",
            "",
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        ("requests: {cpu: 100m, memory: 10Mi}", "requests: {cpu: 100m}", ""),
        (
            "limits: {memory: 20Mi, ephemeral-storage: 1Gi}",
            "limits: {ephemeral-storage: 1Gi}",
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            "{cpu: 100m}",
            "{}",
            "spec.initContainers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            "storage: 1Gi",
            "storage: 2Gi",
            "spec: Forbidden: only cpu and memory resources are mutable: spec.containers[0].resources.requests",
        ),
        (
            "{cpu: 100m, memory: 10Mi}",
            "{cpu: 5, memory: 10Mi}",
            "spec: Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000",
        ),
        (
            "  activeDeadlineSeconds: 100\n",
            "",
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            "activeDeadlineSeconds: 100",
            "activeDeadlineSeconds: 101",
            "spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value",
        ),
    ] {
        let want = (!want.is_empty()).then(|| format!("The Pod \"web\" is invalid: {want}"));
        assert_eq!(refusal(from, to), want, "{to}");
    }
}

#[test]
fn the_class_of_a_pod_stays_as_it_is() {
    let spec = |resources: &str| {
        pod(&format!("  containers: [{{name: a, image: i, resources: {resources}}}]\n"))
    };
    let old = spec("{limits: {cpu: 1, memory: 10Mi}}");
    let same = apply(&old, &spec("{limits: {cpu: 2, memory: 20Mi}}"), &facts());
    assert!(same.is_ok(), "{same:?}");
    let other = spec("{limits: {cpu: 2, memory: 20Mi}, requests: {cpu: 1}}");
    assert_eq!(
        apply(&old, &other, &facts()).unwrap_err().to_string(),
        "The Pod \"web\" is invalid: spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing (it is Guaranteed)"
    );
}

#[test]
fn objects_change_unless_they_say_that_they_do_not() {
    let with = |map: &str, secret: &str| {
        pod(&format!(
            "  containers: [{{name: a, image: i}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: m}}
{map}
---
apiVersion: v1
kind: Secret
metadata: {{name: s}}
{secret}
"
        ))
    };
    let (map, secret) = ("data: {k: v}", "stringData: {k: v}");
    let (fixed_map, fixed) =
        (format!("immutable: true\n{map}"), format!("immutable: true\n{secret}"));
    let said = |old: &Pod, new: &Pod| apply(old, new, &facts()).err().map(|e| e.to_string());
    assert_eq!(said(&with(map, secret), &with("data: {k: w}", "stringData: {k: w}")), None);
    let old = with(&fixed_map, &fixed);
    assert_eq!(said(&old, &old), None);
    let why = "Forbidden: field is immutable when `immutable` is set";
    let changed = format!("{fixed_map}\nbinaryData: {{b: AA==}}");
    for (new, want) in [
        (with(&changed, &fixed), format!("The ConfigMap \"m\" is invalid: data: {why}")),
        (with(map, &fixed), format!("The ConfigMap \"m\" is invalid: immutable: {why}")),
        (with(&fixed_map, secret), format!("The Secret \"s\" is invalid: immutable: {why}")),
    ] {
        assert_eq!(said(&old, &new), Some(want));
    }
}
