//! What a hostile root file system or neighbour cannot do; needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use rrun_runtime::plan::*;
use rrun_runtime::{Kind, run};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::*;

fn refusal(place: &Box, plan: &Plan) -> String {
    place.run(plan).unwrap_err().to_string()
}

#[test]
fn a_kernels_file_system_goes_to_a_real_directory_only() {
    for name in ["proc", "sys"] {
        let place = Box::new();
        fs::remove_dir(place.root.join(name)).unwrap();
        symlink("/tmp", place.root.join(name)).unwrap();
        let words = format!("mount /{name}: must be a real directory: ELOOP");
        assert_eq!(refusal(&place, &place.plan(&["true"])), words);
    }
    let place = Box::new();
    fs::remove_dir(place.root.join("proc")).unwrap();
    fs::write(place.root.join("proc"), "").unwrap();
    assert!(refusal(&place, &place.plan(&["true"])).starts_with("mount /proc: "));
}

#[test]
fn nothing_covers_the_root_through_a_link_to_it() {
    let place = Box::new();
    symlink("/", place.root.join("link")).unwrap();
    symlink("link/.", place.root.join("second")).unwrap();
    let source = place.root.join("tmp/source");
    fs::create_dir(&source).unwrap();
    for target in ["/link", "/second", "/second/link", "/tmp/../link"] {
        let mut plan = place.plan(&["true"]);
        plan.mounts.push(bind(&source, target));
        assert_eq!(refusal(&place, &plan), format!("mount {target}: it is the root: EPERM"));
        plan.mounts.pop();
        plan.mounts.push(new_mount(target, "tmpfs", 0, &[]));
        assert_eq!(refusal(&place, &plan), format!("mount {target}: it is the root: EPERM"));
        plan.mounts.pop();
        plan.masked = vec![target.into()];
        assert_eq!(refusal(&place, &plan), format!("mask {target}: it is the root: EPERM"));
        plan.masked.clear();
        plan.readonly = vec![target.into()];
        let words = format!("make {target} read-only: it is the root: EPERM");
        assert_eq!(refusal(&place, &plan), words);
    }
    // Below it, and a bind of the root's directory that is covered, are places like any other.
    let mut plan = place.plan(&["sh", "-c", "test -d /new/tmp/source && test ! -e /tmp/source"]);
    plan.mounts.push(bind(&source, "/link/tmp"));
    plan.mounts.push(bind(&place.root, "/new"));
    plan.mounts.push(bind(&place.root, "/new"));
    assert_eq!(place.run(&plan).unwrap(), (0, String::new()));
}

#[test]
fn nothing_is_mounted_inside_proc_but_what_lxcfs_provides() {
    let place = Box::new();
    let file = place.root.join("tmp/file");
    fs::write(&file, "12 3\n").unwrap();
    let with = |mount: Mount, args: &[&str]| {
        let mut plan = place.plan(args);
        plan.mounts.push(mount);
        plan
    };
    let plan = with(bind(&file, "/proc/uptime"), &["cat", "/proc/uptime"]);
    assert_eq!(place.run(&plan).unwrap(), (0, "12 3\n".to_owned()));
    let plan = with(bind(&file, "/proc/self/attr/exec"), &["true"]);
    assert_eq!(refusal(&place, &plan), "mount /proc/self/attr/exec: it is inside /proc");
    // A link of the image leads there as well.
    symlink("/proc", place.root.join("link")).unwrap();
    let plan = with(bind(&file, "/link/uptime"), &["true"]);
    assert_eq!(refusal(&place, &plan), "mount /link/uptime: it is inside a procfs: EPERM");
}

