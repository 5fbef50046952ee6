//! Dead containers: how many are kept, and what is known of those that went.

use crate::machine::{Machine, await_that, talker, talkers};

const AT_ONCE: [&str; 2] = ["--minimum-container-ttl-duration", "0s"];

fn gc(machine: &Machine, more: &[&str]) -> String {
    machine.ok(&[&["gc", "containers"][..], &AT_ONCE, more].concat())
}

#[test]
fn dead_containers_over_the_limit_go_and_their_ends_stay_on_record() {
    let machine = Machine::new();
    let containers = [talker("first", &["say", "bye"]), talker("second", &["say", "good"])];
    for pod in ["one", "two"] {
        let path = machine.write(pod, &talkers(pod, "Never", &containers));
        machine.ok(&["run", "--detach", &path]);
        machine.await_ps(pod, "0/2", "Completed");
        await_that("its end", || machine.rrun(&["stop", pod]).status.success());
    }
    assert_eq!(gc(&machine, &[]).lines().count(), 1, "no more than two of each");
    let limit = ["--maximum-dead-containers", "2"];
    let dry = gc(&machine, &[&limit[..], &["--dry-run"]].concat());
    assert_eq!(dry.lines().count(), 3, "{dry}");
    assert!(dry.contains("default/one  first"), "the oldest go: {dry}");
    assert_eq!(gc(&machine, &limit), dry);
    assert_eq!(gc(&machine, &limit).lines().count(), 1);
    let why = machine.ok(&["why-removed", "one/first"]);
    for said in ["Completed, exit code 0", "2 dead containers are kept in all", "  bye"] {
        assert!(why.contains(said), "{said}: {why}");
    }
    machine.ok(&["rm", "one"]);
    machine.ok(&["rm", "two"]);
    let removed = machine.ok(&["why-removed", "two", "-o", "json"]);
    let removed: serde_json::Value = serde_json::from_str(&removed).unwrap();
    assert_eq!(removed.as_array().unwrap().len(), 2, "{removed}");
    assert_eq!(removed[0]["cause"], "PodRemoved");
    let none = machine.refused(&["why-removed", "three"]);
    let words = "three: no removed container or image of that name or id is on record";
    assert!(none.contains(words), "{none}");
    machine.assert_nothing_left();
}

#[test]
fn logs_go_with_the_record_of_their_pod() {
    let machine = Machine::new();
    let logs = machine.sandbox.state().join("logs");
    let gone = logs.join("default_gone_0000-1");
    std::fs::create_dir_all(gone.join("main")).unwrap();
    let dry = gc(&machine, &["--dry-run"]);
    assert!(dry.contains("would remove logs of a pod that is gone: default_gone_0000-1"), "{dry}");
    assert!(gone.exists());
    let done = gc(&machine, &[]);
    assert!(done.contains("removed logs of a pod that is gone: default_gone_0000-1"), "{done}");
    assert!(!gone.exists());
    machine.assert_nothing_left();
}

#[test]
fn containers_of_a_pod_that_runs_are_removed_through_its_own_process() {
    let machine = Machine::new();
    let containers = [talker("fails", &["say", "again", "1"]), talker("stays", &["ask", "x"])];
    let run = machine.run("busy", &talkers("busy", "Always", &containers));
    // The second end comes at once, the third after a back-off of ten seconds.
    run.expect("container fails: waiting: CrashLoopBackOff");
    let limit = ["--maximum-dead-containers-per-container", "1"];
    let done = gc(&machine, &limit);
    assert_eq!(done.lines().count(), 2, "{done}");
    assert!(done.contains("default/busy  fails"), "{done}");
    assert_eq!(gc(&machine, &limit).lines().count(), 1);
    let why = machine.ok(&["why-removed", "busy/fails"]);
    assert!(why.contains("1 dead containers of one are kept"), "{why}");
    machine.await_ps("busy", "1/2", "CrashLoopBackOff");
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}
