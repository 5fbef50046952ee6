//! Control groups on the real kernel; needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::wait::WaitPidFlag;
use rrun_runtime::cgroup::{self, Layout, OomKills, Tried, stats};
use rrun_runtime::plan::*;
use rrun_runtime::{Kind, run};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use support::*;

/// Index of the v1 group with a controller, or of the unified one.
fn index(groups: &Cgroups, controller: &str) -> u8 {
    let has = |dir: &CgroupDir| dir.path.join(controller).exists();
    groups.dirs.iter().position(has).unwrap().try_into().unwrap()
}

#[test]
fn the_layout_of_this_host_is_found() {
    let layout = Layout::detect(Path::new("/sys/fs/cgroup")).unwrap();
    let here = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    for hierarchy in &layout.v1 {
        assert!(here.contains(&format!(":{}:", hierarchy.controllers.join(","))), "{hierarchy:?}");
    }
    // Not all that are mounted need to be below that directory.
    assert!(here.lines().count() >= layout.v1.len() + usize::from(layout.unified.is_some()));
    assert!(Layout::detect(Path::new("/tmp")).is_err());
}

/// Index of the group that limits memory, and its file for that.
fn memory_limit(groups: &Cgroups) -> (u8, &'static str) {
    let v1 = groups.dirs.iter().any(|dir| dir.path.join("memory.limit_in_bytes").exists());
    let file = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
    (index(groups, file), file)
}