#[test]
fn nor_through_a_link_where_proc_is_mounted_after_the_volumes() {
    // As in a pod that shares its PID namespace: the volume would be covered, and nobody be told.
    let (first, place) = (Box::new(), Box::new());
    let init = first.start(&first.plan(&["sleep", "1000"])).unwrap();
    let joined = fs::File::open(format!("/proc/{}/ns/pid", init.pid())).unwrap();
    let source = place.root.join("tmp/source");
    fs::create_dir(&source).unwrap();
    symlink("../proc/../proc", place.root.join("tmp/link")).unwrap();
    for (target, refused) in [
        ("/tmp/link/missing/volume", true),
        ("/tmp/link", true),
        ("/tmp/link/../volume", false),
        ("/process", false),
    ] {
        let mut plan = place.plan(&["sh", "-c", &format!("test -d {target}")]);
        plan.namespaces.pid = Namespace::Slot(Slot(0));
        plan.mounts.push(bind(&source, target));
        let run = place.run_with(&plan, &[joined.as_fd()]).map_err(|error| error.to_string());
        let words = "it is beneath the procfs, which is mounted later: EPERM";
        let expected = match refused {
            true => Err(format!("mount {target}: {words}")),
            false => Ok((0, String::new())),
        };
        assert_eq!(run, expected);
    }
    assert!(!place.root.join("proc/missing").exists());
    first.kill(&init);
}

#[test]
fn what_is_bound_over_proc_is_a_procfs() {
    let place = Box::new();
    let mut plan = place.plan(&["test", "-e", "/proc/version"]);
    plan.process.args = ["sh", "-c", "test -e /proc/version"].map(str::to_owned).into();
    plan.mounts.retain(|mount| mount.target != "/proc");
    plan.mounts.push(bind(&place.root.join("tmp"), "/proc"));
    let words = "mount /proc: what is mounted there is no procfs: EPERM";
    assert_eq!(refusal(&place, &plan), words);
    plan.mounts.pop();
    plan.mounts.push(bind(Path::new("/proc"), "/proc"));
    plan.masked.clear();
    plan.readonly.clear();
    assert_eq!(place.run(&plan).unwrap(), (0, String::new()));
}

#[test]
fn a_mask_that_cannot_be_put_is_an_error() {
    let place = Box::new();
    fs::write(place.root.join("etc/file"), "").unwrap();
    let mut plan = place.plan(&["true"]);
    plan.masked = vec!["/etc/file/below".into()];
    assert_eq!(refusal(&place, &plan), "mask /etc/file/below: ENOTDIR");
    plan.masked = vec!["/etc/missing".into()];
    assert_eq!(place.run(&plan).unwrap().0, 0);
}

/// How many containers must have come to run while `/proc` was being exchanged: each such try is
/// refused where the link was there, and this many of so many are not.
const MASKED: usize = 3;
/// How many tries there are at least. Were masks looked up by their paths, one of some ten would
/// expose something.
const ENOUGH: usize = 100;
const TRIES: usize = 2000;

/// Runs containers whose `/proc` a neighbour exchanges for a link, and back, all the time.
fn race_for_proc(place: &Box, pid: Namespace, slots: &[BorrowedFd<'_>]) {
    symlink("/tmp", place.root.join("other")).unwrap();
    let script = "for p in /proc /other /tmp; do \
        (echo x > $p/sys/kernel/domainname) 2>/dev/null && echo exposed in $p; \
        test -e $p/keys && { test -s $p/keys && echo exposed keys in $p || echo masked; }; \
        done; true";
    let mut plan = place.plan(&["sh", "-c", script]);
    plan.namespaces.pid = pid;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (proc, other) = (place.root.join("proc"), place.root.join("other"));
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let here = nix::fcntl::AT_FDCWD;
            while !over.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(here, &proc, here, &other, flags).unwrap();
            }
        });
        let (mut masked, mut tries) = (0, 0);
        let mut exposed = None;
        while exposed.is_none() && (masked < MASKED || tries < rounds(ENOUGH, 30)) && tries < TRIES
        {
            tries += 1;
            let Ok((_, output)) = place.run_with(&plan, slots) else { continue };
            masked += usize::from(output.contains("masked"));
            exposed = output.contains("exposed").then_some(output);
        }
        // First of all: the neighbour is waited for at the end of the scope.
        over.store(true, Ordering::Relaxed);
        assert_eq!(exposed, None);
        assert!(masked >= MASKED, "{masked} of {tries} were masked");
    });
}

#[test]
fn a_neighbour_who_exchanges_proc_for_a_link_exposes_nothing() {
    race_for_proc(&Box::new(), Namespace::New, &[]);
}

