//! Kinds other than Pod: what their pods are called, what they have, and what is refused.

use super::*;
use crate::manifest::pods;
use crate::model::{Claim, HostPathType, Pod};

fn all(text: &str) -> Result<Vec<Pod>, String> {
    pods(&[Source { name: "web.yaml", text: text.as_bytes() }], &[]).map_err(|e| e.to_string())
}

/// A workload of this kind named `web`, with `more` lines in its spec (two spaces of indent).
fn workload(kind: &str, more: &str, policy: &str) -> String {
    let group = if matches!(kind, "Job" | "CronJob") { "batch" } else { "apps" };
    let (template, indent) = if kind == "CronJob" {
        ("  schedule: '@daily'\n  jobTemplate:\n    spec:\n", "    ")
    } else {
        ("", "")
    };
    let selector = if group == "apps" { "  selector: {matchLabels: {app: web}}\n" } else { "" };
    let pod = format!(
        "  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         restartPolicy: {policy}\n      containers: [{{name: a, image: 'i:1'}}]\n"
    );
    let pod: String = pod.lines().map(|line| format!("{indent}{line}\n")).collect();
    format!(
        "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n\
         {template}{selector}{more}{pod}"
    )
}

fn names(pods: &[Pod]) -> Vec<&str> {
    pods.iter().map(|pod| pod.meta.name.as_str()).collect()
}

#[test]
fn pods_of_workloads_are_called_as_these_or_by_their_number() {
    for (kind, more, policy, want) in [
        ("Deployment", "", "Always", &["web"][..]),
        (
            "Deployment",
            "  replicas: 2\n  strategy: {type: Recreate}\n",
            "Always",
            &["web-0", "web-1"],
        ),
        ("ReplicaSet", "  replicas: 1\n", "Always", &["web"]),
        ("DaemonSet", "  updateStrategy: {type: OnDelete}\n", "Always", &["web"]),
        ("StatefulSet", "  serviceName: db\n", "Always", &["web-0"]),
        ("StatefulSet", "  replicas: 2\n  ordinals: {start: 5}\n", "Always", &["web-5", "web-6"]),
        ("Job", "  backoffLimit: 2\n", "Never", &["web"]),
        ("Job", "  completions: 3\n  parallelism: 3\n", "OnFailure", &["web-0", "web-1", "web-2"]),
        ("Job", "  parallelism: 2\n", "OnFailure", &["web-0", "web-1"]),
        ("CronJob", "", "Never", &["web"]),
    ] {
        let found = all(&workload(kind, more, policy)).unwrap();
        assert_eq!(names(&found), want, "{kind} {more}");
        assert!(found.iter().all(|pod| pod.meta.labels["app"] == "web"));
        let uids: std::collections::BTreeSet<_> = found.iter().map(|pod| &pod.meta.uid).collect();
        assert_eq!(uids.len(), want.len());
    }
}

#[test]
fn a_stateful_sets_pods_have_their_names_numbers_and_claims() {
    let more = "  serviceName: db\n  replicas: 2\n  podManagementPolicy: Parallel\n  \
        volumeClaimTemplates:\n  - metadata: {name: data}\n    spec: {accessModes: [ReadWriteOnce], \
        resources: {requests: {storage: 1Gi}}}\n";
    let text = workload("StatefulSet", more, "Always")
        .replace("image: 'i:1'", "image: 'i:1', volumeMounts: [{name: data, mountPath: /data}]");
    let found = all(&text).unwrap();
    let second = &found[1];
    assert_eq!(second.spec.hostname.as_deref(), Some("web-1"));
    assert_eq!(second.spec.subdomain.as_deref(), Some("db"));
    assert_eq!(second.meta.labels["statefulset.kubernetes.io/pod-name"], "web-1");
    assert_eq!(second.meta.labels["apps.kubernetes.io/pod-index"], "1");
    let claim = VolumeSource::Claim { claim: "data-web-1".into(), read_only: false };
    assert_eq!(second.spec.volumes[0].source, claim);
    assert!(second.objects.claims.contains_key("data-web-1"));
    assert!(second.notes.is_empty(), "{:?}", second.notes);
}

