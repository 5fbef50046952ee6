//! `rrun attach` and `rrun port-forward`.

use crate::machine::{Machine, await_that, pod, talk_layout, talker, talkers, text};
use std::io::Write;
use std::process::Stdio;

/// What a web server in the sandbox's own network answers.
fn page(machine: &Machine, address: &str, port: &str) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    );
    let mut shell = machine.sandbox.command("bash");
    let done = rrun_tests::limit::output(shell.args(["-c", &script])).unwrap();
    text(&done.stdout)
}

const NAMED: &str = "      ports: [{name: web, containerPort: 8080}]\n";

#[test]
fn connections_to_ports_of_this_machine_go_on_to_the_pod() {
    let machine = Machine::new();
    let manifest = pod("web", "Always", &["serve", "8080", "hello"]) + NAMED;
    let run = machine.run("web", &manifest);
    run.expect("pod web: Running");
    let forward = machine.start(&["port-forward", "pod/web", "18080:8080", "18081:web", "18082:1"]);
    forward.expect("Forwarding from 127.0.0.1:18080 -> 8080");
    forward.expect("Forwarding from 127.0.0.1:18081 -> 8080");
    forward.expect("Forwarding from 127.0.0.1:18082 -> 1");
    await_that("the server listens", || page(&machine, "127.0.0.1", "18080").contains("hello"));
    assert!(page(&machine, "127.0.0.1", "18081").contains("hello"));
    forward.expect("Handling connection for 18081");
    assert_eq!(page(&machine, "127.0.0.1", "18082"), "", "nobody listens there");
    forward.expect("an error occurred forwarding 18082 -> 1: ");
    // The others go on.
    assert!(page(&machine, "127.0.0.1", "18080").contains("hello"));
    let taken = machine.refused(&["port-forward", "--address", "127.0.0.1", "web", "18080:8080"]);
    assert!(taken.contains("unable to listen on port 18080"), "{taken}");
    let unknown = machine.refused(&["port-forward", "web", "wbe"]);
    assert!(unknown.contains("no container has a port of that name"), "{unknown}");
    run.signal("INT");
    run.end();
    forward.expect("lost connection to pod");
    assert_eq!(forward.end(), Some(1));
    machine.assert_nothing_left();
}

/// What a client gets that has said all before the answer begins.
fn told(machine: &Machine, port: &str, words: &str) -> String {
    let program = talk_layout().with_extension("");
    let mut talk = machine.sandbox.command(program);
    text(&rrun_tests::limit::output(talk.args(["tell", port, words])).unwrap().stdout)
}

#[test]
fn a_client_that_has_said_all_gets_an_answer_that_begins_only_then() {
    let machine = Machine::new();
    let counts = talkers("web", "Always", &[talker("main", &["count", "8080"])]);
    let run = machine.run("web", &counts);
    run.expect("pod web: Running");
    let forward = machine.start(&["port-forward", "web", "18080:8080"]);
    forward.expect("Forwarding from 127.0.0.1:18080 -> 8080");
    await_that("the server listens", || told(&machine, "18080", "hello") == "5 bytes\n");
    assert_eq!(told(&machine, "18080", ""), "0 bytes\n");
    let long = "x".repeat(100_000);
    assert_eq!(told(&machine, "18080", &long), "100000 bytes\n");
    forward.signal("TERM");
    forward.end();
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}

#[test]
fn a_container_is_attached_to_and_gets_what_is_said_to_it() {
    let machine = Machine::new();
    let copies = talker("main", &["copy"]).replace("}\n", ", stdin: true, stdinOnce: true}\n");
    let quiet = talker("quiet", &["ask", "x"]);
    let path = machine.write("web", &talkers("web", "Never", &[copies, quiet]));
    machine.ok(&["run", "--detach", &path]);
    machine.await_ps("web", "2/2", "Running");
    for (args, why) in [
        (&["attach", "-t", "web"][..], "Unable to use a TTY - container main did not allocate one"),
        (&["attach", "-i", "web", "-c", "quiet"], "it has no standard input"),
        (&["attach", "web", "-c", "other"], "container other: not found"),
        (&["attach", "nobody"], "pod nobody: not found"),
        (&["exec", "nobody", "--", "true"], "pod nobody: not found"),
    ] {
        let refused = machine.rrun(args);
        assert_eq!(refused.status.code(), Some(125), "{args:?}");
        assert!(text(&refused.stderr).contains(why), "{args:?}: {}", text(&refused.stderr));
    }
    let mut command = machine.command(&["attach", "-i", "web"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"said\n").unwrap();
    let done = rrun_tests::limit::output_of(child, "rrun attach").unwrap();
    assert_eq!(
        (text(&done.stdout).as_str(), done.status.code()),
        ("said\n", Some(0)),
        "{}",
        text(&done.stderr)
    );
    machine.ok(&["rm", "--force", "web"]);
    machine.await_nothing_left();
}

#[test]
fn a_program_that_cannot_be_run_is_126_and_one_that_is_not_there_127() {
    let machine = Machine::new();
    let run = machine.run("web", &pod("web", "Always", &["sleeper"]));
    run.expect("pod web: Running");
    let code = |program: &str| machine.rrun(&["exec", "web", "--", program]).status.code();
    assert_eq!((code("/etc/hosts"), code("/bin/none")), (Some(126), Some(127)));
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}
