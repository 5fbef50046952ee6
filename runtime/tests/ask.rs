//! What a process asks its parent to do before it goes on; needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rrun_runtime::cgroup;
use rrun_runtime::plan::*;
use rrun_runtime::run::{self, Child, ParentTask, Refusal, State};
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use support::*;

const OUTSIDE: u32 = 100_000;

/// A plan with a user namespace whose root is `OUTSIDE`, who owns the root file system.
fn mapped(place: &Box, args: &[&str]) -> Plan {
    own(&place.root);
    let mut plan = place.plan(args);
    let all = vec![IdRange { inside: 0, outside: OUTSIDE, count: 65_536 }];
    plan.namespaces.user = Namespace::New;
    plan.id_maps = Some(IdMaps { users: all.clone(), groups: all });
    plan
}

fn own(path: &Path) {
    lchown(path, Some(OUTSIDE), Some(OUTSIDE)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

#[test]
fn a_container_in_a_user_namespace_is_root_inside_and_somebody_else_outside() {
    let place = Box::new();
    let script = "id -u; echo $$; hostname; cat /proc/self/uid_map | tr -s ' '; \
        echo x > /dev/null; touch /tmp/new; stat -c %u /tmp/new; \
        (echo x > /proc/sys/kernel/domainname) 2>/dev/null || echo masked";
    let plan = mapped(&place, &["sh", "-c", script]);
    let expected = format!("0\n1\nboxed\n 0 {OUTSIDE} 65536\n0\nmasked\n");
    assert_eq!(place.run(&plan).unwrap(), (0, expected));
    assert_eq!(fs::metadata(place.root.join("tmp/new")).unwrap().uid(), OUTSIDE);
}

#[test]
fn an_exec_enters_the_user_namespace_too() {
    let place = Box::new();
    let init = place.start(&mapped(&place, &["sleep", "1000"])).unwrap();
    let exec = place.exec_plan(&["sh", "-c", "id -u; cat /proc/self/uid_map | tr -s ' '"]);
    let expected = format!("0\n 0 {OUTSIDE} 65536\n");
    assert_eq!(place.exec(&exec, &init).unwrap(), (0, expected));
    place.kill(&init);
}

#[test]
fn maps_that_the_kernel_refuses_are_named() {
    let place = Box::new();
    let mut plan = mapped(&place, &["true"]);
    let twice = IdRange { inside: 0, outside: OUTSIDE, count: 10 };
    plan.id_maps = Some(IdMaps { users: vec![twice, twice], groups: vec![twice] });
    let error = place.run(&plan).unwrap_err();
    assert_eq!(error.to_string(), "map ids: write uid_map: EINVAL");
    plan.id_maps = None;
    assert!(place.run(&plan).unwrap_err().to_string().contains("user namespace"));
}

fn asking(child: &mut Child) -> ParentTask {
    while child.advance().unwrap() != State::Asking {
        let mut fds = [PollFd::new(child.channel(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(60_000u16)), Ok(1));
    }
    child.asks().unwrap()
}

#[test]
fn a_process_can_be_placed_after_it_was_cloned() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.cgroups.dirs.clear();
    plan.cgroups.asked = true;
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    assert_eq!(asking(&mut child), ParentTask::Place);
    let mut group = place.groups.clone();
    group.dirs.retain(|dir| dir.unified);
    cgroup::make(&group).unwrap();
    let procs = group.dirs[0].path.join("cgroup.procs");
    fs::write(&procs, child.pid().to_string()).unwrap();
    child.answer(&Ok(())).unwrap();
    ready(&mut child).unwrap();
    assert_eq!(fs::read_to_string(&procs).unwrap().trim(), child.pid().to_string());
    child.release().unwrap();
    running(&mut child).unwrap();
    assert_eq!(wait(&child), 0);
}

#[test]
fn what_is_refused_fails_the_step_in_the_words_of_who_refused() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.cgroups.asked = true;
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    asking(&mut child);
    let refusal = Refusal { errno: Errno::EBUSY, words: "systemd says no".into() };
    child.answer(&Err(refusal)).unwrap();
    let error = ready(&mut child).unwrap_err().to_string();
    assert_eq!(error, "be placed into the control groups: systemd says no: EBUSY");
    // Who only waits can do nothing that is asked.
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    let error = running(&mut child).unwrap_err().to_string();
    assert_eq!(error, "be placed into the control groups: nobody here can do that: ENOSYS");
}

#[test]
fn who_waits_places_it_into_groups_that_are_there_in_part() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.cgroups.asked = true;
    let groups = plan.cgroups.clone();
    // Where nobody has made any, somebody keeps them elsewhere.
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    let error = child.wait_placed(|pid| cgroup::join(&groups, pid)).unwrap_err().to_string();
    assert!(error.contains("is not where systemd keeps the group"), "{error}");

    fs::create_dir(&groups.dirs.last().unwrap().path).unwrap();
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    child.wait_placed(|pid| cgroup::join(&groups, pid)).unwrap();
    for dir in &groups.dirs {
        let procs = fs::read_to_string(dir.path.join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), child.pid().to_string(), "{}", dir.path.display());
    }
    child.release().unwrap();
    running(&mut child).unwrap();
    assert_eq!(wait(&child), 0);
}