#[test]
fn nor_does_one_in_a_pid_namespace_that_is_joined() {
    // A container of such a pod mounts its procfs late: by then its neighbours see it.
    let (first, place) = (Box::new(), Box::new());
    let init = first.start(&first.plan(&["sleep", "1000"])).unwrap();
    let joined = fs::File::open(format!("/proc/{}/ns/pid", init.pid())).unwrap();
    race_for_proc(&place, Namespace::Slot(Slot(0)), &[joined.as_fd()]);
    first.kill(&init);
}

#[test]
fn a_device_takes_the_place_of_nothing_else() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.mounts.retain(|mount| !mount.target.starts_with("/dev"));
    plan.devices.retain(|device| device.path == "/dev/zero");
    plan.links.clear();
    plan.masked.clear();
    let target = place.root.join("etc/target");
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("/etc/target", place.root.join("dev/zero")).unwrap();
    assert_eq!(refusal(&place, &plan), "make device /dev/zero: EEXIST");
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o600);
    fs::remove_file(place.root.join("dev/zero")).unwrap();
    // It is made, and stays where it is there already.
    for _ in 0..2 {
        assert_eq!(place.run(&plan).unwrap().0, 0);
    }
    assert_eq!(fs::metadata(place.root.join("dev/zero")).unwrap().mode() & 0o777, 0o666);
}

#[test]
fn a_container_has_a_session_keyring_of_its_own() {
    let place = Box::new();
    // A ring lives for a while after its last process.
    let name = format!("_ses.confine-{}", std::process::id());
    let mut plan = place.plan(&["grep", "-c", &name, "/proc/keys"]);
    plan.masked.clear();
    assert_eq!(place.run(&plan).unwrap(), (1, "0\n".to_owned()));
    plan.process.keyring = Some(name.clone());
    assert_eq!(place.run(&plan).unwrap(), (0, "1\n".to_owned()));
}

#[test]
fn a_label_of_a_security_module_that_is_not_there_is_an_error() {
    if rrun_sys::lsm::apparmor() || rrun_sys::lsm::selinux() {
        return println!("skipped: a security module is active here");
    }
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.process.apparmor = Some("rrun-test".into());
    assert!(refusal(&place, &plan).starts_with("set AppArmor profile rrun-test: "));
    plan.process.apparmor = None;
    plan.process.selinux = Some("system_u:system_r:container_t:s0".into());
    assert!(refusal(&place, &plan).starts_with("set SELinux label system_u:"));
}

#[test]
fn an_exec_has_the_clocks_of_its_container() {
    let place = Box::new();
    let mut plan = place.plan(&["sleep", "1000"]);
    plan.namespaces.time = Namespace::New;
    let init = place.start(&plan).unwrap();
    let exec = place.exec_plan(&["readlink", "/proc/self/ns/time"]);
    let (_, output) = place.exec(&exec, &init).unwrap();
    let own = fs::read_link(format!("/proc/{}/ns/time", init.pid())).unwrap();
    assert_eq!(Path::new(output.trim()), own);
    assert_ne!(own, fs::read_link("/proc/self/ns/time").unwrap());
    place.kill(&init);
}

#[test]
fn a_mount_that_the_kernel_refuses_is_refused_in_its_words() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.mounts.push(new_mount("/data", "tmpfs", 0, &[("no-such-option", None)]));
    let words = refusal(&place, &plan);
    assert!(words.starts_with("mount /data: ") && words.contains("'no-such-option'"), "{words}");
}

#[test]
fn a_child_that_failed_is_left_to_whoever_reaps_and_cannot_be_mistaken() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.mounts.push(bind(Path::new("/nowhere/at/all"), "/data"));
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    let error = loop {
        let mut fds = [PollFd::new(child.channel(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(60_000u16)), Ok(1));
        if let Err(error) = child.advance() {
            break error;
        }
    };
    assert_eq!(error.to_string(), "mount /data: open /nowhere/at/all: ENOENT");
    let status = rrun_sys::pidfd::wait(child.pidfd(), WaitPidFlag::WEXITED).unwrap();
    assert!(!matches!(status, WaitStatus::StillAlive));
    assert_eq!(child.signal(libc::SIGKILL).unwrap_err().kind(), Kind::NotFound);
}
