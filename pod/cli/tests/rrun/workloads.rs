//! Manifests with several pods, with workloads and claims, and folders of manifests.

use crate::machine::{Machine, TALK, pod, talker, talkers, text};
use std::io::Write;
use std::process::Stdio;

/// A StatefulSet `db` of two pods that write into their claims and end with the signal to stop.
fn stateful_set() -> String {
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 5
      initContainers:
        - name: writes
          image: {TALK}
          imagePullPolicy: Never
          args: [write, /data/word, kept]
          volumeMounts: [{{name: data, mountPath: /data}}]
      containers:
        - {{name: main, image: \"{TALK}\", imagePullPolicy: Never, args: [ask, ready]}}
  volumeClaimTemplates:
    - {{metadata: {{name: data}}, spec: {{accessModes: [ReadWriteOnce]}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: db}}
rules: []
"
    )
}

#[test]
fn pods_of_a_stateful_set_run_beside_each_other_and_their_claims_stay() {
    let machine = Machine::new();
    let run = machine.run("db", &stateful_set());
    run.expect("rrun: Role db means nothing without a cluster");
    for pod in ["db-0", "db-1"] {
        run.expect(&format!("[{pod}] container main: running"));
        machine.await_ps(pod, "1/1", "Running");
        let word = machine.sandbox.state().join(format!("claims/default_data-{pod}/word"));
        assert_eq!(std::fs::read_to_string(word).unwrap().trim(), "kept");
    }
    run.signal("INT");
    run.expect("[db-0] stopping");
    run.expect("[db-1] stopping");
    run.end();
    assert_eq!((machine.ps("db-0"), machine.ps("db-1")), (None, None));
    std::fs::remove_dir_all(machine.sandbox.state().join("claims")).unwrap();
    machine.assert_nothing_left();
}

#[test]
fn the_exit_code_of_several_is_that_of_the_worst_and_one_can_be_run_alone() {
    let machine = Machine::new();
    let good = talkers("good", "Never", &[talker("a", &["say", "fine"])]);
    let bad = talkers("bad", "Never", &[talker("a", &["say", "x", "3"])]);
    let folder = machine.sandbox.root().join("both");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("1.yaml"), &good).unwrap();
    std::fs::write(folder.join("2.yml"), &bad).unwrap();
    let folder = folder.display().to_string();
    let both = machine.rrun(&["run", &folder]);
    assert_eq!(both.status.code(), Some(1), "{}", text(&both.stderr));
    assert!(text(&both.stdout).contains("good/a | fine"), "{}", text(&both.stdout));
    let one = machine.ok(&["run", "--pod", "good", &folder]);
    assert!(one.contains("a | fine"), "{one}");
    let none = machine.refused(&["run", "--pod", "other", &folder]);
    assert!(none.contains("both: no Pod other in it"), "{none}");
    let listed = machine.ok(&["validate", &folder]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    std::fs::remove_dir_all(&folder).unwrap();
    machine.assert_nothing_left();
}

#[test]
fn several_pods_of_standard_input_are_detached_one_after_another() {
    let machine = Machine::new();
    let mut command = machine.command(&["run", "-d", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stateful_set().as_bytes()).unwrap();
    let done = rrun_tests::limit::output_of(child, "run -d -").unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout).lines().count(), 2, "a uid for each");
    assert_eq!(text(&done.stderr).lines().count(), 1, "each note once: {}", text(&done.stderr));
    for pod in ["db-0", "db-1"] {
        machine.await_ps(pod, "1/1", "Running");
    }
    let path = machine.write("db", &stateful_set());
    let deleted = machine.ok(&["delete", "-f", &path]);
    assert_eq!(deleted, "pod \"db-0\" deleted\npod \"db-1\" deleted\n");
    assert_eq!((machine.ps("db-0"), machine.ps("db-1")), (None, None));
    let gone = machine.refused(&["delete", "db-0"]);
    assert!(gone.contains("pod db-0: not found"), "{gone}");
    assert_eq!(machine.ok(&["delete", "--ignore-not-found", "-f", &path]), "");
    std::fs::remove_dir_all(machine.sandbox.state().join("claims")).unwrap();
    machine.assert_nothing_left();
}

#[test]
fn validate_and_explain_say_what_a_manifest_has_and_make_nothing() {
    let machine = Machine::new();
    let path = machine.write("db", &stateful_set());
    let shown = machine.rrun(&["validate", &path]);
    assert!(text(&shown.stderr).contains("Role db means nothing"), "{}", text(&shown.stderr));
    let names: Vec<String> = text(&shown.stdout)
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(names, ["db-0", "db-1"]);
    let json: serde_json::Value =
        serde_json::from_str(&machine.ok(&["validate", &path, "-o", "json"])).unwrap();
    assert_eq!((&json["valid"], &json["pods"][1]["name"]), (&true.into(), &"db-1".into()));
    let told = machine.ok(&["explain", &path]);
    let lines = ["Pod default/db-1 (uid ", "  data: the claim data-db-1, which stays"];
    for line in lines {
        assert!(told.lines().any(|found| found.starts_with(line)), "{line}:\n{told}");
    }
    let wrong = machine.write("wrong", &stateful_set().replace("replicas", "replica"));
    let said = machine.refused(&["validate", &wrong]);
    let want = "wrong.yaml:5: spec.replica: unknown field, did you mean replicas?";
    assert!(said.contains(want), "{said}");
    let json = machine.rrun(&["validate", &wrong, "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert!(json["error"].as_str().unwrap().ends_with("did you mean replicas?"), "{json}");
    machine.assert_nothing_left();
}

#[test]
fn a_service_leads_to_another_pod_of_its_manifest_by_name_and_by_variables() {
    let machine = Machine::new();
    let server = pod("web-server", "Always", &["serve", "8080", "hello"])
        .replace("{name: web-server}", "{name: web-server, labels: {app: web}}");
    let client = talkers(
        "client",
        "Never",
        &[talker("file", &["show", "/etc/hosts"]), talker("variable", &["env", "WEB_PORT"])],
    );
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: \
                   web}, ports: [{port: 80, targetPort: 8080}]}\n";
    // The client first: it waits for the server's address.
    let run = machine.run("both", &format!("{client}---\n{server}---\n{service}"));
    run.expect("nothing turns its port 80 into port 8080 of its pods: connect to web:8080");
    let address = machine.await_ps("web-server", "1/1", "Running")[5].clone();
    run.expect(&format!("client/variable | tcp://{address}:80"));
    let names = "web.default.svc.cluster.local\tweb.default.svc\tweb.default\tweb";
    run.expect(&format!("client/file | {address}\t{names}"));
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}
