//! Filters that leave calls to a listener: SCMP_ACT_NOTIFY.

use crate::bundle::Bundle;
use crate::support::await_that;
use crate::{is_crun, is_peer, is_runc};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Somebody who answers: `agent.py`.
struct Agent {
    process: Child,
    states: PathBuf,
}

impl Agent {
    fn listen(path: &Path, states: PathBuf) -> Agent {
        let process = Command::new("python3")
            // In itself: where the suite runs there need not be the tree.
            .args(["-c", include_str!("agent.py")])
            .args([path, &states])
            .stdout(Stdio::piped())
            .spawn();
        let mut process = process.expect("python3");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listens\n");
        Agent { process, states }
    }

    /// What it was told with the filter of this number.
    fn told(&self, at: usize) -> Value {
        let line = || {
            let text = std::fs::read_to_string(&self.states).unwrap_or_default();
            text.lines().nth(at).map(str::to_owned)
        };
        await_that("the agent is told of a filter", || line().is_some());
        serde_json::from_str(&line().unwrap()).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A container whose directories are an agent's affair.
fn asking(script: &str) -> (Bundle, Agent) {
    let mut bundle = Bundle::sh(script);
    let path = bundle.dir.join("agent.sock");
    bundle.config["annotations"] = json!({ "org.example.of": "tests" });
    profile(&mut bundle, &path, &["mkdir", "mkdirat"]);
    let agent = Agent::listen(&path, bundle.dir.join("states"));
    (bundle, agent)
}

fn profile(bundle: &mut Bundle, path: &Path, names: &[&str]) {
    bundle.linux()["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "a \"word\"",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }]
    });
}

const MAKES: &str =
    "mkdir /tmp/refused 2>&1; mkdir /tmp/pretended && mkdir /tmp/made && ls /tmp; exit 0";

fn is_as_answered(output: &str) {
    assert!(output.contains("quota"), "{output}");
    assert!(output.ends_with("\nmade\n"), "{output}");
}

#[test]
fn a_call_that_is_left_to_a_listener_gets_its_answer() {
    for no_new_privileges in [true, false] {
        let (mut bundle, _agent) = asking(MAKES);
        bundle.process()["noNewPrivileges"] = no_new_privileges.into();
        bundle.process()["user"] = json!({ "uid": 0, "gid": 7 });
        is_as_answered(&bundle.prints());
    }
}

#[test]
fn a_listener_is_told_which_process_of_which_container_a_filter_is_for() {
    let (bundle, agent) = asking("sleep 1000");
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    let pid = bundle.pid();
    let told = agent.told(0);
    assert_eq!(told["fds"], json!(["seccompFd"]), "{told}");
    assert_eq!(told["metadata"], "a \"word\"", "{told}");
    assert_eq!(told["pid"], pid, "{told}");
    assert!(told["ociVersion"].is_string(), "{told}");
    let state = &told["state"];
    assert!(["creating", "created"].contains(&state["status"].as_str().unwrap()), "{told}");
    assert_eq!(state["id"], bundle.id, "{told}");
    assert_eq!(state["bundle"], bundle.dir.to_str().unwrap(), "{told}");
    assert_eq!(state["annotations"]["org.example.of"], "tests", "{told}");
    assert_eq!(state["pid"], pid, "{told}");
}

#[test]
fn one_more_process_has_a_listener_of_its_own() {
    // It loads the filter for such a one and tells nobody.
    if is_crun() {
        return;
    }
    let (bundle, agent) = asking("sleep 1000");
    bundle.start();
    is_as_answered(&bundle.ok(&["exec", &bundle.id, "sh", "-c", MAKES]));
    let told = agent.told(1);
    assert_eq!(told["state"]["pid"], bundle.pid(), "{told}");
    assert_eq!(told["state"]["id"], bundle.id, "{told}");
    assert_ne!(told["pid"], bundle.pid(), "{told}");
    if !is_runc() {
        assert_eq!(told["state"]["status"], "running", "{told}");
    }
    // As it is now is not as it was: nobody answers any more.
    drop(agent);
    let words = bundle.fails(&["exec", &bundle.id, "true"]);
    assert!(is_peer() || words.contains("agent.sock: ECONNREFUSED"), "{words}");
    assert_eq!(bundle.status(), "running");
}

