//! Disks under what `rrun` keeps, and paths of the node, that stop answering: whatever would change
//! or look at them hangs, and cannot even be killed. And an `rrun` that was stopped.

use crate::machine::{Machine, Run, await_that, pod, printed, text};
use rrun_tests::disk::Disk;
use rrun_tests::fuse::{Answered, Fuse};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs commands beside each other, each of which must end though the disk hangs.
fn in_time(machine: &Machine, commands: &[&[&str]]) -> Vec<Output> {
    let start = |args: &&[&str]| {
        let mut command = machine.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let children: Vec<_> = commands.iter().map(start).collect();
    let ended = |(mut child, args): (std::process::Child, &&[&str])| {
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("{args:?} hangs too");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        child.wait_with_output().unwrap()
    };
    children.into_iter().zip(commands).map(ended).collect()
}

/// Processes of containers.
fn processes(machine: &Machine) -> usize {
    let groups = format!("*{}/pod*", machine.sandbox.cgroup_parent());
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-path", &groups, "-name", "cgroup.procs"]);
    let found = find.args(["-exec", "cat", "{}", "+"]).output().unwrap();
    // Groups come and go while it looks.
    text(&found.stdout).lines().collect::<std::collections::BTreeSet<_>>().len()
}

/// Whether a thread of a process waits for a disk.
fn hangs(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let waits = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
    };
    threads.into_iter().any(waits)
}

/// Two pods, one in front and one in the background, end while the disk under `folder` hangs; if
/// `is_written`, once what `rrun` does there by itself has met it. They are run as on a machine with one
/// processor: whatever blocks the one thread of their runtime blocks all.
fn pods_end_while_the_disk_hangs(folder: &str, is_written: bool) {
    let machine = Machine::new();
    let sandbox = &machine.sandbox;
    let at = Path::new("/var/lib/rrun").join(folder);
    let disk = Disk::mount(&at, sandbox.root().join("disk.ext4"), sandbox.prefix());
    let volume =
        "      volumeMounts: [{name: v, mountPath: /v}]\n  volumes: [{name: v, emptyDir: {}}]\n";
    let manifest = |name: &str| pod(name, "Always", &["numbers", "100"]) + volume;
    let command = |name: &str, options: &[&str]| {
        let path = machine.write(name, &manifest(name));
        let mut command = machine.command(&[&["run", path.as_str()][..], options].concat());
        command.env("TOKIO_WORKER_THREADS", "1");
        command
    };
    // One process at a time collects: this one.
    let often = ["--container-gc-period", "1s", "--log-max-size", "1k"];
    let one = Run::start(command("one", &often));
    let detached = rrun_tests::limit::output(&mut command("two", &["--detach"])).unwrap();
    printed(&["run", "--detach"], &detached);
    for name in ["one", "two"] {
        machine.await_ps(name, "1/1", "Running");
    }
    assert_eq!(processes(&machine), 2);

    disk.freeze();
    if is_written {
        await_that("a thread that waits for the disk", || hangs(one.pid()));
    }
    let done =
        in_time(&machine, &[&["ps"], &["images"], &["exec", "two", "--", "/bin/work", "true"]]);
    for done in &done {
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    assert_eq!(text(&done[0].stdout).matches("Running").count(), 2);
    let ends: [&[&str]; 2] = [&["stop", "one", "--time", "1"], &["rm", "--force", "two"]];
    for done in in_time(&machine, &ends) {
        let said = text(&done.stderr);
        assert!(said.contains("it has ended, and 30 s later"), "{folder}: {said}");
    }
    assert_eq!(processes(&machine), 0, "{folder}");

    disk.go_on();
    one.end();
    await_that("an end of both", || ["one", "two"].iter().all(|name| machine.ps(name).is_none()));
    drop(disk);
    machine.assert_nothing_left();
}

#[test]
fn pods_are_stopped_and_removed_while_the_disk_under_their_records_hangs() {
    pods_end_while_the_disk_hangs("rrun", true);
}

#[test]
fn pods_are_stopped_and_removed_while_the_disk_under_their_volumes_hangs() {
    pods_end_while_the_disk_hangs("volumes", false);
}

#[test]
fn pods_are_stopped_and_removed_while_the_disk_under_their_logs_hangs() {
    pods_end_while_the_disk_hangs("logs", true);
}

/// A pod with a path of the node that hangs.
fn with_host_path(name: &str, path: &str, kind: &str) -> String {
    let volume = format!(
        "      volumeMounts: [{{name: v, mountPath: /v}}]
  volumes: [{{name: v, hostPath: {{path: {path}, type: {kind:?}}}}}]
"
    );
    pod(name, "Always", &["sleeper"]) + &volume
}

#[test]
fn a_pod_whose_host_path_hangs_is_stopped_and_removed_and_keeps_no_other_waiting() {
    let machine = Machine::new();
    let path = machine.sandbox.root().join("hung");
    let hung = Fuse::mount(&path, machine.sandbox.pid(), Answered::Nobody);
    let path = path.display().to_string();
    // `rrun` looks at the one that has a type, the engine at the other.
    let pods = [("stopped", "Directory"), ("removed", "")]
        .map(|(name, kind)| machine.run(name, &with_host_path(name, &path, kind)));
    await_that("a look at the path", || hung.hangs());
    for name in ["stopped", "removed"] {
        machine.await_ps(name, "0/1", "ContainerCreating");
    }
    let other = machine.run("other", &pod("other", "Always", &["sleeper"]));
    machine.await_ps("other", "1/1", "Running");
    let said = "  it waits for its volumes, for ";
    await_that(said, || machine.ok(&["why", "stopped"]).contains(said));
    let said = format!("host path {path}: ");
    await_that(&said, || machine.ok(&["why", "removed"]).contains(&said));
    let ends: [&[&str]; 2] = [&["stop", "stopped", "--time", "1"], &["rm", "--force", "removed"]];
    for done in in_time(&machine, &ends) {
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let ended = |name: &str| machine.ps(name).is_none();
    await_that("an end of both", || ended("stopped") && ended("removed"));
    assert_eq!(processes(&machine), 1, "the other's");
    machine.ok(&["stop", "other"]);
    other.end();
    drop(hung);
    for pod in pods {
        pod.end();
    }
    machine.assert_nothing_left();
}

#[test]
fn what_goes_through_an_rrun_that_is_stopped_ends_and_names_it() {
    let machine = Machine::new();
    let names = ["one", "two"];
    let runs = names.map(|name| machine.run(name, &pod(name, "Always", &["sleeper"])));
    for name in names {
        machine.await_ps(name, "1/1", "Running");
    }
    runs.iter().for_each(|run| run.signal("STOP"));
    let exec: &[&str] = &["exec", "one", "--", "/bin/work", "true"];
    let stop: &[&str] = &["stop", "two", "--time", "1"];
    for (done, (verb, code)) in
        in_time(&machine, &[exec, stop]).iter().zip([("exec one", 125), ("stop two", 2)])
    {
        let said = text(&done.stderr);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(done.status.code(), Some(code), "{said}");
        assert!(last.starts_with(&format!("rrun: {verb}: the rrun that runs it (pid ")), "{said}");
        assert!(last.ends_with(") does not answer: it is stopped"), "{said}");
    }
    runs.iter().for_each(|run| run.signal("CONT"));
    machine.assert_exec_works("one");
    machine.ok(&["stop", "one"]);
    // The other is done as was asked.
    for run in runs {
        run.end();
    }
    machine.assert_nothing_left();
}