#[test]
fn an_indexed_jobs_pods_know_their_number_and_its_deadline_is_theirs() {
    let more = "  completions: 2\n  parallelism: 2\n  completionMode: Indexed\n  \
        activeDeadlineSeconds: 60\n";
    let found = all(&workload("Job", more, "Never")).unwrap();
    let second = &found[1];
    let key = "batch.kubernetes.io/job-completion-index";
    assert_eq!(second.meta.annotations[key], "1");
    assert_eq!(second.meta.labels["batch.kubernetes.io/job-name"], "web");
    assert_eq!(second.spec.hostname.as_deref(), Some("web-1"));
    assert_eq!(second.spec.active_deadline, Some(60));
    let index = &second.spec.containers[0].env[0];
    assert_eq!(index.name, "JOB_COMPLETION_INDEX");
    assert!(matches!(&index.source, EnvSource::Value(text) if text == "1"));
}

#[test]
fn a_job_tells_its_pods_how_many_are_needed_and_how_often_they_may_fail() {
    let more =
        "  completions: 3\n  parallelism: 2\n  backoffLimit: 1\n  ttlSecondsAfterFinished: 9\n";
    let found = all(&workload("Job", more, "Never")).unwrap();
    assert_eq!(names(&found), ["web-0", "web-1", "web-2"]);
    let job = found[2].job.clone().unwrap();
    assert_eq!((job.completions, job.parallelism, job.backoff_limit), (Some(3), 2, 1));
    assert_eq!((job.active_deadline, job.ttl_after_finished), (None, Some(9)));
    let plain = all(&workload("CronJob", "", "Never")).unwrap().remove(0);
    let job = plain.job.clone().unwrap();
    assert_eq!((job.completions, job.parallelism, job.backoff_limit), (None, 1, 6));
    let again = plain.clone().again(2);
    assert_eq!(again.meta.name, "web-retry2");
    assert!(again.meta.uid != plain.meta.uid && again.meta.uid != plain.again(1).meta.uid);
}

#[test]
fn what_a_controller_would_do_later_is_noted_by_name() {
    for (kind, more, policy, note) in [
        ("Deployment", "  replicas: 0\n", "Always", "Deployment web: it has no pods"),
        ("StatefulSet", "  replicas: 2\n", "Always", "its pods do not wait for each other"),
        ("Job", "  suspend: true\n", "Never", "Job web: suspend: it is run all the same"),
        (
            "Job",
            "  podFailurePolicy: {rules: []}\n",
            "Never",
            "Job web: podFailurePolicy is not heeded: every failure counts",
        ),
        ("CronJob", "", "Never", "CronJob web: it is run once, now"),
    ] {
        // Beside a pod, so that there is one.
        let text = format!(
            "{}---\n{}",
            workload(kind, more, policy),
            with_spec("").replace("name: web", "name: other")
        );
        let found = all(&text).unwrap();
        let told = found.iter().flat_map(|pod| &pod.notes).any(|told| told.contains(note));
        assert!(told, "{kind}: {note}: {found:?}");
    }
}

#[test]
fn what_the_api_server_refuses_of_a_workload_is_refused_with_its_place() {
    for (text, want) in [
        (
            workload("Deployment", "", "Never"),
            "web.yaml:4: spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported \
             values: \"Always\"",
        ),
        (
            workload("Job", "", "Always"),
            "web.yaml:4: spec.template.spec.restartPolicy: Required value: valid values: \
             \"OnFailure\", \"Never\"",
        ),
        (
            workload("Job", "  parallelism: 0\n", "Never"),
            "web.yaml:4: spec: parallelism 0: none of its pods would ever run",
        ),
        (
            workload("Job", "  completionMode: Indexed\n", "Never"),
            "web.yaml:4: spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            workload("Deployment", "", "Always")
                .replace("matchLabels: {app: web}", "matchLabels: {app: db}"),
            "web.yaml:4: spec.template.metadata.labels: `selector` does not match template `labels`",
        ),
        (
            workload("Deployment", "  replica: 2\n", "Always"),
            "web.yaml:6: spec.replica: unknown field, did you mean replicas?",
        ),
        (
            workload("Deployment", "", "Always").replace("apps/v1", "v1"),
            "web.yaml:1: apiVersion: expected apps/v1, found v1",
        ),
        (
            workload("Deployment", "  replicas: 1001\n", "Always"),
            "web.yaml:4: spec: more than 1000 pods",
        ),
        (
            workload("Deployment", "", "Always")
                .replace("image: 'i:1'", "image: 'i:1', volumeMounts: [{name: v, mountPath: /v}]"),
            "web.yaml:10: spec.template.spec.containers[0].volumeMounts[0].name: no volume is named \
             \"v\"",
        ),
    ] {
        assert_eq!(all(&text).unwrap_err(), want);
    }
}

