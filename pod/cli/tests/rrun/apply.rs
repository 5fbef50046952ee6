//! `rrun apply`.

use crate::machine::{IMAGE, Machine, TALK, await_that};
use std::fs;

/// A manifest of a pod that waits, with these resources, and a ConfigMap and a Secret beside it.
fn manifest(resources: &str, content: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{edition: {content}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {TALK}
    imagePullPolicy: Never
    args: [ask, x]
    resources: {resources}
    resizePolicy: [{{resourceName: memory, restartPolicy: RestartContainer}}]
    env: [{{name: K, valueFrom: {{configMapKeyRef: {{name: m, key: k}}}}}}]
    volumeMounts:
    - {{name: map, mountPath: /map}}
    - {{name: secret, mountPath: /secret}}
    - {{name: all, mountPath: /all}}
  - {{name: other, image: {TALK}, imagePullPolicy: Never, args: [ask, x], resources: {{limits: {{cpu: 100m, memory: 32Mi}}}}}}
  volumes:
  - {{name: map, configMap: {{name: m}}}}
  - {{name: secret, secret: {{secretName: s}}}}
  - name: all
    projected:
      sources:
      - configMap: {{name: m, items: [{{key: k, path: deep/k}}]}}
      - downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: m}}
data: {{k: {content}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: s}}
stringData: {{k: {content}}}
"
    )
}

const SMALL: &str = "{limits: {cpu: 100m, memory: 32Mi}}";

struct Web(Machine);

impl Web {
    fn apply(&self, manifest: &str) -> String {
        self.0.ok(&["apply", "-f", &self.0.write("web", manifest)])
    }

    fn talk(&self, args: &[&str]) -> String {
        let words = ["exec", "web", "--", "/bin/talk"].into_iter().chain(args.iter().copied());
        self.0.ok(&words.collect::<Vec<_>>()).trim().to_owned()
    }

    fn show(&self, path: &str) -> String {
        self.talk(&["show", path])
    }

    fn status(&self) -> serde_json::Value {
        let all: serde_json::Value =
            serde_json::from_str(&self.0.ok(&["ps", "-a", "-o", "json"])).unwrap();
        all["items"][0]["status"].clone()
    }

    fn main(&self) -> serde_json::Value {
        self.status()["containerStatuses"][0].clone()
    }

    /// A file of the pod's own group, where the machine has one tree of groups.
    fn group(&self, file: &str) -> Option<String> {
        let parent = self.0.sandbox.cgroup_parent();
        let above = std::path::Path::new("/sys/fs/cgroup").join(parent.trim_start_matches('/'));
        let pods = fs::read_dir(above).ok()?.flatten();
        let mut pods = pods.filter(|pod| pod.file_name().to_string_lossy().contains("pod"));
        let text = fs::read_to_string(pods.next()?.path().join(file)).ok()?;
        Some(text.trim().to_owned())
    }

    fn events(&self) -> String {
        self.0.ok(&["events", "web"])
    }
}

#[test]
fn what_is_not_there_is_run_and_what_is_there_follows_its_manifest() {
    let web = Web(Machine::new());
    assert_eq!(web.apply(&manifest(SMALL, "one")), "pod/web created\n");
    web.0.await_ps("web", "2/2", "Running");
    assert_eq!(web.apply(&manifest(SMALL, "one")), "pod/web unchanged\n");
    for path in ["/map/k", "/secret/k", "/all/deep/k"] {
        assert_eq!(web.show(path), "one", "{path}");
    }

    // Objects and labels: each volume at once, the environment at the next start.
    assert_eq!(web.apply(&manifest(SMALL, "two")), "pod/web configured\n");
    for path in ["/map/k", "/secret/k", "/all/deep/k"] {
        await_that(path, || web.show(path) == "two");
    }
    await_that("labels", || web.show("/all/labels") == "edition=\"two\"");
    assert_eq!(web.talk(&["env", "K"]), "one");
    assert_eq!(web.main()["restartCount"], 0);
    let large = format!("{}x", "two".repeat(100_000));
    web.apply(
        &manifest(SMALL, "two")
            .replace("stringData: {k: two}", &format!("stringData: {{k: {large}}}")),
    );
    await_that("a secret that has grown", || web.show("/secret/k") == large);

    // CPU in place.
    let more = "{limits: {cpu: 200m, memory: 32Mi}}";
    assert_eq!(web.apply(&manifest(more, "two")), "pod/web configured\n");
    await_that("it is resized", || web.events().contains("ResizeCompleted"));
    let main = web.main();
    assert_eq!(main["resources"]["limits"]["cpu"], "200m", "{main}");
    assert_eq!(main["allocatedResources"]["cpu"], "200m", "{main}");
    assert_eq!(main["restartCount"], 0);
    let events = web.events();
    assert!(events.contains("Pod resize started: {\"containers\":[{\"name\":\"main\",\"resources\":{\"limits\":{\"cpu\":\"200m\",\"memory\":\"32Mi\"}"), "{events}");
    if let Some(quota) = web.group("cpu.max") {
        assert_eq!(quota, "30000 100000");
    }

    // Memory by a restart, as its policy has it.
    let more = "{limits: {cpu: 200m, memory: 48Mi}}";
    assert_eq!(web.apply(&manifest(more, "two")), "pod/web configured\n");
    await_that("it is started again", || web.main()["restartCount"] == 1);
    web.0.await_ps("web", "2/2", "Running");
    assert_eq!(web.talk(&["env", "K"]), "two");
    assert_eq!(web.main()["resources"]["limits"]["memory"], "48Mi");
    assert_eq!(web.status()["containerStatuses"][1]["restartCount"], 0);
    assert!(!web.status().to_string().contains("PodResizeInProgress"));
    web.0.ok(&["delete", "web", "--grace-period", "0"]);
    web.0.await_nothing_left();
}

