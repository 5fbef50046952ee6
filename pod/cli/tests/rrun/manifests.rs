//! `rrun manifests`: the pods of a folder.

use crate::machine::{Machine, Run, await_that, pod, text};
use rrun_cri_api::{Client, Cri, v1};
use rrun_tests::daemon::Daemon;
use std::path::PathBuf;

struct Node {
    machine: Machine,
    folder: PathBuf,
}

impl Node {
    fn new() -> Node {
        let machine = Machine::new();
        let folder = machine.sandbox.inside("/etc/rrun/manifests");
        std::fs::create_dir_all(&folder).unwrap();
        Node { machine, folder }
    }

    fn put(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).unwrap();
    }

    fn start(&self) -> Run {
        self.machine.start(&["manifests"])
    }

    fn uid(&self, pod: &str) -> Option<String> {
        self.machine.ps(pod).map(|row| row[6].clone())
    }

    fn await_gone(&self, pod: &str) {
        await_that(&format!("{pod} is gone"), || self.machine.ps(pod).is_none());
    }

    /// No pod of the folder is left, and its process ends.
    fn clear(&self, run: Run) {
        for entry in std::fs::read_dir(&self.folder).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        await_that("no pod is left", || self.machine.ok(&["ps", "-a"]).lines().count() == 1);
        run.signal("TERM");
        assert_eq!(run.end(), Some(0));
    }

    fn end(self, run: Run) {
        self.clear(run);
        let lock = self.machine.sandbox.inside("/run/rrun/rrun/manifests.lock");
        std::fs::remove_file(lock).unwrap();
        std::fs::remove_dir(&self.folder).unwrap();
        self.machine.await_nothing_left();
    }
}

