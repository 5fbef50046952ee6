//! A display that cannot be written and records that cannot be kept cost no pod.

use crate::machine::{Machine, await_that, pod};
use std::fs::{self, File};
use std::process::{Command, Stdio};

#[test]
fn a_display_that_cannot_be_written_leaves_the_pod_attended() {
    let machine = Machine::new();
    let path = machine.write("loud", &pod("loud", "Always", &["numbers", "100"]));
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    // A reader that never reads: the pipe fills, and the display waits.
    let (unread, stuck) = std::io::pipe().unwrap();
    let stuck = || Stdio::from(stuck.try_clone().unwrap());
    for (what, stdout, stderr) in [
        ("full disk", full(), full()),
        ("closed pipe", closed(), closed()),
        ("stuck terminal", stuck(), stuck()),
    ] {
        let mut command = machine.command(&["run", &path]);
        let mut run = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        machine.await_ps("loud", "1/1", "Running");
        machine.assert_exec_works("loud");
        assert_eq!(machine.ps("loud").unwrap()[3], "Running", "{what}");
        machine.ok(&["stop", "loud", "--time", "1"]);
        assert_eq!(machine.ps("loud"), None, "{what}");
        if what == "stuck terminal" {
            // It still has something to show: whoever does not want it says so.
            let pid = run.id().to_string();
            await_that("an end after the signal", || {
                let _ = Command::new("kill").args(["-s", "INT", &pid]).status();
                run.try_wait().unwrap().is_some()
            });
        }
        rrun_tests::limit::end(&mut run, what).unwrap();
    }
    drop(unread);
    machine.assert_nothing_left();
}

#[test]
fn a_record_that_cannot_be_written_is_told_once_and_written_later() {
    let machine = Machine::new();
    let probe = "      readinessProbe: {exec: {command: [/bin/work, env, HOME]}, periodSeconds: 1, \
        initialDelaySeconds: 3}\n";
    let run = machine.run("kept", &(pod("kept", "Always", &["sleeper"]) + probe));
    run.expect("pod kept: Running");
    let folder = machine.sandbox.state().join("rrun/default_kept");
    let obstacle = folder.join("state.new");
    // A record may be on its way under this name right now.
    await_that("the obstacle", || fs::create_dir(&obstacle).is_ok());
    run.expect("default_kept/state: not a regular file");
    run.expect("pod kept: Running, ready");
    assert_eq!(machine.ps("kept").unwrap()[2], "0/1");
    fs::remove_dir(&obstacle).unwrap();
    machine.await_ps("kept", "1/1", "Running");
    machine.ok(&["stop", "kept"]);
    run.end();
    machine.assert_nothing_left();
}
