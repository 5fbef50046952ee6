//! `rrun why`: what a pod waits for.

use crate::machine::{Machine, await_that, pod, talker, talkers};

#[test]
fn a_pod_says_its_back_off_its_probes_last_answer_and_when_it_waits_for_nothing() {
    let machine = Machine::new();
    let crash = machine.run("crash", &pod("crash", "Always", &["exit", "3"]));
    machine.await_ps("crash", "0/1", "CrashLoopBackOff");
    let said = machine.ok(&["why", "crash"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "pod default/crash: Running");
    assert!(lines[1].starts_with("  container main: CrashLoopBackOff: back-off "), "{said}");
    assert!(lines[1].contains(", the next try in "), "{said}");
    crash.signal("INT");
    crash.end();
    let probe = "      readinessProbe: {periodSeconds: 1, tcpSocket: {port: 1}}\n";
    let run = machine.run("deaf", &(pod("deaf", "Always", &["sleeper"]) + probe));
    machine.await_ps("deaf", "0/1", "Running");
    let answer = "  container main: Readiness probe failed: dial tcp ";
    await_that(answer, || machine.ok(&["why", "deaf"]).contains(answer));
    let json: serde_json::Value =
        serde_json::from_str(&machine.ok(&["why", "deaf", "-o", "json"])).unwrap();
    assert_eq!((&json["ready"], &json["phase"]), (&false.into(), &"Running".into()));
    assert_eq!(json["causes"][0]["container"], "main");
    run.signal("STOP");
    let said = machine.ok(&["why", "deaf"]);
    assert!(said.contains("is stopped (SIGSTOP)"), "{said}");
    run.signal("CONT");
    run.signal("INT");
    run.end();
    let plain = machine.run("plain", &talkers("plain", "Always", &[talker("main", &["ask", "x"])]));
    machine.await_ps("plain", "1/1", "Running");
    let said = machine.ok(&["why", "plain"]);
    assert_eq!(said, "pod default/plain: Running, ready\n  it waits for nothing\n");
    plain.signal("KILL");
    plain.end();
    let said = machine.ok(&["why", "plain"]);
    assert!(said.contains("nobody runs it: rrun run with its manifest goes on with it"), "{said}");
    machine.ok(&["stop", "plain"]);
    let said = machine.ok(&["why", "plain"]);
    assert!(said.contains("  it has ended: Succeeded"), "{said}");
    machine.ok(&["rm", "plain"]);
    let refused = machine.refused(&["why", "plain"]);
    assert!(refused.contains("pod plain: not found"), "{refused}");
    machine.assert_nothing_left();
}
