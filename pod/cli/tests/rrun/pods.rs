//! Pods of several containers, detached ones, and pods that are taken over.

use crate::machine::{Machine, TALK, await_that, pod, talker, talkers, text};
use std::io::Write;
use std::process::Stdio;

#[test]
fn a_pod_of_several_containers_runs_in_order_with_its_objects() {
    let machine = Machine::new();
    let manifest = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: many}}
spec:
  restartPolicy: Never
  volumes:
    - {{name: page, emptyDir: {{}}}}
    - {{name: words, configMap: {{name: words}}}}
  initContainers:
    - {{name: beside, image: \"{TALK}\", imagePullPolicy: Never, restartPolicy: Always, args: [ask, beside]}}
    - {{name: before, image: \"{TALK}\", imagePullPolicy: Never, args: [say, before]}}
    - name: writes
      image: {TALK}
      imagePullPolicy: Never
      args: [write, /page/env, \"TOKEN='written' # for a later one\"]
      volumeMounts: [{{name: page, mountPath: /page}}]
  containers:
    - name: file
      image: {TALK}
      imagePullPolicy: Never
      args: [show, /words/greeting]
      volumeMounts: [{{name: words, mountPath: /words}}]
    - name: variable
      image: {TALK}
      imagePullPolicy: Never
      args: [env, TOKEN]
      env: [{{name: TOKEN, valueFrom: {{secretKeyRef: {{name: keys, key: token}}}}}}]
    - name: noted
      image: {TALK}
      imagePullPolicy: Never
      args: [env, TOKEN]
      env: [{{name: TOKEN, valueFrom: {{fileKeyRef: {{volumeName: page, path: env, key: TOKEN}}}}}}]
"
    );
    let words =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata: {greeting: good day}\n";
    let keys = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {token: abc}\n";
    let (words, keys) = (machine.write("words", words), machine.write("keys", keys));
    let args = ["run", "--keep", "--with", &words, "--with", &keys, "-"];
    let mut command = machine.command(&args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let done = rrun_tests::limit::output_of(child, "rrun run").unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let shown = text(&done.stdout);
    let said = ["beside | beside", "before | before", "file | good day", "variable | abc"];
    for line in said.into_iter().chain(["noted | written"]) {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let row = machine.ps("many").unwrap();
    assert_eq!((row[2].as_str(), row[3].as_str()), ("0/4", "Completed"));
    let events = machine.ok(&["events", "many"]);
    let started: Vec<&str> = events
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words[2] == "Started")
        .map(|words| words[3])
        .collect();
    assert_eq!(started, ["beside", "before", "writes", "file", "variable", "noted"], "{events}");
    machine.ok(&["rm", "many"]);
    machine.assert_nothing_left();
}

#[test]
fn a_detached_pod_is_kept_until_it_is_removed() {
    let machine = Machine::new();
    let path = machine.write("far", &pod("far", "Always", &["sleeper"]));
    // All spellings detach once.
    for args in
        [&["run", "--detach", &path][..], &["run", "-df", &path], &["run", "-d", "--", &path]]
    {
        let uid = machine.ok(args);
        let row = machine.await_ps("far", "1/1", "Running");
        assert_eq!(format!("{}\n", row[6]), uid);
        machine.ok(&["stop", "far"]);
        assert_eq!(machine.ps("far").unwrap()[3], "Completed");
        let again = machine.refused(&["run", &path]);
        assert!(again.contains("it has ended (Succeeded): rrun rm it first"), "{again}");
        machine.ok(&["rm", "far"]);
    }
    machine.ok(&["run", "--detach", &path]);
    machine.ok(&["rm", "--force", "far"]);
    assert_eq!(machine.ps("far"), None);
    machine.assert_nothing_left();
}

#[test]
fn detach_returns_when_the_pod_is_accepted_or_says_why_it_is_not() {
    let machine = Machine::new();
    let never = pod("never", "Always", &["sleeper"])
        .replace("imagePullPolicy: Never", "imagePullPolicy: Always");
    let never = never.replace("images.rrun.test/", "127.0.0.1:1/");
    machine.ok(&["run", "-d", &machine.write("never", &never)]);
    await_that("the reason among the events", || {
        machine.ok(&["events", "never"]).contains("Failed to pull image")
    });
    let shown = machine.ps("never").unwrap()[3].clone();
    assert!(["ErrImagePull", "ImagePullBackOff"].contains(&&*shown), "{shown}");
    machine.ok(&["stop", "never"]);
    machine.ok(&["rm", "never"]);
    let wrong = machine.write("wrong", &never.replace("args:", "arsg:"));
    let refused = machine.refused(&["run", "-d", &wrong]);
    assert!(refused.contains("wrong.yaml:11: spec.containers[0].arsg: unknown field"), "{refused}");
    machine.assert_nothing_left();
}

/// Killed, its `rrun` leaves the pod to the next one, which knows all that the first one knew.
#[test]
fn the_next_rrun_goes_on_where_a_killed_one_stopped() {
    let machine = Machine::new();
    let probe = "      readinessProbe: {exec: {command: [/bin/talk, say, x]}, periodSeconds: 1}\n";
    let manifest =
        pod("left", "Always", &["ask", "x"]).replace("work:latest", "talk:latest") + probe;
    let first = machine.run("left", &manifest);
    first.expect("pod left: Running, ready");
    let before = machine.await_ps("left", "1/1", "Running");
    first.signal("KILL");
    assert_eq!(first.end(), None);
    let between = machine.await_ps("left", "1/1", "Unattended");
    let second =
        machine.start(&["run", &machine.sandbox.root().join("left.yaml").display().to_string()]);
    second.expect("pod left: Running, ready");
    let after = machine.await_ps("left", "1/1", "Running");
    // Its restarts, address and uid; the last column is its age.
    assert_eq!((&before[4..7], &between[4..7]), (&after[4..7], &after[4..7]));
    let events = machine.ok(&["events", "left"]);
    assert_eq!(events.matches("Started").count(), 1, "{events}");
    let edited = machine.write("edited", &manifest.replace("Seconds: 5", "Seconds: 6"));
    let busy = machine.refused(&["run", &edited]);
    assert!(busy.contains("another rrun works on it"), "{busy}");
    machine.ok(&["stop", "left"]);
    second.end();
    machine.assert_nothing_left();
}

#[test]
fn a_pod_that_nobody_attends_is_stopped_and_removed_by_others() {
    let machine = Machine::new();
    let manifest =
        talkers("alone", "Always", &[talker("a", &["ask", "x"]), talker("b", &["ask", "y"])]);
    for ways in [&[&["stop", "alone"][..], &["rm", "alone"]][..], &[&["rm", "-f", "alone"]]] {
        let run = machine.run("alone", &manifest);
        run.expect("pod alone: Running, ready");
        machine.await_ps("alone", "2/2", "Running");
        run.signal("KILL");
        run.end();
        machine.await_ps("alone", "2/2", "Unattended");
        let refused = machine.refused(&["rm", "alone"]);
        assert!(refused.contains("it runs: stop it first, or use --force"), "{refused}");
        let edited = machine.write("edited", &manifest.replace("Seconds: 5", "Seconds: 6"));
        let other = machine.refused(&["run", &edited]);
        assert!(other.contains("there is one with another manifest: rrun rm it first"), "{other}");
        for args in ways {
            machine.ok(args);
        }
        assert_eq!(machine.ps("alone"), None);
    }
    machine.assert_nothing_left();
}

#[test]
fn a_pod_whose_readiness_gate_nobody_sets_is_never_ready() {
    let machine = Machine::new();
    let gate = "  readinessGates: [{conditionType: example.test/balanced}]\n";
    let run = machine.run("gated", &(pod("gated", "Always", &["sleeper"]) + gate));
    run.expect("container main: running, ready");
    machine.await_ps("gated", "1/1", "Running");
    let state = machine.sandbox.state().join("rrun/default_gated/state");
    await_that("the reason on record", || {
        let text = std::fs::read_to_string(&state).unwrap_or_default();
        text.contains("ReadinessGatesNotReady") && text.contains("example.test/balanced")
    });
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}