#[test]
fn a_change_that_cannot_be_made_is_refused_by_its_path_and_changes_nothing() {
    let web = Web(Machine::new());
    web.apply(&manifest(SMALL, "one"));
    web.0.await_ps("web", "2/2", "Running");
    let good = manifest(SMALL, "two");
    for (from, to, why) in [
        (
            "args: [ask, x]",
            "args: [ask, z]",
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
        ),
        ("name: main", "name: mine", ": spec.containers[0].name is another"),
        (
            "{limits: {cpu: 100m, memory: 32Mi}}",
            "{limits: {memory: 32Mi}}",
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            "{limits: {cpu: 100m, memory: 32Mi}}",
            "{limits: {cpu: 100m, memory: 32Mi}, requests: {cpu: 50m}}",
            "Pod QOS Class may not change as a result of resizing",
        ),
        (
            "cpu: 100m",
            "cpu: 10000",
            "Node didn't have enough resource: cpu, requested: 10000100, used: 0, capacity: ",
        ),
    ] {
        let path = web.0.write("bad", &good.replacen(from, to, 1));
        let said = web.0.refused(&["apply", "-f", &path]);
        assert!(said.contains("The Pod \"web\" is invalid: ") && said.contains(why), "{said}");
    }
    assert_eq!(web.show("/map/k"), "one");
    web.0.ok(&["delete", "web", "--grace-period", "0"]);
    assert_eq!(web.apply(&good), "pod/web created\n");
    web.0.await_ps("web", "2/2", "Running");
    web.0.ok(&["delete", "-f", &web.0.write("web", &good), "--grace-period", "0"]);
    web.0.await_nothing_left();
}

#[test]
fn a_pod_that_nobody_runs_any_more_is_taken_up_with_its_new_edition() {
    let web = Web(Machine::new());
    let run = web.0.run("web", &manifest(SMALL, "one"));
    run.expect("pod web: Running, ready");
    run.signal("KILL");
    run.end();
    let more = "{limits: {cpu: 200m, memory: 32Mi}}";
    assert_eq!(web.apply(&manifest(more, "two")), "pod/web configured\n");
    await_that("it is resized", || web.main()["resources"]["limits"]["cpu"] == "200m");
    assert_eq!(web.main()["restartCount"], 0);
    await_that("its volumes follow", || web.show("/map/k") == "two");
    assert_eq!(web.apply(&manifest(more, "two")), "pod/web unchanged\n");
    let image = manifest(more, "two").replacen(TALK, IMAGE, 1).replacen("[ask, x]", "[sleeper]", 1);
    let said = web.0.refused(&["apply", "-f", &web.0.write("web", &image)]);
    assert!(said.contains("spec.containers[0].args"), "{said}");
    web.0.ok(&["stop", "web", "--time", "0"]);
    let said = web.0.refused(&["apply", "-f", &web.0.write("web", &manifest(SMALL, "two"))]);
    assert!(said.contains("it has ended ("), "{said}");
    web.0.ok(&["rm", "web"]);
    web.0.await_nothing_left();
}
