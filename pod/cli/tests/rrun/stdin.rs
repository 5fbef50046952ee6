//! The standard input of containers, which a CRI client attaches to.

use crate::machine::{Machine, await_that, talker, talkers};
use rrun_tests::limit;
use rrun_tests::place;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// `crictl` at the socket of the process that runs a pod.
fn crictl(machine: &Machine, pod: &str) -> Command {
    let uid = machine.ps(pod).unwrap()[6].clone();
    let endpoint = format!("unix:///run/rrun/rrun/{uid}.cri");
    let mut command = machine.sandbox.command(place::tool("crictl").unwrap());
    command.args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]);
    command
}

/// Attaches to a container, writes `text` to its input and closes it.
fn attach(machine: &Machine, pod: &str, container: &str, text: &str) -> Child {
    let mut list = crictl(machine, pod);
    let listed = limit::output(list.args(["ps", "--quiet", "--name", container])).unwrap();
    let id = String::from_utf8(listed.stdout).unwrap();
    let mut command = crictl(machine, pod);
    command.args(["attach", "--stdin", id.trim()]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child
}

#[test]
fn stdin_is_open_where_it_was_asked_for_and_closed_after_the_first_that_attached() {
    let machine = Machine::new();
    let with = |name: &str, more: &str| talker(name, &["copy"]).replace("}\n", more);
    let containers = [
        with("once", ", stdin: true, stdinOnce: true}\n"),
        with("open", ", stdin: true}\n"),
        with("none", "}\n"),
    ];
    let run = machine.run("in", &talkers("in", "Never", &containers));
    run.expect("container none: ended with 0: Completed");
    run.expect("container once: running");
    run.expect("container open: running");
    let mut once = attach(&machine, "in", "once", "to the first\n");
    run.expect("once | to the first");
    run.expect("container once: ended with 0: Completed");
    assert!(limit::end(&mut once, "crictl attach").unwrap().success());
    for text in ["one\n", "two\n"] {
        let mut open = attach(&machine, "in", "open", text);
        run.expect(&format!("open | {}", text.trim()));
        // Its output goes on until it is let go of.
        open.kill().unwrap();
        open.wait().unwrap();
    }
    await_that("a row", || machine.ps("in").is_some_and(|row| row[3] == "NotReady"));
    machine.ok(&["stop", "in", "--time", "1"]);
    run.end();
    machine.assert_nothing_left();
}
