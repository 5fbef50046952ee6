//! What pods and networks have left is told by one command, beside living ones, and put right.

use crate::machine::{Machine, await_that, pod, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rrun_cri_api::v1::{PodSandboxConfig, PodSandboxMetadata, RunPodSandboxRequest};
use rrun_cri_api::{Client, Cri};
use rrun_tests::daemon::Daemon;
use std::fs;
use std::path::{Path, PathBuf};

/// The exit code, and what was said.
fn fsck(machine: &Machine, args: &[&str]) -> (Option<i32>, String) {
    let done = machine.rrun(&[&["fsck", "--quick"], args].concat());
    (done.status.code(), text(&done.stdout) + &text(&done.stderr))
}

/// A pod of the daemon's, without containers.
fn run_pod(daemon: &Daemon, name: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let metadata = PodSandboxMetadata {
        name: name.into(),
        uid: format!("uid-{name}"),
        namespace: "default".into(),
        attempt: 0,
    };
    let config = PodSandboxConfig { metadata: Some(metadata), ..Default::default() };
    let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
    runtime.block_on(async {
        let client = Client::connect(&daemon.endpoint()).await.unwrap();
        client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id
    })
}

fn shim(machine: &Machine, pod: &str) -> i32 {
    let path = machine.sandbox.run().join("rrun/pods").join(pod).join("shim.pid");
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

fn is_alive(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn state(machine: &Machine, pod: &str) -> PathBuf {
    machine.sandbox.state().join("pods").join(pod)
}

/// The only record in a folder.
fn only(folder: &Path, end: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut records = entries.filter(|path| path.extension().is_some_and(|is| is == end));
    let only = records.next().unwrap();
    assert_eq!(records.next(), None);
    only
}

#[test]
fn living_pods_are_clean_and_what_dead_ones_left_waits_for_the_daemon_or_is_ended_without_one() {
    let machine = Machine::new();
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    let daemon = Daemon::rrund(&machine.sandbox, "").unwrap();
    let [torn, gone, lives] = ["torn", "gone", "lives"].map(|name| run_pod(&daemon, name));
    let (code, said) = fsck(&machine, &[]);
    let looked = "network (4 attachments), pods (4 pods, 1 container): nothing is wrong\n";
    assert!(code == Some(0) && said.ends_with(looked), "{said}");

    fs::write(state(&machine, &torn).join("pod.json"), "rrun pod").unwrap();
    let (code, said) = fsck(&machine, &[]);
    assert!(code == Some(3) && said.contains("broken pod record: no first line"), "{said}");
    let (code, said) = fsck(&machine, &["--repair"]);
    assert!(code == Some(4) && said.contains("another rrund runs"), "{said}");
    assert!(is_alive(shim(&machine, &torn)), "nothing was done to it");

    daemon.kill();
    let (of_torn, of_gone, of_living) =
        (shim(&machine, &torn), shim(&machine, &gone), shim(&machine, &lives));
    kill(Pid::from_raw(of_gone), Signal::SIGKILL).unwrap();
    await_that("its shim is dead", || !is_alive(of_gone));
    fs::remove_dir_all(state(&machine, &gone)).unwrap();
    fs::remove_dir_all(machine.sandbox.run().join("rrun/pods").join(&gone)).unwrap();
    let pins = || fs::read_dir(machine.sandbox.run().join("netns")).unwrap().count();
    assert_eq!(pins(), 4);
    let (code, said) = fsck(&machine, &["-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    let findings = told["findings"].as_array().unwrap().iter();
    let kinds: Vec<_> = findings
        .map(|one| [&one["part"], &one["kind"]].map(|text| text.as_str().unwrap()))
        .collect();
    let expected = [
        ["network", "attachment"],
        ["pods", "pod"],
        ["pods", "control group"],
        ["pods", "namespace"],
    ];
    assert_eq!((code, kinds.as_slice(), pins()), (Some(3), &expected[..], 4), "{said}");
    let (code, said) = fsck(&machine, &["--repair"]);
    assert!(code == Some(1) && said.contains("4 repaired, 0 not repaired"), "{said}");
    for how in ["detached", "what is left of it is in quarantine", "removed", "unpinned"] {
        assert!(said.contains(&format!("repaired: {how}")) || said.contains(how), "{how}: {said}");
    }
    assert_eq!(pins(), 2);
    assert!(!is_alive(of_torn) && is_alive(of_living));
    let (code, said) = fsck(&machine, &[]);
    let looked = "network (2 attachments), pods (2 pods, 1 container): nothing is wrong\n";
    assert!(code == Some(0) && said.ends_with(looked), "{said}");
    machine.assert_exec_works("mine");

    // The pod that nobody touched is served by the next daemon.
    let daemon = Daemon::rrund(&machine.sandbox, "").unwrap();
    assert_eq!((fsck(&machine, &[]).0, is_alive(of_living)), (Some(0), true));
    daemon.kill();
    run.signal("INT");
    run.end();
    assert_eq!(fsck(&machine, &[]).0, Some(0));
}

#[test]
fn a_torn_record_of_a_container_of_a_dead_rrun_is_put_away_as_by_whoever_takes_its_pod_over() {
    let machine = Machine::new();
    let run = machine.run("mine", &pod("mine", "Always", &["sleeper"]));
    run.expect("pod mine: Running");
    machine.await_ps("mine", "1/1", "Running");
    run.signal("KILL");
    run.end();
    let pods = fs::read_dir(machine.sandbox.state().join("pods")).unwrap();
    let folders: Vec<_> = pods.map(|entry| entry.unwrap().path().join("containers")).collect();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    assert_eq!(fsck(&machine, &[]).0, Some(0), "it is nobody's just now, and whole");
    fs::write(only(folder, "json"), "rrun container").unwrap();
    let (code, said) = fsck(&machine, &[]);
    assert!(code == Some(3) && said.contains("broken container record: no first line"), "{said}");
    let (code, said) = fsck(&machine, &["--repair"]);
    assert!(code == Some(1) && said.contains("its record is in quarantine"), "{said}");
    let (code, said) = fsck(&machine, &[]);
    assert!(code == Some(0) && said.contains("quarantine: 1 put away so far"), "{said}");
    // Its group is named by its uid, which is not on record any more; and something is in it.
    let aside = machine.sandbox.root().join("aside");
    let on_record = machine.sandbox.state().join("rrun/default_mine");
    fs::rename(&on_record, &aside).unwrap();
    let (code, said) = fsck(&machine, &[]);
    assert!(code == Some(3) && said.contains("rrun has no such pod on record"), "{said}");
    fs::rename(&aside, &on_record).unwrap();
    machine.ok(&["rm", "--force", "mine"]);
    assert_eq!(fsck(&machine, &[]).0, Some(0));
    fs::remove_dir_all(machine.sandbox.state().join("quarantine")).unwrap();
    machine.await_nothing_left();
}

#[test]
fn what_cannot_be_looked_through_hides_nothing_of_the_rest() {
    let machine = Machine::new();
    let database = machine.sandbox.state().join("network/network.db");
    fs::remove_file(&database).unwrap();
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(machine.sandbox.state().join(format!("network/network.db{end}")));
    }
    fs::create_dir(machine.sandbox.state().join("images/tmp").join("a".repeat(64))).unwrap();
    let making = fs::File::open(machine.sandbox.state().join("network/network.lock")).unwrap();
    making.lock().unwrap();
    let (code, said) = fsck(&machine, &[]);
    assert!(code == Some(2) && said.contains("staging  tmp/aaaa"), "{said}");
    assert!(said.contains("network (not looked through), pods (0 pods, 0 containers)"), "{said}");
    assert!(said.contains("another process makes them anew"), "{said}");
    drop(making);
    let (code, said) = fsck(&machine, &["--repair"]);
    assert!(code == Some(1) && said.contains("records  network.db"), "{said}");
    assert_eq!(fsck(&machine, &[]).0, Some(0));
}
