//! Whoever makes a container dies at every point; what is left can be taken back by name.
//! Needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use rrun_runtime::cgroup;
use rrun_runtime::run;
use std::os::unix::process::ExitStatusExt;
use support::*;

const NAME: &str = "RRUN_TEST_NAME";

/// Makes a container and an exec in it; run by the test below, in a process of its own.
#[test]
#[ignore = "the body of the other test"]
fn body() {
    let Ok(name) = std::env::var(NAME) else { return };
    // The caller clears up, whether this one ends or is killed.
    let place = std::mem::ManuallyDrop::new(Box::named(&name));
    let mut init = run::spawn(&place.plan(&["sleep", "1000"]), &[], None, None).unwrap();
    ready(&mut init).unwrap();
    init.release().unwrap();
    running(&mut init).unwrap();
    let exec = place.exec_plan(&["sleep", "1000"]);
    running(&mut run::exec(&exec, init.pidfd(), None).unwrap()).unwrap();
}

#[test]
fn at_every_point_a_killed_caller_leaves_what_can_be_taken_back() {
    for (at, step) in [
        "runtime.create.cgroup-v1",
        "runtime.create.cgroup-v2",
        "runtime.create.init",
        "runtime.exec.cgroup-v2",
        "runtime.exec.process",
    ]
    .into_iter()
    .enumerate()
    {
        for point in ["before", "after"] {
            // Dropped at the end, which fails when something is left in the groups.
            let place = Box::named(&format!("rrun-test-kill-{}-{at}{point}", std::process::id()));
            let has = |unified| place.groups.dirs.iter().any(|dir| dir.unified == unified);
            if (step.ends_with("-v1") && !has(false)) || (step.ends_with("-v2") && !has(true)) {
                continue;
            }
            let name = place.root.file_name().unwrap().to_owned();
            std::fs::remove_dir_all(&place.root).unwrap();
            let mut command = limited(std::env::current_exe().unwrap());
            command.args(["--exact", "body", "--ignored"]).env(NAME, name);
            let output = command.env("RRUN_KILL_AT", format!("{step}:{point}")).output().unwrap();
            assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{step}:{point} {output:?}");
            cgroup::kill(&place.groups).unwrap();
            remove_killed(&place.groups.dirs).unwrap();
            assert_eq!(cgroup::processes(&place.groups).unwrap(), []);
            // And again: taking back twice is no error.
            cgroup::kill(&place.groups).unwrap();
            remove_killed(&place.groups.dirs).unwrap();
        }
    }
}