#[test]
fn limits_are_written_and_figures_are_read() {
    let mut place = Box::new();
    cgroup::make(&place.groups).unwrap();
    let (memory, limit) = memory_limit(&place.groups);
    let pids = index(&place.groups, "pids.max");
    let write = |dir, file: &str, value: &str, optional| CgroupWrite {
        dir,
        file: file.into(),
        value: value.into(),
        optional,
    };
    place.groups.writes = vec![
        write(memory, limit, "67108864", false),
        write(memory, "memory.no_such_file", "1", true),
        write(pids, "pids.max", "17", false),
    ];
    let burn = "dd if=/dev/zero of=/tmp/x bs=1M count=8 2>/dev/null; cat /tmp/x > /dev/null; exec sleep 1000";
    let mut plan = place.plan(&["sh", "-c", burn]);
    plan.mounts.push(new_mount("/tmp", "tmpfs", 0, &[]));
    let init = place.start(&plan).unwrap();
    // The shell has written when it has become the sleeper.
    let cmdline = format!("/proc/{}/comm", init.pid());
    await_that("it sleeps", || std::fs::read_to_string(&cmdline).unwrap() == "sleep\n");
    let files = stats::Files::find(&place.groups);
    let read = files.read().unwrap();
    let memory = read.memory.unwrap();
    assert_eq!(memory.limit, Some(64 << 20));
    assert!(memory.usage >= 8 << 20 && memory.usage < 64 << 20, "{memory:?}");
    assert!(memory.working_set <= memory.usage && memory.page_faults > 0, "{memory:?}");
    assert!(read.cpu_usage_ns.unwrap() > 1_000_000, "{read:?}");
    assert_eq!((read.pids, memory.oom_kills), (Some(1), Some(0)));
    assert!(read.pressure.is_some() || place.groups.dirs.iter().all(|dir| !dir.unified));
    place.kill(&init);
    cgroup::remove(&place.groups.dirs).unwrap();
    assert_eq!(files.read().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(stats::read(&place.groups).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_kill_for_want_of_memory_is_counted() {
    let mut place = Box::new();
    let pod = place.groups.clone();
    cgroup::make(&pod).unwrap();
    // The root of the unified groups counts no kills: a container's group is in its pod's.
    place.groups.dirs.iter_mut().for_each(|dir| dir.path.push("container"));
    cgroup::make(&place.groups).unwrap();
    let (memory, limit) = memory_limit(&place.groups);
    place.groups.writes = vec![CgroupWrite {
        dir: memory,
        file: limit.into(),
        value: (16 << 20).to_string(),
        optional: false,
    }];
    let mut plan = place.plan(&["dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", "count=64"]);
    plan.mounts.push(new_mount("/tmp", "tmpfs", 0, &[]));
    let kills = OomKills::of(&place.groups).unwrap();
    assert_eq!((kills.count().unwrap(), kills.was_heard_of()), (Some(0), false));
    let above = kills.count_above();
    let (code, _) = place.run(&plan).unwrap();
    assert_eq!(code, 137);
    assert!(kills.count().unwrap() >= Some(1));
    // As systemd does, before anybody has asked.
    cgroup::remove(&place.groups.dirs).unwrap();
    assert_eq!(kills.count().unwrap(), None);
    assert!(kills.was_heard_of() || kills.count_above() > above);
    cgroup::remove(&pod.dirs).unwrap();
}

#[test]
fn without_a_unified_group_a_tree_is_frozen_and_killed() {
    let mut place = Box::new();
    place.groups.dirs.retain(|dir| !dir.unified);
    if place.groups.dirs.is_empty() {
        return println!("skipped: this host has no control groups of v1");
    }
    let plan = place.plan(&["sh", "-c", "setsid sleep 1000 & setsid sleep 1000 & wait"]);
    let init = place.start(&plan).unwrap();
    cgroup::kill(&place.groups).unwrap();
    assert_eq!(wait(&init), 137);
    cgroup::remove(&place.groups.dirs).unwrap();
    cgroup::kill(&place.groups).unwrap();
    assert_eq!(cgroup::processes(&place.groups).unwrap(), []);
}

/// Signals the groups of a container from a PID namespace that does not see its processes; run by
/// the test below, in a process of its own.
#[test]
#[ignore = "the body of the other test"]
fn signal_from_elsewhere() {
    let Ok(name) = std::env::var("RRUN_TEST_NAME") else { return };
    let groups = groups(&name);
    assert_eq!(cgroup::processes(&groups).unwrap(), []);
    let error = cgroup::signal(&groups, libc::SIGTERM).unwrap_err();
    assert!(error.to_string().contains("PID namespace"), "{error}");
}

#[test]
fn a_process_that_the_caller_cannot_see_is_named_and_nobody_else_is_signalled() {
    let place = Box::new();
    let init = place.start(&place.plan(&["sleep", "1000"])).unwrap();
    // A number of 0 is what the kernel shows of it there, and kill(2) takes for one's own group.
    let mut command = limited("unshare");
    command.args(["--pid", "--fork"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "signal_from_elsewhere", "--ignored"]);
    command.env("RRUN_TEST_NAME", place.root.file_name().unwrap());
    let output = std::os::unix::process::CommandExt::process_group(&mut command, 0).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    place.kill(&init);
}

#[test]
fn a_group_is_not_signalled_beyond_its_processes() {
    let place = Box::new();
    let init = place.start(&place.plan(&["sleep", "1000"])).unwrap();
    cgroup::signal(&place.groups, 0).unwrap();
    assert_eq!(cgroup::processes(&place.groups).unwrap(), [init.pid()]);
    cgroup::signal(&place.groups, libc::SIGKILL).unwrap();
    assert_eq!(wait(&init), 137);
    cgroup::signal(&place.groups, libc::SIGKILL).unwrap();
}

#[test]
fn removing_takes_nested_groups_and_names_a_busy_one() {
    let place = Box::new();
    let init = place.start(&place.plan(&["sleep", "1000"])).unwrap();
    let error = cgroup::remove(&place.groups.dirs).unwrap_err();
    assert!(error.to_string().ends_with("EBUSY"), "{error}");
    for dir in place.groups.dirs.iter().filter(|dir| dir.unified) {
        std::fs::create_dir_all(dir.path.join("exec-1/deeper")).unwrap();
    }
    place.kill(&init);
    for _ in 0..2 {
        cgroup::remove(&place.groups.dirs).unwrap();
    }
}

/// Makes groups in one another below a group; the last one.
fn nest(dir: &Path, depth: usize) -> OwnedFd {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut at = open(dir, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
    at
}

#[test]
fn groups_that_are_nested_deeper_than_a_path_are_looked_through_thawed_killed_and_removed() {
    let mut place = Box::new();
    place.groups.dirs.retain(|dir| dir.path.starts_with("/sys/fs/cgroup/freezer"));
    let Some(dir) = place.groups.dirs.first().map(|dir| dir.path.clone()) else {
        return println!(
            "skipped: this host has no freezer of v1, where alone groups nest so deep"
        );
    };
    let init = place.start(&place.plan(&["sleep", "1000"])).unwrap();
    // 4096 bytes are the longest path.
    let deepest = nest(&dir, 2100);
    for (name, value) in [("cgroup.procs", &*init.pid().to_string()), ("freezer.state", "FROZEN")] {
        let file = openat(&deepest, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
        std::fs::File::from(file.unwrap()).write_all(value.as_bytes()).unwrap();
    }
    assert_eq!(cgroup::processes(&place.groups).unwrap(), [init.pid()]);
    assert!(!cgroup::try_remove(&place.groups.dirs).unwrap());
    cgroup::kill(&place.groups).unwrap();
    assert_eq!(wait(&init), 137);
    assert_eq!(cgroup::try_remove_few(&place.groups.dirs, 20).unwrap(), Tried::Many);
    cgroup::remove(&place.groups.dirs).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_container_enters_a_cpuset_whose_parents_have_no_values_yet() {
    let mut place = Box::new();
    // As whoever makes them for another pod leaves them for a moment.
    place.groups.dirs.retain(|dir| dir.inherit_cpuset);
    let [above] = &*place.groups.dirs.clone() else {
        return println!("skipped: this host has no cpuset of v1");
    };
    std::fs::create_dir(&above.path).unwrap();
    assert_eq!(std::fs::read_to_string(above.path.join("cpuset.cpus")).unwrap().trim(), "");
    place.groups.dirs[0].path.extend(["pod", "container"]);
    let (code, _) = place.run(&place.plan(&["true"])).unwrap();
    assert_eq!(code, 0);
    cgroup::remove(std::slice::from_ref(above)).unwrap();
}

#[test]
fn a_container_that_fails_takes_its_groups_back() {
    let mut place = Box::new();
    let dir = u8::try_from(place.groups.dirs.len() - 1).unwrap();
    let (file, value) = ("no.such.file".to_owned(), "1".to_owned());
    place.groups.writes = vec![CgroupWrite { dir, file, value, optional: false }];
    let error = run::spawn(&place.plan(&["true"]), &[], None, None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(place.groups.dirs.iter().all(|dir| !dir.path.exists()));
}

#[test]
fn a_child_that_dies_while_it_waits_is_left_to_the_owner_of_its_pidfd() {
    let place = Box::new();
    let mut child = run::spawn(&place.plan(&["true"]), &[], None, None).unwrap();
    ready(&mut child).unwrap();
    cgroup::kill(&place.groups).unwrap();
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    rrun_sys::pidfd::wait(child.pidfd(), flags).unwrap();
    assert_eq!(child.advance().unwrap_err().kind(), Kind::Ended);
    assert_eq!(child.release().unwrap_err().kind(), Kind::Ended);
    assert_eq!(wait(&child), 137);
}
