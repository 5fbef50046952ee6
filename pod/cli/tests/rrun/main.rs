//! `rrun` as a person uses it: the real program, with its defaults, in a sandbox.
#![allow(clippy::unwrap_used)]

mod apply;
mod away;
mod cp;
mod credentials;
mod debug;
mod disk;
mod endpoint;
mod exec;
mod faults;
mod fsck;
mod gc;
mod hang;
mod help;
mod image_volumes;
mod images;
mod jobs;
mod login;
mod logs;
mod looks;
mod machine;
mod manifests;
mod pods;
mod progress;
mod reach;
mod show;
mod stdin;
mod tables;
mod top;
mod users;
mod why;
mod workloads;

use machine::{IMAGE, Machine, pod, text};
use rrun_cri_api::{Client, Cri, v1};
use rrun_tests::daemon::Daemon;

#[test]
fn the_exit_code_tells_whether_the_pod_succeeded() {
    let machine = Machine::new();
    for (args, code) in [(&["true"][..], 0), (&["exit", "3"], 1)] {
        let path = machine.write("end", &pod("end", "Never", args));
        let ended = machine.rrun(&["run", &path]);
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {}", text(&ended.stderr));
    }
    machine.assert_nothing_left();
}

#[test]
fn logs_are_printed_while_the_pod_runs_and_to_the_last_line() {
    let machine = Machine::new();
    let path = machine.write("lines", &pod("lines", "Never", &["lines", "2000", "100"]));
    let ended = machine.rrun(&["run", &path]);
    let printed = text(&ended.stdout);
    let lines: Vec<_> = printed.lines().filter(|line| line.starts_with("main | ")).collect();
    assert_eq!(lines.len(), 2000, "{}", text(&ended.stderr));
    machine.assert_nothing_left();
}

#[test]
fn a_run_shows_phases_ends_with_their_codes_and_restarts_with_back_off() {
    let machine = Machine::new();
    let run = machine.run("crash", &pod("crash", "OnFailure", &["exit", "3"]));
    for line in [
        "pod crash: Pending",
        "Started: main: Container started",
        "container main: ended with 3: Error",
        "container main: waiting: CrashLoopBackOff: back-off 10s",
        "container main: ended with 3: Error, restart 2",
        "container main: waiting: CrashLoopBackOff: back-off 20s",
    ] {
        run.expect(line);
    }
    run.signal("INT");
    run.expect("pod crash: Failed");
    assert_eq!(run.end(), Some(1));
    machine.assert_nothing_left();
}

const SERVER: &str = "      readinessProbe:
        httpGet: {path: /, port: 8080}
        periodSeconds: 1
";

