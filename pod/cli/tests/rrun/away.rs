//! `rrun --endpoint` while its server is away, and when it is back.

use crate::machine::{Machine, Run, TALK, pod, printed, text};
use rrun_tests::daemon::Daemon;
use serde_json::Value;
use std::process::{Command, Output};

const ENDPOINT: &str = "unix:///run/rrun/rrun.sock";

struct Node {
    machine: Machine,
    daemon: Option<Daemon>,
}

impl Node {
    fn new() -> Node {
        let mut node = Node { machine: Machine::new(), daemon: None };
        node.begin();
        node
    }

    fn begin(&mut self) {
        self.daemon = Some(Daemon::rrund(&self.machine.sandbox, "").unwrap());
    }

    /// By SIGKILL.
    fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    fn words<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["--endpoint", ENDPOINT], args].concat()
    }

    fn rrun(&self, args: &[&str]) -> Output {
        self.machine.rrun(&Node::words(args))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        printed(args, &self.rrun(args))
    }

    fn start(&self, args: &[&str]) -> Run {
        self.machine.start(&Node::words(args))
    }

    /// Runs a pod, which stays on record.
    fn run(&self, name: &str, manifest: &str) -> Run {
        let run = self.start(&["run", "--keep", &self.machine.write(name, manifest)]);
        run.expect(&format!("pod {name}: Running"));
        run
    }

    fn status(&self, pod: &str) -> Value {
        let found: Value = serde_json::from_str(&self.ok(&["get", pod, "-o", "json"])).unwrap();
        found["status"]["containerStatuses"][0].clone()
    }

    /// The first process of the pod's container.
    fn process(&self, pod: &str) -> String {
        let inspected: Value = serde_json::from_str(&self.ok(&["inspect", pod])).unwrap();
        inspected[0]["containers"][0]["pid"].to_string()
    }
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-s", "KILL", pid]).status().unwrap().success());
}

#[test]
fn what_is_on_record_is_shown_and_followed_while_the_server_is_away_and_when_it_is_back() {
    let mut node = Node::new();
    let pod = pod("web", "Always", &["ask", "hello\n"]).replace("rrun.test/work", "rrun.test/talk");
    assert!(pod.contains(TALK));
    let run = node.run("web", &pod);
    let watchers = |node: &Node| {
        let once = "jsonpath={.status.containerStatuses[0].restartCount}=1";
        [
            node.start(&["events", "web", "--watch"]),
            node.start(&["logs", "-f", "web"]),
            node.start(&["wait", "web", "--for", once, "--timeout", "10m"]),
            node.start(&["get", "-w"]),
            node.start(&["ps", "-w"]),
        ]
    };
    let before = watchers(&node);
    before[0].expect("Container started");
    before[1].expect("hello");
    before[3].expect("web");
    before[4].expect("web");
    let process = node.process("web");
    node.kill();
    for args in [&["events", "web"][..], &["logs", "web"], &["ps"], &["describe", "web"]] {
        let done = node.rrun(args);
        assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
        assert_ne!(text(&done.stdout), "");
        let said = text(&done.stderr);
        let why = "rrun: connect unix:///run/rrun/rrun.sock: ENOENT; what is on record of its pods is shown\n";
        assert!(said == why || said == why.replace("ENOENT", "ECONNREFUSED"), "{said}");
    }
    let meanwhile = watchers(&node);
    meanwhile[0].expect("Container started");
    kill(&process);
    node.begin();
    for watchers in [&before, &meanwhile] {
        watchers[0].expect("Container started");
        watchers[1].expect("hello");
        watchers[2].expect("pod/web condition met");
        watchers[3].expect("1 (");
        watchers[4].expect("  1 ");
    }
    node.ok(&["stop", "web"]);
    assert_eq!(run.end(), Some(0));
    for watchers in [before, meanwhile] {
        for (at, watcher) in watchers.into_iter().enumerate() {
            if at > 2 {
                watcher.signal("TERM");
                watcher.end();
            } else {
                assert_eq!(watcher.end(), Some(0), "watcher {at}");
            }
        }
    }
}

#[test]
fn a_pod_goes_on_over_a_kill_of_its_server_and_its_end_is_told_though_nobody_served_then() {
    let mut node = Node::new();
    for dies_meanwhile in [false, true] {
        let run = node.run("web", &pod("web", "Never", &["sleeper"]));
        let (before, process) = (node.status("web"), node.process("web"));
        node.kill();
        if dies_meanwhile {
            kill(&process);
        }
        node.begin();
        if !dies_meanwhile {
            assert_eq!(node.process("web"), process);
            let exec = node.rrun(&["exec", "web", "--", "/bin/work", "exit", "7"]);
            assert_eq!(exec.status.code(), Some(7), "{}", text(&exec.stderr));
            assert_eq!(node.status("web"), before);
            kill(&process);
        }
        assert_eq!(run.end(), Some(1));
        let after = node.status("web");
        assert_eq!(after["containerID"], before["containerID"]);
        assert_eq!(after["restartCount"], 0);
        assert_eq!(after["state"]["terminated"]["exitCode"], 137, "{after}");
        node.ok(&["rm", "web"]);
    }
}

#[test]
fn what_needs_the_server_is_refused_at_once_while_it_is_away_and_nothing_is_lost() {
    let mut node = Node::new();
    let run = node.run("web", &pod("web", "Always", &["sleeper"]));
    let (before, process) = (node.status("web"), node.process("web"));
    node.kill();
    for (args, code) in [
        (&["stop", "web"][..], 2),
        (&["rm", "--force", "web"], 2),
        (&["restart", "web"], 2),
        (&["inspect", "web"], 2),
        (&["exec", "web", "--", "/bin/work", "true"], 125),
    ] {
        let done = node.rrun(args);
        let said = text(&done.stderr);
        assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(code), ""), "{said}");
        assert!(said.starts_with("rrun: connect unix:///run/rrun/rrun.sock: E"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    node.begin();
    assert_eq!(node.process("web"), process);
    assert_eq!(node.status("web"), before);
    node.ok(&["stop", "web"]);
    assert_eq!(run.end(), Some(0));
    node.ok(&["rm", "web"]);
}
