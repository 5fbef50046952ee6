//! `rrun logs`, and what of logs `rrun run` shows.

use crate::machine::{Machine, await_that, pod, talker, talkers, text};

/// An hour that has passed for no log of ours.
const EVER: &str = "1h";

#[test]
fn what_was_written_is_shown_with_and_without_a_newline_at_its_end() {
    let machine = Machine::new();
    let containers = [talker("a", &["say", "all there is"]), talker("b", &["ask", "prompt> "])];
    let run = machine.run("case", &talkers("case", "Never", &containers));
    run.expect("a | all there is");
    await_that("the prompt of a container that runs", || {
        machine.ok(&["logs", "case", "-c", "b"]) == "prompt> "
    });
    assert_eq!(machine.ok(&["logs", "case", "-c", "a"]), "all there is");
    let both = machine.ok(&["logs", "case"]);
    let mut lines: Vec<_> = both.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a | all there is", "b | prompt> "]);
    assert!(both.ends_with('\n'), "{both:?}");
    run.signal("INT");
    run.expect("b | prompt> ");
    run.end();
    machine.assert_nothing_left();
}

#[test]
fn no_output_is_lost_however_short_a_run_is() {
    let machine = Machine::new();
    let volume = "  volumes: [{name: v, emptyDir: {}}]\n";
    let once = talker("a", &["once", "/v/made", "cannot open the configuration"])
        .replace("}\n", ", volumeMounts: [{name: v, mountPath: /v}]}\n");
    let manifest = talkers("quick", "OnFailure", &[once]) + volume;
    for _ in 0..5 {
        let run = machine.run("quick", &manifest);
        run.expect("a | cannot open the configuration");
        run.expect("a | again");
        run.signal("INT");
        run.end();
    }
    machine.assert_nothing_left();
}

#[test]
fn logs_are_chosen_by_container_run_number_and_time_and_followed_to_the_end() {
    let machine = Machine::new();
    let volume = "  volumes: [{name: v, emptyDir: {}}]\n";
    let once = talker("a", &["once", "/v/made", "the first try"])
        .replace("}\n", ", volumeMounts: [{name: v, mountPath: /v}]}\n");
    let many = talker("b", &["fill", "1"]);
    let manifest = talkers("two", "OnFailure", &[once, many]) + volume;
    machine.ok(&["run", "--detach", &machine.write("two", &manifest)]);
    await_that("the second run", || machine.ok(&["logs", "two", "-c", "a"]) == "again\n");
    assert_eq!(machine.ok(&["logs", "two", "-c", "a", "--previous"]), "the first try\n");
    let none = machine.refused(&["logs", "two", "-c", "b", "--previous"]);
    assert!(none.contains("there is no run before"), "{none}");
    let lines = |args: &[&str]| machine.ok(&[&["logs", "two", "-c", "b"], args].concat());
    assert_eq!(lines(&[]).lines().count(), 16);
    assert_eq!(lines(&["--tail", "1"]), format!("{:063}\n", 15));
    assert_eq!((lines(&["--since", EVER]), lines(&["--tail", "0"])), (lines(&[]), String::new()));
    assert_eq!(machine.ok(&["logs", "two", "--tail", "1"]).lines().count(), 2);
    let refused = machine.refused(&["logs", "two", "-c", "c"]);
    assert_eq!(refused, "rrun: pod two: container c: not found\n");
    let follow = machine.start(&["logs", "two", "-f"]);
    follow.expect("a | again");
    machine.ok(&["stop", "two"]);
    assert_eq!(follow.end(), Some(0));
    assert_eq!(machine.ok(&["logs", "two", "-c", "a"]), "again\n", "an ended pod has its logs");
    machine.ok(&["rm", "two"]);
    assert!(machine.refused(&["logs", "two"]).contains("pod two: not found"));
    machine.assert_nothing_left();
}

#[test]
fn a_log_is_rotated_and_read_as_one() {
    let machine = Machine::new();
    let manifest = talkers("long", "Never", &[talker("a", &["fill", "64"])]);
    let path = machine.write("long", &manifest);
    machine.ok(&["run", "--detach", "--log-max-size", "16Ki", &path]);
    let uid = machine.ps("long").unwrap()[6].clone();
    let folder = machine.sandbox.state().join(format!("logs/default_long_{uid}/a"));
    let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    await_that("a second file", || files() == 2);
    assert_eq!(machine.ok(&["logs", "long"]).lines().count(), 1024);
    machine.ok(&["rm", "--force", "long"]);
    assert_eq!(files(), 0);
    machine.assert_nothing_left();
}

#[test]
fn logs_whose_reader_goes_away_end_quietly() {
    let machine = Machine::new();
    let path = machine.write("lines", &pod("lines", "Never", &["lines", "5000", "100"]));
    machine.ok(&["run", "--keep", &path]);
    let mut command = machine.command(&["logs", "lines"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let done = rrun_tests::limit::output_of(child, "rrun logs").unwrap();
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()));
    machine.ok(&["rm", "lines"]);
    machine.assert_nothing_left();
}