/// Of a PID namespace that is joined, and of users of its own, a process sees its number otherwise.
#[test]
fn a_process_of_other_namespaces_is_told_of_by_the_number_that_the_runtime_sees() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let (mut bundle, agent) = asking("sleep 1000");
    for namespace in bundle.linux()["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "pid" {
            namespace["path"] = json!(format!("/proc/{}/ns/pid", first.pid()));
        }
    }
    bundle.start();
    assert_eq!(agent.told(0)["pid"], bundle.pid());
    let args = ["exec", &bundle.id, "sh", "-c", "mkdir /tmp/pretended && mkdir /tmp/pretended"];
    if !is_crun() {
        bundle.ok(&args);
    }
}

/// Nothing of it is there afterwards.
fn is_refused(bundle: &Bundle, part: &str) {
    let (code, words) = bundle.try_create();
    assert_ne!(code, Some(0), "{part}");
    assert!(is_peer() || words.contains(part), "{part}: {words}");
    assert!(bundle.groups().is_empty(), "{part}: {:?}", bundle.groups());
    assert!(!bundle.root.join(&bundle.id).exists(), "{part}");
}

#[test]
fn a_listener_that_is_not_there_is_an_error_that_leaves_nothing() {
    let mut bundle = Bundle::new(&["true"]);
    let at = |name: &str| bundle.dir.join(name);
    let (missing, file, left, long) = (at("missing"), at("file"), at("left"), at(&"x".repeat(120)));
    std::fs::write(&file, "").unwrap();
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    for (path, why) in [
        (missing, "ENOENT"),
        (file, "ECONNREFUSED"),
        (left, "ECONNREFUSED"),
        (long, "ENAMETOOLONG"),
    ] {
        profile(&mut bundle, &path, &["mkdir"]);
        let words = format!("create {}: connect {}: {why}", bundle.id, path.display());
        is_refused(&bundle, &words);
    }
    // With a path that nobody is ever told of, it is of no matter who listens. crun connects.
    if is_crun() {
        return;
    }
    bundle.linux()["seccomp"]["syscalls"] = json!([]);
    assert_eq!(bundle.run().0, 0);
}

#[test]
fn a_call_that_nobody_could_answer_is_left_to_no_listener() {
    // It has another process send the listener, and takes what leads to no listener.
    if is_crun() {
        return;
    }
    let path = std::env::temp_dir().join("agent.sock");
    // The one by which the listener comes to whoever answers.
    let call = if is_runc() { "write" } else { "sendmsg" };
    let mut bundle = Bundle::new(&["true"]);
    profile(&mut bundle, &path, &["mkdir", call]);
    is_refused(&bundle, "SCMP_ACT_NOTIFY of sendmsg");
    profile(&mut bundle, &path, &["mkdir"]);
    bundle.linux()["seccomp"].as_object_mut().unwrap().remove("listenerPath");
    is_refused(&bundle, "listenerMetadata goes with listenerPath");
    bundle.linux()["seccomp"].as_object_mut().unwrap().remove("listenerMetadata");
    is_refused(&bundle, "SCMP_ACT_NOTIFY needs listenerPath");
}

#[test]
fn flags_of_a_filter_go_with_a_listener() {
    if is_crun() {
        return;
    }
    let (mut bundle, _agent) = asking(MAKES);
    let flags = ["WAIT_KILLABLE_RECV", "TSYNC", "LOG", "SPEC_ALLOW"];
    // A library that does not know the first is no runtime's fault.
    let flags = &flags[usize::from(is_peer())..];
    let flags: Vec<_> = flags.iter().map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}")).collect();
    bundle.linux()["seccomp"]["flags"] = json!(flags);
    is_as_answered(&bundle.prints());
}
