//! `rrun debug` and `rrun restart`.

use crate::machine::{Machine, TALK, await_that, pod, text};
use std::io::Write;
use std::process::{Output, Stdio};

/// A name with which an image is not asked of its registry, which nobody serves here.
const TOOLS: &str = "images.rrun.test/tools:1";

struct Web(Machine);

impl Web {
    fn debug<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        ["debug", "web", "--image", TOOLS].into_iter().chain(more.iter().copied()).collect()
    }

    /// Says something to the standard input of `rrun debug`.
    fn says(&self, words: &str, more: &[&str]) -> Output {
        let mut command = self.0.command(&self.debug(more));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(words.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command said that ends as podman's do that cannot be begun.
    fn not_begun(&self, args: &[&str]) -> String {
        let done = self.0.rrun(args);
        assert_eq!(done.status.code(), Some(125), "{args:?}: {}", text(&done.stdout));
        text(&done.stderr)
    }

    fn status(&self) -> serde_json::Value {
        let all: serde_json::Value =
            serde_json::from_str(&self.0.ok(&["ps", "-a", "-o", "json"])).unwrap();
        all["items"][0]["status"].clone()
    }
}

#[test]
fn a_container_is_added_to_a_pod_that_runs_and_sees_the_processes_of_its_target() {
    let web = Web(Machine::new());
    web.0.ok(&["image", "tag", TALK, TOOLS]);
    let run = web.0.run("web", &pod("web", "Always", &["sleeper"]));
    run.expect("pod web: Running");
    let look = ["-c", "look", "--target", "main", "--", "/bin/talk", "show", "/proc/1/comm"];
    assert_eq!(web.0.ok(&web.debug(&look)), "look\n");
    await_that("it has ended", || {
        web.status()["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    });
    assert_eq!(web.0.ok(&["logs", "web", "-c", "look"]), "work\n");
    // Each call of the start is on record, with its time.
    let traced = web.0.ok(&["trace", "web"]);
    for call in ["its volumes", "RunPodSandbox", "CreateContainer main", "StartContainer main"] {
        assert!(traced.lines().any(|line| line.contains('#') && line.ends_with(call)), "{traced}");
    }
    let page = web.0.sandbox.root().join("web.html");
    web.0.ok(&["trace", "web", "--html", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("StartContainer main"), "{page}");
    let json: serde_json::Value =
        serde_json::from_str(&web.0.ok(&["trace", "web", "-o", "json"])).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    assert!(events.iter().any(|event| event["name"] == "RunPodSandbox" && event["ph"] == "X"));
    // Without a target it sees itself alone, and is not started again.
    web.0.ok(&web.debug(&["-c", "own", "--", "/bin/talk", "ask", "x"]));
    await_that("it runs", || {
        let done =
            web.0.rrun(&["exec", "web", "-c", "own", "--", "/bin/talk", "show", "/proc/1/comm"]);
        text(&done.stdout) == "talk\n"
    });
    assert_eq!(web.status()["containerStatuses"].as_array().unwrap().len(), 1);
    assert_eq!(web.0.ps("web").unwrap()[2], "1/1");

    let said = web.says("hello\n", &["-i", "--", "/bin/talk", "copy"]);
    assert_eq!(
        (text(&said.stdout).as_str(), said.status.code()),
        ("hello\n", Some(0)),
        "{}",
        text(&said.stderr)
    );
    let said = web.says("", &["-i", "--", "/bin/talk", "say", "x", "3"]);
    assert_eq!(said.status.code(), Some(3), "{}", text(&said.stderr));

    for (more, why) in [
        (&["-c", "look"][..], "spec.ephemeralContainers[4].name: Duplicate value: \"look\""),
        (
            &["--target", "mian"],
            "spec.ephemeralContainers[4].targetContainerName: Not found: \"mian\"",
        ),
    ] {
        let said = web.not_begun(&web.debug(more));
        assert!(said.contains(why), "{said}");
    }
    run.signal("INT");
    run.end();
    let said = web.not_begun(&web.debug(&[]));
    assert!(said.contains("pod web: not found"), "{said}");
    web.0.ok(&["rmi", TOOLS]);
}

#[test]
fn a_restart_keeps_the_pod_and_makes_its_containers_anew() {
    let web = Web(Machine::new());
    web.0.ok(&["run", "--detach", &web.0.write("web", &pod("web", "Never", &["sleeper"]))]);
    web.0.await_ps("web", "1/1", "Running");
    let before = web.status();
    web.0.ok(&["restart", "web"]);
    web.0.await_ps("web", "1/1", "Running");
    await_that("it is started again", || web.status()["containerStatuses"][0]["restartCount"] == 1);
    web.0.await_ps("web", "1/1", "Running");
    let after = web.status();
    for same in ["podIP", "startTime"] {
        assert_eq!(after[same], before[same]);
    }
    assert_ne!(
        after["containerStatuses"][0]["containerID"],
        before["containerStatuses"][0]["containerID"]
    );
    let last = &after["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["containerID"], before["containerStatuses"][0]["containerID"], "{after}");
    let why = web.0.ok(&["why-removed", "web/main"]);
    assert!(why.contains("exit code 0") || why.contains("143"), "{why}");
    web.0.ok(&["stop", "web"]);
    let said = web.0.refused(&["restart", "web"]);
    assert!(said.contains("it has ended ("), "{said}");
    web.0.ok(&["rm", "web"]);
    web.0.await_nothing_left();
}
