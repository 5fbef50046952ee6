//! `rrun top`: what pods use.

use crate::machine::{Machine, pod, text};
use serde_json::Value;

#[test]
fn a_busy_container_is_seen_beside_a_quiet_one() {
    let machine = Machine::new();
    let busy = machine.run("busy", &pod("busy", "Always", &["burn", "3600"]));
    let quiet = machine.run("quiet", &pod("quiet", "Always", &["sleeper"]));
    machine.await_ps("busy", "1/1", "Running");
    machine.await_ps("quiet", "1/1", "Running");
    let json: Value = serde_json::from_str(&machine.ok(&["top", "-o", "json"])).unwrap();
    let cpu = |name: &str| {
        let all = json["containers"].as_array().unwrap();
        let found = all.iter().find(|one| one["pod"] == name).unwrap();
        assert!(found["memoryWorkingSetBytes"].as_u64().unwrap() > 0, "{found}");
        found["cpuNanoCores"].as_u64().unwrap()
    };
    assert!(cpu("busy") > cpu("quiet"), "{json}");
    let table = machine.ok(&["top", "--containers", "--sort-by", "cpu"]);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]);
    assert_eq!(rows[1][..3], ["default", "busy", "main"], "{table}");
    assert_eq!(machine.ok(&["top", "quiet"]).lines().count(), 2);
    assert_eq!(machine.ok(&["top", "-n", "other"]).lines().count(), 1);
    // One whose process is stopped keeps the figures of the others from nobody.
    quiet.signal("STOP");
    let some = machine.rrun(&["top"]);
    assert_eq!(some.status.code(), Some(2));
    assert!(text(&some.stdout).contains("busy"), "{}", text(&some.stdout));
    let said = text(&some.stderr);
    assert!(said.contains("pod default/quiet: its runtime does not answer in 5s"), "{said}");
    quiet.signal("CONT");
    for run in [busy, quiet] {
        run.signal("INT");
        run.end();
    }
    let refused = machine.refused(&["top", "busy"]);
    assert!(refused.contains("pod busy: not found"), "{refused}");
    machine.assert_nothing_left();
}
