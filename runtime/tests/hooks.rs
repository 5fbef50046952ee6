//! Hooks of a plan on the real kernel; needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use rrun_runtime::plan::*;
use rrun_runtime::run::{self, ParentTask};
use std::fs;
use support::*;

fn sh(script: &str) -> Hook {
    Hook {
        path: "/bin/sh".into(),
        args: ["sh", "-c", script].map(str::to_owned).into(),
        env: vec!["PATH=/usr/bin:/bin".into()],
        timeout: Some(60),
    }
}

fn state(status: &str) -> StateText {
    StateText { before: format!("{{{status} "), after: "}".into() }
}

fn with_hooks(place: &Box, args: &[&str], hooks: Hooks) -> Plan {
    let hooks = Hooks { creating: state("creating"), created: state("created"), ..hooks };
    Plan { version: WITH_HOOKS, hooks: Some(hooks), ..place.plan(args) }
}

#[test]
fn hooks_of_create_see_the_host_and_the_root_and_those_of_start_only_the_container() {
    let place = Box::new();
    let bundle = tempfile::tempdir().unwrap();
    let rootfs = bundle.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    let create = format!(
        "cat > {0}/tmp/creating; ls {0}/dev > {0}/tmp/dev; pwd >> {0}/tmp/dev; \
         readlink /proc/self/ns/uts > {0}/tmp/uts; ls {1} > {0}/tmp/host",
        rootfs.display(),
        env!("CARGO_MANIFEST_DIR")
    );
    let hooks = Hooks {
        rootfs: Some(rootfs.clone()),
        create_container: vec![sh(&create)],
        start_container: vec![sh("cat > /tmp/created; id -u >> /tmp/created; ls / > /tmp/root")],
        ..Hooks::default()
    };
    let mut plan = with_hooks(&place, &["readlink", "/proc/self/ns/uts"], hooks);
    plan.process.user = User { uid: 7, gid: 7, ..User::default() };
    std::os::unix::fs::chown(place.root.join("tmp"), Some(7), Some(7)).unwrap();
    let (code, output) = place.run(&plan).unwrap();
    let read = |name: &str| fs::read_to_string(place.root.join("tmp").join(name)).unwrap();
    assert_eq!(code, 0, "{output}");
    assert_eq!(
        (read("creating").as_str(), read("created").as_str()),
        ("{creating 1}", "{created 1}7\n")
    );
    assert!(read("dev").contains("null\n") && read("dev").ends_with("/\n"), "{}", read("dev"));
    assert!(read("host").contains("Cargo.toml"), "{}", read("host"));
    assert_eq!(read("uts"), output);
    assert!(!read("root").contains("usr\n"), "{}", read("root"));
    // On the host, nothing is mounted there.
    assert_eq!(fs::read_dir(&rootfs).unwrap().count(), 0);
}

#[test]
fn a_hook_need_not_read_a_long_state_and_one_that_fails_ends_what_is_made() {
    let place = Box::new();
    let long = StateText { before: "x".repeat(300_000), after: String::new() };
    for (hook, words) in [
        (sh("exit 0"), ""),
        (sh("exec 2>&-; sleep 0.1"), ""),
        (sh("cat | wc -c | grep -q 300001"), ""),
        (sh("echo went wrong >&2; exit 9"), "exit status 9: went wrong"),
        (sh("kill -9 $$"), "killed by signal 9"),
        (Hook { timeout: Some(1), ..sh("sleep 1000 & wait") }, "not done after 1 s, killed"),
        (
            Hook { path: "/nowhere".into(), ..sh("") },
            "cannot be executed: No such file or directory",
        ),
    ] {
        let mut plan = with_hooks(
            &place,
            &["true"],
            Hooks { start_container: vec![hook.clone()], ..Hooks::default() },
        );
        plan.hooks.as_mut().unwrap().created = long.clone();
        match place.run(&plan) {
            Ok(ended) => assert_eq!((ended, words), ((0, String::new()), ""), "{hook:?}"),
            Err(error) => {
                let told = error.to_string();
                assert!(
                    told.starts_with(&format!("startContainer hook {}: ", hook.path)),
                    "{told}"
                );
                assert!(!words.is_empty() && told.contains(words), "{told}");
            }
        }
    }
}

#[test]
fn the_parent_is_asked_for_its_hooks_before_the_root_is_entered() {
    let place = Box::new();
    let bundle = tempfile::tempdir().unwrap();
    let hooks = Hooks { rootfs: Some(bundle.path().into()), ask: true, ..Hooks::default() };
    let plan = with_hooks(&place, &["true"], hooks);
    let mut seen = 0;
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    child
        .wait_helped(|asked, pid| {
            assert_eq!(asked, ParentTask::RunHooks);
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
            seen += mounts.matches(&format!(" {}/dev ", bundle.path().display())).count();
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 1);
    place.kill(&child);
}

#[test]
fn a_hook_of_the_runtime_is_given_its_input_and_killed_with_what_it_started() {
    let run =
        |hook: &Hook| rrun_runtime::hooks::run("poststop", std::slice::from_ref(hook), "state");
    run(&sh("test \"$(cat)\" = state")).unwrap();
    let told = |hook: &Hook| run(hook).unwrap_err().to_string();
    assert_eq!(told(&sh("echo no >&2; exit 4")), "poststop hook /bin/sh: exit status 4: no");
    let slow = Hook { timeout: Some(1), ..sh("sleep 1000 & wait") };
    assert_eq!(told(&slow), "poststop hook /bin/sh: not done after 1 s, killed");
    let missing = Hook { path: "/nowhere".into(), ..sh("") };
    assert_eq!(told(&missing), "poststop hook /nowhere: start it: ENOENT");
}
