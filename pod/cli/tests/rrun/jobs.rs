//! Jobs: their pods are made, made anew and ended as their controller would.

use crate::machine::{Machine, Run, TALK, await_that, pod, text};
use rrun_tests::place;
use std::process::Stdio;

/// A Job `pi` of a container with these arguments, and these lines in its spec.
fn job(more: &str, args: &[&str]) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: pi}}
spec:
{more}  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 5
      volumes: [{{name: kept, persistentVolumeClaim: {{claimName: kept}}}}]
      containers:
        - name: main
          image: {TALK}
          imagePullPolicy: Never
          args: {args:?}
          volumeMounts: [{{name: kept, mountPath: /kept}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: kept}}
spec: {{}}
"
    )
}

fn remove_claims(machine: &Machine) {
    std::fs::remove_dir_all(machine.sandbox.state().join("claims")).unwrap();
}

#[test]
fn a_job_makes_another_pod_for_one_that_failed_and_succeeds_with_it() {
    let machine = Machine::new();
    let path = machine.write("pi", &job("", &["second", "/kept/made"]));
    let done = machine.rrun(&["run", &path]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    for line in [
        "rrun: job default/pi: pod default/pi has failed (1 of 6): the next in 10 s",
        "rrun: job default/pi: Complete (1 succeeded, 1 failed)",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}: {said}");
    }
    assert!(said.contains("[pi-retry1] pod pi-retry1: Succeeded"), "{said}");
    remove_claims(&machine);
    machine.assert_nothing_left();
}

#[test]
fn the_exit_code_of_a_job_is_1_when_it_has_failed_and_its_pods_run_as_many_as_may() {
    let machine = Machine::new();
    let failing = machine.write("pi", &job("  backoffLimit: 0\n", &["say", "x", "3"]));
    let done = machine.rrun(&["run", &failing]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    let why =
        "job default/pi: Failed: BackoffLimitExceeded: Job has reached the specified backoff limit";
    assert!(said.contains(why), "{said}");
    let three = machine.write("pi", &job("  completions: 3\n", &["say", "x"]));
    let done = machine.rrun(&["run", &three]);
    let shown = text(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{shown}");
    // One at a time: none is pending before the one before it has succeeded.
    let at = |words: &str| shown.find(words).unwrap_or_else(|| panic!("{words}: {shown}"));
    assert!(at("pod pi-0: Succeeded") < at("pod pi-1: Pending"), "{shown}");
    assert!(at("pod pi-1: Succeeded") < at("pod pi-2: Pending"), "{shown}");
    remove_claims(&machine);
    machine.assert_nothing_left();
}

#[test]
fn a_detached_job_goes_on_by_itself_and_is_deleted_as_a_whole() {
    let machine = Machine::new();
    let path = machine.write("pi", &job("", &["say", "x", "3"]));
    let uid = machine.ok(&["run", "-d", &path]);
    assert_eq!(uid.lines().count(), 1, "{uid}");
    machine.await_ps("pi", "0/1", "Error");
    machine.await_ps("pi-retry1", "0/1", "Error");
    let deleted = machine.ok(&["delete", "-f", &path]);
    assert_eq!(deleted, "pod \"pi\" deleted\npod \"pi-retry1\" deleted\n");
    assert_eq!(machine.ps("pi-retry1"), None);
    remove_claims(&machine);
    // Its process ends at the end of the back-off at the latest.
    machine.await_nothing_left();
}

#[test]
fn a_job_is_applied_once_and_its_template_stays_as_it_is() {
    let machine = Machine::new();
    let path = machine.write("pi", &job("", &["ask", "ready"]));
    assert_eq!(machine.ok(&["apply", "-f", &path]), "job.batch/pi created\n");
    await_that("its pod runs", || machine.ok(&["ps"]).contains("Running"));
    assert_eq!(machine.ok(&["apply", "-f", &path]), "job.batch/pi unchanged\n");
    let other = machine.write("other", &job("", &["ask", "else"]));
    let said = machine.refused(&["apply", "-f", &other]);
    assert!(said.contains("The Job \"pi\" is invalid: spec.template: "), "{said}");
    machine.ok(&["delete", "-f", &path]);
    remove_claims(&machine);
    machine.await_nothing_left();
}

#[test]
fn a_detached_jobs_pods_are_removed_when_its_ttl_is_over() {
    let machine = Machine::new();
    let path = machine.write("pi", &job("  ttlSecondsAfterFinished: 1\n", &["say", "x"]));
    machine.ok(&["run", "-d", &path]);
    await_that("its pod is removed", || machine.ps("pi").is_none());
    remove_claims(&machine);
    machine.await_nothing_left();
}

#[test]
fn a_job_that_is_interrupted_ends_its_pods_once_and_makes_no_others() {
    let machine = Machine::new();
    let manifest = job("  completions: 2\n  parallelism: 2\n", &["ask", "ready"]);
    let run = machine.run("pi", &manifest);
    machine.await_ps("pi-0", "1/1", "Running");
    machine.await_ps("pi-1", "1/1", "Running");
    run.signal("INT");
    run.expect("job default/pi: Failed: Stopped");
    assert_eq!(run.end(), Some(1));
    remove_claims(&machine);
    machine.assert_nothing_left();
}

#[test]
fn a_process_that_cannot_be_started_leaves_the_other_pods_attended() {
    let machine = Machine::new();
    // Programs that go while the pods run: then there is no other process to be had of them.
    let folder = machine.sandbox.root().join("bin");
    std::fs::create_dir(&folder).unwrap();
    for name in ["rrun", "rrun-shim"] {
        std::fs::copy(place::program(name).unwrap(), folder.join(name)).unwrap();
    }
    let stays = pod("stays", "Always", &["sleeper"]);
    let both = machine.write("both", &format!("{stays}---\n{}", job("", &["say", "x", "3"])));
    let mut command = machine.sandbox.command(folder.join("rrun"));
    command.args(["run", &both]).stdin(Stdio::null());
    let run = Run::start(command);
    run.expect("job default/pi: pod default/pi has failed (1 of 6)");
    std::fs::remove_dir_all(&folder).unwrap();
    run.expect("pod default/pi-retry1: start a process for it: ");
    machine.await_ps("stays", "1/1", "Running");
    run.signal("INT");
    run.expect("[stays] stopping");
    assert_eq!(run.end(), Some(2));
    assert_eq!(machine.ps("stays"), None);
    remove_claims(&machine);
    machine.assert_nothing_left();
}