#[test]
fn kinds_that_only_a_cluster_serves_are_noted_and_several_pods_are_read() {
    let text = format!(
        "{}---\napiVersion: v1\nkind: Role\nmetadata: {{name: web}}\nrules: []\n\
         ---\napiVersion: monitoring.example.com/v1\nkind: ServiceMonitor\nmetadata: {{name: m}}\n---\n{}",
        with_spec(""),
        with_spec("").replace("name: web", "name: other")
    );
    let found = all(&text).unwrap();
    assert_eq!(names(&found), ["web", "other"]);
    assert_eq!(noted(&found[0]), ["Role web", "ServiceMonitor m"]);
    let one = pod(Source { name: "web.yaml", text: text.as_bytes() }, &[]).unwrap_err();
    assert_eq!(one.to_string(), "web.yaml: more than one Pod in it");
    let list = all("apiVersion: v1\nkind: List\n").unwrap_err();
    assert_eq!(list, "web.yaml:2: items: is required");
}

/// A pod whose volume is the claim `c`, and these documents.
fn with_claim(documents: &[&str]) -> Result<Option<Claim>, String> {
    let volume = "  volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]\n";
    let text =
        [&[with_spec(volume).as_str()][..], documents].concat().join("---\napiVersion: v1\n");
    all(&text).map(|pods| pods[0].objects.claims.get("c").cloned())
}

#[test]
fn a_claim_is_bound_to_the_smallest_volume_that_suits_it() {
    let claim = "kind: PersistentVolumeClaim\nmetadata: {name: c}\nspec: {accessModes: \
        [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}\n";
    let volume = |name: &str, more: &str| {
        format!(
            "kind: PersistentVolume\nmetadata: {{name: {name}}}\nspec: {{accessModes: \
             [ReadWriteOnce], hostPath: {{path: /{name}}}, {more}}}\n"
        )
    };
    let small = volume("small", "capacity: {storage: 1Gi}");
    let large = volume("large", "capacity: {storage: 9Gi}");
    let right = volume("right", "capacity: {storage: 3Gi}");
    let fast = volume("fast", "capacity: {storage: 2Gi}, storageClassName: fast");
    let other = volume("other", "capacity: {storage: 2Gi}, claimRef: {name: d}");
    let mine = volume("mine", "capacity: {storage: 8Gi}, claimRef: {name: c, namespace: default}");
    let bound = |documents: &[&str]| {
        let found = with_claim(&[&[claim][..], documents].concat()).unwrap().unwrap();
        found.bound.map(|(path, kind)| {
            assert_eq!(kind, HostPathType::Unset);
            path
        })
    };
    assert_eq!(bound(&[]), None);
    assert_eq!(bound(&[&small, &fast, &other]), None);
    assert_eq!(bound(&[&small, &large, &right, &fast]).as_deref(), Some("/right"));
    assert_eq!(bound(&[&right, &mine]).as_deref(), Some("/mine"));
    let named = claim.replace("accessModes", "volumeName: fast, accessModes");
    let found = with_claim(&[&named, &right, &fast]).unwrap().unwrap();
    assert_eq!(found.bound.unwrap().0, "/fast");
    let gone = with_claim(&[&named, &right]).unwrap_err();
    assert_eq!(gone, "web.yaml: PersistentVolumeClaim c: volume \"fast\" not found");
    let refused =
        with_claim(&[claim, &volume("far", "capacity: {storage: 1Gi}, nfs: {server: x}")]);
    assert!(refused.unwrap_err().contains("spec.nfs: not supported yet"));
}
