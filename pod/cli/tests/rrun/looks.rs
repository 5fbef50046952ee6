//! What is told of a pod: its description, its events as they happen, what is waited for.

use crate::machine::{Machine, TALK, await_that, talker, talkers};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixListener;

/// A pod of one container that waits, with labels, a port, a probe and a volume.
fn full() -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: full, labels: {{app: full}}}}
spec:
  terminationGracePeriodSeconds: 5
  volumes:
    - {{name: scratch, emptyDir: {{sizeLimit: 1Mi}}}}
  containers:
    - name: main
      image: {TALK}
      imagePullPolicy: Never
      args: [ask, ready]
      ports: [{{containerPort: 8080}}]
      resources: {{limits: {{memory: 64Mi}}}}
      readinessProbe: {{exec: {{command: [/bin/talk, say, x]}}, periodSeconds: 1}}
      volumeMounts: [{{name: scratch, mountPath: /scratch, readOnly: true}}]
"
    )
}

#[test]
fn describe_wait_and_events_tell_what_becomes_of_a_pod() {
    let machine = Machine::new();
    let created = machine.start(&["wait", "full", "--for", "create"]);
    machine.ok(&["run", "-d", &machine.write("full", &full())]);
    created.expect("pod/full condition met");
    assert_eq!(created.end(), Some(0));
    let met = machine.ok(&["wait", "full", "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(met, "pod/full condition met\n");
    machine.ok(&["wait", "full", "--for=jsonpath={.status.phase}=Running"]);
    machine.ok(&["wait", "full", "--for", "jsonpath='{.status.containerStatuses[0].ready}'=true"]);
    let late = machine.rrun(&["wait", "full", "--for", "condition=Ready=False", "--timeout", "0s"]);
    assert_eq!(late.status.code(), Some(1));
    let said = crate::machine::text(&late.stderr);
    assert_eq!(said, "rrun: timed out waiting for the condition on pods/full\n");
    let listed: serde_json::Value =
        serde_json::from_str(&machine.ok(&["ps", "-o", "json"])).unwrap();
    let pod = &listed["items"][0];
    assert_eq!(
        (&pod["metadata"]["name"], &pod["status"]["phase"]),
        (&"full".into(), &"Running".into())
    );
    assert_eq!(pod["metadata"]["labels"]["app"], "full");
    assert_eq!(machine.ok(&["ps", "-n", "default", "-o", "name"]), "pod/full\n");
    assert_eq!(machine.ok(&["ps", "-n", "other", "-o", "name"]), "");
    await_that("its log", || machine.ok(&["logs", "full"]).contains("ready"));
    let logged = machine.ok(&["logs", "full", "--prefix", "--timestamps"]);
    assert!(logged.starts_with("[pod/full/main] 2") && logged.ends_with(" ready"), "{logged}");
    let described = machine.ok(&["describe", "full"]);
    for line in [
        "Name:             full",
        "Labels:           app=full",
        "Status:           Running",
        "    Ports:          8080/TCP",
        "    State:          Running",
        "    Ready:          True",
        "    Restart Count:  0",
        "      memory:      64Mi",
        "    Readiness:      exec [/bin/talk say x] delay=0s timeout=1s period=1s #success=1 #failure=3",
        "    Mounts:         /scratch from scratch (ro)",
        "  Ready                       True",
        "    SizeLimit:    1Mi",
        "QoS Class:        Burstable",
    ] {
        assert!(described.lines().any(|found| found == line), "{line}:\n{described}");
    }
    assert!(described.contains("Started"), "{described}");
    let watched = machine.start(&["events", "--watch", "full"]);
    watched.expect("Started");
    let gone = machine.start(&["wait", "full", "--for", "delete", "--timeout", "60s"]);
    machine.ok(&["stop", "full"]);
    watched.expect("Stopping container main");
    assert_eq!(watched.end(), Some(0));
    machine.ok(&["rm", "full"]);
    gone.expect("pod/full condition met");
    assert_eq!(gone.end(), Some(0));
    let none = machine.refused(&["wait", "full", "--for", "condition=Ready"]);
    assert!(none.contains("pod full: not found"), "{none}");
    machine.assert_nothing_left();
}

/// Its process is still there when it is asked, and ends without an answer.
#[test]
fn a_pod_that_ends_by_itself_just_when_it_is_stopped_is_stopped() {
    let machine = Machine::new();
    let path = machine.write("short", &talkers("short", "Never", &[talker("a", &["say", "bye"])]));
    let run = machine.start(&["run", "--keep", &path]);
    assert_eq!(run.end(), Some(0));
    let found: Value = serde_json::from_str(&machine.ok(&["get", "short", "-o", "json"])).unwrap();
    let uid = found["metadata"]["uid"].as_str().unwrap();
    let folder = machine.sandbox.run().join("rrun/rrun");
    let lock = folder.join("default_short.lock");
    fs::write(&lock, uid).unwrap();
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let socket = folder.join(format!("{uid}.stop"));
    let process = UnixListener::bind(&socket).unwrap();
    let ends = std::thread::spawn(move || {
        drop(process.accept().unwrap());
        drop(held);
    });
    machine.ok(&["stop", "short"]);
    ends.join().unwrap();
    fs::remove_file(socket).unwrap();
    machine.ok(&["rm", "short"]);
    machine.assert_nothing_left();
}

#[test]
fn describe_says_how_a_container_ended() {
    let machine = Machine::new();
    let path =
        machine.write("dead", &talkers("dead", "Never", &[talker("a", &["err", "oops", "3"])]));
    machine.ok(&["run", "-d", &path]);
    machine.await_ps("dead", "0/1", "Error");
    let described = machine.ok(&["describe", "dead"]);
    for line in
        ["    State:          Terminated", "      Reason:       Error", "      Exit Code:    3"]
    {
        assert!(described.lines().any(|found| found == line), "{line}:\n{described}");
    }
    let some = machine.refused(&["stop", "gone", "dead"]);
    assert_eq!(some, "rrun: pod gone: not found (rrun ps --all)\n");
    let some = machine.refused(&["rm", "gone", "dead"]);
    assert!(some.contains("pod gone: not found"), "{some}");
    assert_eq!(machine.ps("dead"), None, "the others are removed");
    machine.assert_nothing_left();
}