#[test]
fn a_file_is_a_pod_a_changed_one_another_pod_and_a_removed_one_none() {
    let node = Node::new();
    let one = pod("one", "Always", &["sleeper"]);
    node.put("a.yaml", &one);
    node.put(".hidden.yaml", &pod("hidden", "Always", &["sleeper"]));
    let run = node.start();
    node.machine.await_ps("one", "1/1", "Running");
    let uid = node.uid("one");
    // Another text that says the same is no change.
    node.put("a.yaml", &format!("# as before\n{one}"));
    node.put("b.yaml", &pod("two", "Always", &["sleeper"]));
    node.machine.await_ps("two", "1/1", "Running");
    assert_eq!(node.uid("one"), uid);
    node.put("a.yaml", &one.replace("Seconds: 5", "Seconds: 4"));
    await_that("another pod", || node.uid("one").is_some_and(|now| Some(now) != uid));
    node.machine.await_ps("one", "1/1", "Running");
    let described = node.machine.ok(&["describe", "one"]);
    assert!(described.contains("/etc/rrun/manifests/a.yaml"), "{described}");
    let refused = node.machine.refused(&["delete", "one"]);
    assert!(refused.contains("it ends when that goes, and would come back"), "{refused}");
    assert_eq!(node.machine.ps("hidden"), None);
    // A second process has nothing to do.
    assert!(node.machine.refused(&["manifests"]).contains("another rrun manifests runs"));
    std::fs::remove_file(node.folder.join("a.yaml")).unwrap();
    node.await_gone("one");
    node.machine.assert_exec_works("two");
    node.end(run);
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing_and_conflicts_of_names_are_told() {
    let node = Node::new();
    let one = pod("one", "Always", &["sleeper"]);
    node.put("a.yaml", &one);
    let run = node.start();
    node.machine.await_ps("one", "1/1", "Running");
    let uid = node.uid("one");
    node.put("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: one\n");
    run.expect("what it said before goes on");
    node.machine.assert_exec_works("one");
    assert_eq!(node.uid("one"), uid);
    // Not after a death either.
    run.signal("KILL");
    run.end();
    assert_eq!(node.machine.ps("one").unwrap()[3], "Unattended");
    let run = node.start();
    node.machine.await_ps("one", "1/1", "Running");
    run.expect("what it said before goes on");
    assert_eq!(node.uid("one"), uid);
    node.machine.assert_exec_works("one");

    node.put("a.yaml", &one);
    node.put("b.yaml", &one.replace("Seconds: 5", "Seconds: 4"));
    run.expect("pod default/one is in");
    await_that("that of the last file", || node.uid("one").is_some_and(|now| Some(now) != uid));
    node.machine.await_ps("one", "1/1", "Running");

    // A pod of somebody else's with the name of one of a file.
    let other = node.machine.write("other", &pod("other", "Always", &["sleeper"]));
    node.machine.ok(&["run", "--detach", &other]);
    node.put("c.yaml", &pod("other", "Always", &["true"]));
    run.expect("pod default/other: there is one of that name that is of no file here");
    node.machine.ok(&["delete", "other"]);
    std::fs::remove_file(node.folder.join("c.yaml")).unwrap();
    node.end(run);
}

#[test]
fn pods_of_the_folder_outlive_its_process_and_what_went_meanwhile_is_ended() {
    let node = Node::new();
    let ends = pod("ends", "Never", &["true"]);
    node.put("a.yaml", &pod("one", "Always", &["sleeper"]));
    node.put("b.yaml", &pod("two", "Always", &["sleeper"]));
    node.put("c.yaml", &ends);
    let run = node.start();
    node.machine.await_ps("one", "1/1", "Running");
    node.machine.await_ps("two", "1/1", "Running");
    node.machine.await_ps("ends", "0/1", "Completed");
    let uids = (node.uid("one"), node.uid("ends"));
    run.signal("TERM");
    assert_eq!(run.end(), Some(0));
    node.machine.assert_exec_works("one");
    std::fs::remove_file(node.folder.join("b.yaml")).unwrap();
    let run = node.start();
    node.await_gone("two");
    node.machine.await_ps("one", "1/1", "Running");
    // What has ended for good is not begun again.
    node.machine.await_ps("ends", "0/1", "Completed");
    assert_eq!((node.uid("one"), node.uid("ends")), uids);
    // No CRI client sees them, and none of their addresses is given away.
    let daemon = Daemon::rrund(&node.machine.sandbox, "").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pods = runtime.block_on(async {
        let client = Client::connect(&daemon.endpoint()).await.unwrap();
        client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.unwrap().items
    });
    assert!(pods.is_empty(), "{pods:?}");
    drop(daemon);
    // A stop is not for ever.
    node.machine.ok(&["stop", "one"]);
    await_that("it has come back", || {
        node.machine.ps("one").is_some_and(|row| row[3] == "Running")
    });
    let exec = node.machine.rrun(&["exec", "one", "--", "/bin/work", "exit", "7"]);
    assert_eq!(exec.status.code(), Some(7), "{}", text(&exec.stderr));
    node.clear(run);
}

#[test]
fn a_file_that_is_called_otherwise_keeps_its_pod_and_its_pod_outlives_a_fault_in_it() {
    let node = Node::new();
    let one = pod("one", "Always", &["sleeper"]);
    node.put("a.yaml", &one);
    let run = node.start();
    node.machine.await_ps("one", "1/1", "Running");
    let before = node.machine.ps("one").unwrap();
    std::fs::rename(node.folder.join("a.yaml"), node.folder.join("b.yaml")).unwrap();
    let described = |text: &str| node.machine.ok(&["describe", "one"]).contains(text);
    await_that("its record names the file", || described("/etc/rrun/manifests/b.yaml"));
    node.put("b.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: one\n");
    run.expect("what it said before goes on");
    // Another process goes by the record alone.
    run.signal("KILL");
    run.end();
    let run = node.start();
    run.expect("what it said before goes on");
    node.machine.await_ps("one", "1/1", "Running");
    node.machine.assert_exec_works("one");
    node.put("c.yaml", &one);
    await_that("its record names the file", || described("/etc/rrun/manifests/c.yaml"));
    let now = node.machine.ps("one").unwrap();
    assert_eq!((&now[4], &now[6]), (&before[4], &before[6]), "no restart, and the same uid");
    node.end(run);
}

#[test]
fn a_pod_on_which_another_process_works_is_taken_up_when_that_is_done() {
    let node = Node::new();
    node.put("a.yaml", &pod("one", "Always", &["sleeper"]));
    node.put("b.yaml", &pod("two", "Always", &["sleeper"]));
    let run = node.start();
    node.machine.await_ps("one", "1/1", "Running");
    node.machine.await_ps("two", "1/1", "Running");
    let uid = node.uid("one");
    run.signal("KILL");
    run.end();
    let exec = node.machine.start(&["exec", "one", "--", "/bin/work", "sleeper"]);
    let is_worked_on = || node.machine.ps("one").is_some_and(|row| row[3] == "Running");
    await_that("the pod has a process", is_worked_on);
    let run = node.start();
    run.expect("pod default/one: another rrun works on it");
    node.machine.assert_exec_works("two");
    exec.signal("KILL");
    exec.end();
    await_that("it is taken up", || {
        let socket = format!("/run/rrun/rrun/{}.stop", uid.as_deref().unwrap());
        node.machine.sandbox.inside(&socket).exists()
    });
    node.machine.await_ps("one", "1/1", "Running");
    node.machine.assert_exec_works("one");
    assert_eq!(node.uid("one"), uid);
    node.end(run);
}

#[test]
fn what_has_failed_is_tried_again_and_a_folder_that_goes_and_returns_is_looked_at() {
    let node = Node::new();
    let other = node.machine.write("other", &pod("other", "Always", &["sleeper"]));
    node.machine.ok(&["run", "--detach", &other]);
    node.put("a.yaml", &pod("other", "Always", &["sleeper"]));
    let run = node.start();
    run.expect("pod default/other: there is one of that name that is of no file here");
    // Nothing in the folder changes.
    node.machine.ok(&["delete", "other"]);
    node.machine.await_ps("other", "1/1", "Running");
    let away = node.machine.sandbox.inside("/etc/rrun/away");
    std::fs::rename(&node.folder, &away).unwrap();
    node.await_gone("other");
    std::fs::rename(&away, &node.folder).unwrap();
    node.machine.await_ps("other", "1/1", "Running");
    node.put("b.yaml", &pod("two", "Always", &["sleeper"]));
    node.machine.await_ps("two", "1/1", "Running");
    node.end(run);
}