#[test]
fn a_ready_pod_answers_ps_and_exec_and_is_stopped_by_another_process() {
    let machine = Machine::new();
    let manifest = pod("web", "Always", &["serve", "8080", "hello"]) + SERVER;
    let run = machine.run("web", &manifest);
    run.expect("pod web: Running, ready");
    let row = machine.ps("web").unwrap();
    assert_eq!((row[2].as_str(), row[3].as_str()), ("1/1", "Running"), "{row:?}");
    machine.assert_exec_works("web");
    let exec = machine.rrun(&["exec", "web", "-c", "main", "--", "/bin/work", "env", "PATH"]);
    assert_eq!(text(&exec.stdout).trim(), "/bin", "{}", text(&exec.stderr));
    let exec = machine.rrun(&["exec", "web", "--", "/bin/none"]);
    assert_eq!(exec.status.code(), Some(127), "{}", text(&exec.stderr));
    let exec = machine.rrun(&["exec", "web", "-c", "mian", "--", "/bin/work"]);
    assert_eq!(exec.status.code(), Some(125));
    assert_eq!(text(&exec.stderr), "rrun: pod web: container mian: not found\n");
    let again = machine.rrun(&["run", &machine.write("web", &manifest)]);
    assert!(text(&again.stderr).contains("another rrun works on it"), "{}", text(&again.stderr));
    let refused = machine.rrun(&["rm", "web"]);
    assert!(text(&refused.stderr).contains("it runs: stop it first"), "{}", text(&refused.stderr));
    let stopped = machine.rrun(&["stop", "web", "--time", "1"]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    run.end();
    assert_eq!(machine.ps("web"), None);
    machine.assert_nothing_left();
}

#[test]
fn the_second_signal_kills_what_ignores_the_first() {
    let machine = Machine::new();
    let manifest = pod("stubborn", "Always", &["stubborn"]).replace("Seconds: 5", "Seconds: 600");
    let run = machine.run("stubborn", &manifest);
    run.expect("pod stubborn: Running");
    run.signal("INT");
    run.expect("stopping");
    run.signal("INT");
    run.expect("killing");
    assert_eq!(run.end(), Some(1));
    machine.assert_nothing_left();
}

#[test]
fn of_two_rruns_one_is_killed_the_other_goes_on_and_the_orphan_is_taken_over() {
    let machine = Machine::new();
    let one = machine.run("one", &pod("one", "Always", &["sleeper"]));
    let two = machine.run("two", &pod("two", "Always", &["sleeper"]));
    one.expect("pod one: Running");
    two.expect("pod two: Running");
    machine.await_ps("one", "1/1", "Running");
    one.signal("KILL");
    assert_eq!(one.end(), None);
    assert_eq!(machine.ps("one").unwrap()[3], "Unattended");
    assert_eq!(machine.ps("two").unwrap()[3], "Running");
    machine.assert_exec_works("one");
    let stopped = machine.rrun(&["stop", "one"]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert_eq!(machine.ps("one").unwrap()[3], "Completed");
    let removed = machine.rrun(&["rm", "one"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    machine.assert_exec_works("two");
    two.signal("TERM");
    assert_eq!(two.end(), Some(0));
    machine.assert_nothing_left();
}

/// A daemon neither sees the pods of `rrun` nor takes them when it starts again.
#[test]
fn a_daemon_on_the_same_state_leaves_the_pods_of_rrun_alone() {
    let machine = Machine::new();
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    for _ in 0..2 {
        let daemon = Daemon::rrund(&machine.sandbox, "").unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pods = runtime.block_on(async {
            let client = Client::connect(&daemon.endpoint()).await.unwrap();
            client.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.unwrap().items
        });
        assert!(pods.is_empty(), "{pods:?}");
    }
    machine.assert_exec_works("mine");
    run.signal("INT");
    assert_eq!(run.end(), Some(0));
}

/// To a kubelet's image collector the image of such a pod is unused, unless it is pinned.
#[test]
fn images_of_rruns_pods_are_pinned_for_cri_clients_and_their_removal_hurts_no_container() {
    let machine = Machine::new();
    let daemon = Daemon::rrund(&machine.sandbox, "").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(Client::connect(&daemon.endpoint())).unwrap();
    let spec = || Some(v1::ImageSpec { image: IMAGE.to_owned(), ..Default::default() });
    let pinned = || {
        let request = v1::ImageStatusRequest { image: spec(), verbose: false };
        let found = runtime.block_on(client.image_status(request)).unwrap().image?;
        let all = runtime.block_on(client.list_images(v1::ListImagesRequest::default()));
        let listed = all.unwrap().images.into_iter().find(|image| image.id == found.id).unwrap();
        assert_eq!(listed, found);
        Some(found.pinned)
    };
    assert_eq!(pinned(), Some(false));
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    assert_eq!(pinned(), Some(true));
    let request = v1::RemoveImageRequest { image: spec() };
    runtime.block_on(client.remove_image(request.clone())).unwrap();
    runtime.block_on(client.remove_image(request)).unwrap();
    assert_eq!(pinned(), None);
    machine.assert_exec_works("mine");
    let layers =
        || std::fs::read_dir(machine.sandbox.state().join("images/layers")).unwrap().count();
    assert_eq!(layers(), 2);
    run.signal("INT");
    assert_eq!(run.end(), Some(0));
    assert_eq!(layers(), 1);
}

#[test]
fn a_bad_manifest_is_refused_by_file_line_and_path() {
    let machine = Machine::new();
    let unknown = pod("bad", "Never", &["true"]).replace("args:", "arsg:");
    let wrong = pod("bad", "Never", &["true"]).replace("Seconds: 5", "Seconds: soon");
    for (manifest, expected) in [
        (unknown, ":11: spec.containers[0].arsg: unknown field"),
        (wrong, ":6: spec.terminationGracePeriodSeconds: "),
    ] {
        let path = machine.write("bad", &manifest);
        let refused = machine.rrun(&["run", &path]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{path}{expected}")), "{said}");
    }
    let missing = machine.rrun(&["run", "/none.yaml"]);
    assert!(text(&missing.stderr).contains("read /none.yaml: "), "{}", text(&missing.stderr));
    let unknown = machine.rrun(&["stop", "nobody"]);
    assert!(text(&unknown.stderr).contains("pod nobody: not found"), "{}", text(&unknown.stderr));
    machine.assert_nothing_left();
}
