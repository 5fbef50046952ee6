//! Containers on the real kernel; needs root.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use nix::sys::wait::WaitPidFlag;
use rrun_runtime::plan::*;
use rrun_runtime::{Kind, run};
use rrun_sys::pidfd;
use std::os::fd::AsFd;
use std::path::Path;
use support::*;

fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

#[test]
fn a_container_runs_with_a_name_and_a_pid_namespace_of_its_own() {
    let place = Box::new();
    // The shell itself lists /proc: every other process would be in the list, or not yet.
    let script = "hostname; echo $$; tr '\\0' ' ' < /proc/1/cmdline; echo /proc/[0-9]*";
    let (code, output) = place.run(&place.plan(&shell(script))).unwrap();
    let expected = format!("boxed\n1\nsh -c {script} /proc/1\n");
    assert_eq!((code, output), (0, expected));
}

/// Seen of a reaper: this plan once renamed the machine that the tests ran on.
#[test]
fn a_name_is_not_given_to_the_host() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.namespaces.uts = Namespace::Host;
    for (host, domain) in [(Some("boxed"), None), (None, Some("boxed"))] {
        (plan.hostname, plan.domainname) = (host.map(str::to_owned), domain.map(str::to_owned));
        assert_eq!(place.run(&plan).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn no_descriptor_of_the_host_survives() {
    let place = Box::new();
    let _held = std::fs::File::open("/").unwrap();
    let (_, output) = place.run(&place.plan(&shell("ls /proc/self/fd; ls -l /proc/1/fd"))).unwrap();
    // The directory that `ls` reads is its own.
    assert!(output.starts_with("0\n1\n2\n3\n"), "{output}");
    assert_eq!(output.matches("->").count(), 3, "{output}");
}

#[test]
fn nothing_of_the_hosts_mounts_is_left() {
    let place = Box::new();
    let (_, output) = place.run(&place.plan(&["cat", "/proc/self/mountinfo"])).unwrap();
    let targets: Vec<_> = output.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    // /proc/scsi is masked, if the kernel has it; /proc/sys and /proc/bus are read-only.
    let expected = ["/", "/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys"];
    assert!(targets.starts_with(&expected), "{output}");
    assert!(targets[6..].iter().all(|target| target.starts_with("/proc/")), "{output}");
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_refuse() {
    let place = Box::new();
    std::fs::create_dir(place.root.join("secret")).unwrap();
    std::fs::write(place.root.join("secret/file"), "x").unwrap();
    std::fs::write(place.root.join("etc/shadow"), "x").unwrap();
    let mut plan = place.plan(&shell(
        "cat /etc/shadow; ls /secret; touch /secret/a; touch /tmp/a; echo 1 > /proc/sys/kernel/pid_max; touch /ok",
    ));
    plan.masked.extend(["/secret".into(), "/etc/shadow".into(), "/proc/acpi".into()]);
    plan.readonly.push("/tmp".into());
    let (code, output) = place.run(&plan).unwrap();
    assert_eq!(code, 0, "{output}");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.len(), 3, "{output}");
    assert!(lines.iter().all(|line| line.ends_with("Read-only file system")), "{output}");
}

#[test]
fn a_null_device_that_is_something_else_is_not_mounted_over_a_masked_path() {
    let place = Box::new();
    std::fs::write(place.root.join("etc/shadow"), "x").unwrap();
    let mut plan = place.plan(&["true"]);
    plan.mounts.retain(|mount| mount.target != "/dev" && !mount.target.starts_with("/dev/"));
    plan.devices.clear();
    plan.masked = vec!["/etc/shadow".into()];
    std::os::unix::fs::symlink("/proc/sysrq-trigger", place.root.join("dev/null")).unwrap();
    let error = place.run(&plan).unwrap_err();
    assert_eq!(error.to_string(), "mask /etc/shadow: ENODEV");
}

#[test]
fn a_read_only_root_refuses_and_its_missing_mount_points_are_made_before() {
    let place = Box::new();
    let volume = place.root.join("tmp");
    let mut plan = place.plan(&shell("touch /x; touch /a/b/c/y && ls /a/b/c; touch /dev/x"));
    plan.rootfs.readonly = true;
    plan.mounts.push(bind(&volume, "/a/b/c"));
    let (_, output) = place.run(&plan).unwrap();
    assert_eq!(output, "touch: /x: Read-only file system\ny\n");
    assert!(place.root.join("a/b/c").is_dir());
}

#[test]
fn a_file_is_bound_read_only_over_a_file_that_is_made() {
    let place = Box::new();
    let file = place.root.join("tmp/hosts");
    std::fs::write(&file, "127.0.0.1 me\n").unwrap();
    let mut plan = place.plan(&shell("cat /etc/hosts; echo x > /etc/hosts"));
    plan.mounts.push(Mount { set: attr::RDONLY, ..bind(&file, "/etc/hosts") });
    let (_, output) = place.run(&plan).unwrap();
    assert_eq!(output, "127.0.0.1 me\nsh: can't create /etc/hosts: Read-only file system\n");
}

#[test]
fn a_mount_target_that_is_a_link_stays_inside_the_root() {
    let place = Box::new();
    let outside = place.root.with_extension("outside");
    std::fs::create_dir_all(place.root.join("run")).unwrap();
    std::os::unix::fs::symlink("../../../../run/dangling", place.root.join("etc/link")).unwrap();
    let file = place.root.join("tmp/file");
    std::fs::write(&file, "inside").unwrap();
    let mut plan = place.plan(&["cat", "/run/dangling"]);
    plan.mounts.push(bind(&file, "/etc/link"));
    assert_eq!(place.run(&plan).unwrap(), (0, "inside".into()));
    assert!(!outside.exists() && !Path::new("/run/dangling").exists());
}

#[test]
fn a_missing_bind_source_is_named() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.mounts.push(bind(Path::new("/nowhere/at/all"), "/data"));
    let error = place.run(&plan).unwrap_err();
    assert_eq!(error.to_string(), "mount /data: open /nowhere/at/all: ENOENT");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_file_system_over_a_directory_may_begin_with_what_that_has() {
    let place = Box::new();
    let over = place.root.join("data");
    std::fs::create_dir_all(over.join("deep/er")).unwrap();
    std::fs::write(over.join("deep/er/file"), "content").unwrap();
    std::os::unix::fs::symlink("deep/er", over.join("link")).unwrap();
    std::os::unix::fs::chown(over.join("deep"), Some(5), Some(6)).unwrap();
    for (name, mode) in [("deep/er/file", 0o4751), ("", 0o1777)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(over.join(name), mode).unwrap();
    }
    let script = "cat /data/link/file; stat -c ' %a %u %g' /data /data/deep /data/link/file; rm -r /data/deep";
    let mut plan = place.plan(&["busybox", "sh", "-c", script]);
    plan.mounts.push(Mount { copy_up: true, ..new_mount("/data", "tmpfs", 0, &[]) });
    let expected = "content 1777 0 0\n 755 5 6\n 4751 0 0\n";
    assert_eq!(place.run(&plan).unwrap(), (0, expected.into()));
    assert!(over.join("deep").exists());
}

#[test]
fn mounts_travel_as_the_propagation_says() {
    let place = Box::new();
    // A shared mount in a namespace of the test's own.
    let (output, code) = std::thread::scope(|scope| {
        let run = || {
            use nix::mount::{MsFlags, mount};
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let shared = place.root.join("tmp");
            mount(Some("x"), &shared, Some("tmpfs"), MsFlags::empty(), none).unwrap();
            mount(none, &shared, none, MsFlags::MS_SHARED, none).unwrap();
            let script =
                "for i in none slave shared; do mkdir -p /$i/$i; mount -t tmpfs x /$i/$i; done";
            let mut plan = place.plan(&["sh", "-c", script]);
            for (target, propagation) in [
                ("/none", None),
                ("/slave", Some(Propagation::Slave)),
                ("/shared", Some(Propagation::Shared)),
            ] {
                plan.mounts.push(Mount { propagation, ..bind(&shared, target) });
            }
            let all = rrun_sys::capability::permitted().unwrap();
            let sets = Capabilities {
                bounding: all,
                effective: all,
                permitted: all,
                ..Default::default()
            };
            plan.process.capabilities = sets;
            let (code, output) = place.run(&plan).unwrap();
            assert_eq!((code, output.as_str()), (0, ""));
            let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            (mounts, code)
        };
        scope.spawn(run).join().unwrap()
    });
    let seen = |name: &str| output.contains(&format!("/tmp/{name} "));
    assert_eq!(
        (code, seen("none"), seen("slave"), seen("shared")),
        (0, false, false, true),
        "{output}"
    );
}

#[test]
fn capabilities_are_exactly_what_the_plan_says() {
    let place = Box::new();
    let mut plan = place.plan(&["grep", "Cap", "/proc/self/status"]);
    plan.process.user = User { uid: 1000, gid: 1000, ..Default::default() };
    plan.process.capabilities = Capabilities {
        bounding: 0x4ff,
        effective: 0x400,
        permitted: 0x403,
        inheritable: 0x401,
        ambient: 0x401,
    };
    // A user that is not root keeps by execve what is ambient.
    let expected = "CapInh:\t0000000000000401\nCapPrm:\t0000000000000401\n\
        CapEff:\t0000000000000401\nCapBnd:\t00000000000004ff\nCapAmb:\t0000000000000401\n";
    assert_eq!(place.run(&plan).unwrap(), (0, expected.into()));
    plan.process.user = User::default();
    plan.process.capabilities = Capabilities {
        bounding: DEFAULT_CAPABILITIES,
        effective: DEFAULT_CAPABILITIES,
        permitted: DEFAULT_CAPABILITIES,
        ..Default::default()
    };
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\n\
        CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n";
    assert_eq!(place.run(&plan).unwrap(), (0, expected.into()));
}

#[test]
fn ids_groups_umask_and_limits_are_set() {
    let place = Box::new();
    let script = "grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp):' /proc/1/status; umask; \
        ulimit -n; ulimit -Hn; echo fine > /proc/self/fd/1";
    let mut plan = place.plan(&["sh", "-c", script]);
    plan.process.user =
        User { uid: 1000, gid: 1001, groups: vec![7, 1005], umask: Some(0o27), outside: None };
    plan.process.no_new_privileges = true;
    plan.process.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 100, hard: 200 }];
    let expected = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t7 1005 \n\
        NoNewPrivs:\t1\nSeccomp:\t0\n0027\n100\n200\nfine\n";
    assert_eq!(place.run(&plan).unwrap(), (0, expected.into()));
}

#[test]
fn the_number_that_is_no_id_is_refused_and_not_taken_for_the_callers_own() {
    let place = Box::new();
    for (uid, gid) in [(u32::MAX, 5), (5, u32::MAX)] {
        let mut plan = place.plan(&["id"]);
        plan.process.user = User { uid, gid, ..User::default() };
        let error = place.run(&plan).unwrap_err().to_string();
        assert!(error.contains("become user") && error.contains("EINVAL"), "{error}");
    }
}

#[test]
fn no_signal_is_ignored_or_blocked() {
    let place = Box::new();
    let expected = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n\
        SigCgt:\t0000000000000000\n";
    let plan = place.plan(&["grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/1/status"]);
    assert_eq!(place.run(&plan).unwrap(), (0, expected.into()));
}

#[test]
fn a_limit_above_the_hard_one_is_clamped_and_told() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let limit = Rlimit { resource: libc::RLIMIT_NOFILE, soft: hard + 1, hard: hard + 1 };
    plan.process.rlimits = vec![limit];
    plan.process.oom_score_adj = Some(-999);
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    ready(&mut child).unwrap();
    child.release().unwrap();
    running(&mut child).unwrap();
    let own = rrun_sys::capability::permitted().unwrap();
    let clamped = child.take_clamped();
    if own >> 24 & 1 == 0 {
        assert_eq!(
            clamped,
            ["set oom_score_adj -999", &format!("set limit {}", libc::RLIMIT_NOFILE)]
        );
    }
    assert_eq!(wait(&child), 0);
}

#[test]
fn a_failure_is_told_however_late_and_however_often_its_parent_asks() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.mounts.push(Mount {
        target: "/data".into(),
        source: MountSource::Bind { path: "/no/such".into(), recursive: false },
        set: 0,
        clear: 0,
        recursive_attrs: false,
        propagation: None,
        copy_up: false,
        id_map: None,
    });
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    // The child has failed, ended and closed its channel before anything is read from it.
    pidfd::wait(child.pidfd(), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    let first = child.advance().unwrap_err();
    assert!(first.to_string().contains("/no/such"), "{first}");
    assert_eq!(child.advance().unwrap_err(), first);
    assert_eq!(ready(&mut child).unwrap_err(), first);
}

#[test]
fn the_oom_score_is_raised() {
    let place = Box::new();
    let mut plan = place.plan(&["cat", "/proc/1/oom_score_adj"]);
    plan.process.oom_score_adj = Some(321);
    assert_eq!(place.run(&plan).unwrap(), (0, "321\n".into()));
}

/// `mkdir` and `mkdirat` give EPERM, all else is allowed.
fn no_mkdir() -> Seccomp {
    let mut filter = Vec::new();
    let ret = |value: u32| (0x06, 0, 0, value);
    for (code, jt, jf, k) in [
        (0x20_u16, 0_u8, 0_u8, 0_u32),
        (0x15, 2, 0, libc::SYS_mkdir as u32),
        (0x15, 1, 0, libc::SYS_mkdirat as u32),
        ret(0x7fff_0000),
        ret(0x0005_0000 | libc::EPERM as u32),
    ] {
        filter.extend(code.to_ne_bytes());
        filter.extend([jt, jf]);
        filter.extend(k.to_ne_bytes());
    }
    Seccomp { filter, flags: 0, listener: None }
}

#[test]
fn a_filter_holds_with_and_without_no_new_privs() {
    let place = Box::new();
    for no_new_privileges in [false, true] {
        let mut plan = place.plan(&shell("mkdir /tmp/x; grep Seccomp: /proc/1/status"));
        plan.process.seccomp = Some(no_mkdir());
        plan.process.no_new_privileges = no_new_privileges;
        plan.process.user.uid = 1000;
        let (_, output) = place.run(&plan).unwrap();
        let expected =
            "mkdir: can't create directory '/tmp/x': Operation not permitted\nSeccomp:\t2\n";
        assert_eq!(output, expected);
    }
}

#[test]
fn devices_and_links_are_made() {
    let place = Box::new();
    let script = "stat -c '%F %a %t,%T' /dev/null /dev/full; readlink /dev/fd; echo x > /dev/null; \
        head -c 3 /dev/zero | wc -c";
    let expected =
        "character special file 666 1,3\ncharacter special file 666 1,7\n/proc/self/fd\n3\n";
    assert_eq!(place.run(&place.plan(&shell(script))).unwrap(), (0, expected.into()));
}

#[test]
fn sysctls_of_the_containers_namespaces_are_set_and_the_hosts_are_not() {
    let place = Box::new();
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni";
    let mut plan = place.plan(&shell(script));
    let other = if before.trim() == "0" { "1" } else { "0" };
    plan.sysctls =
        vec![("net.ipv4.ip_forward".into(), other.into()), ("kernel.shmmni".into(), "1234".into())];
    assert_eq!(place.run(&plan).unwrap(), (0, format!("{other}\n1234\n")));
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
}

#[test]
fn a_program_that_cannot_be_executed_is_told_as_others_tell_it() {
    let place = Box::new();
    std::fs::write(place.root.join("etc/plain"), "x").unwrap();
    std::fs::write(place.root.join("bin/broken"), "#!/no/such/shell\n").unwrap();
    std::fs::write(place.root.join("bin/odd"), "\x01\x02").unwrap();
    for name in ["broken", "odd"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.root.join("bin").join(name), mode).unwrap();
    }
    for (program, code, message) in [
        ("foo", 127, r#"exec: "foo": executable file not found in $PATH"#),
        ("/foo", 127, r#"exec: "/foo": stat /foo: no such file or directory"#),
        ("/etc/plain", 126, r#"exec: "/etc/plain": permission denied"#),
        ("/etc", 126, r#"exec: "/etc": is a directory"#),
        ("plain", 127, r#"exec: "plain": executable file not found in $PATH"#),
        ("broken", 127, "exec broken: no such file or directory"),
        ("odd", 126, "exec odd: exec format error"),
    ] {
        let error = place.run(&place.plan(&[program])).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (message, Kind::Exec { code }));
    }
}

#[test]
fn a_working_directory_is_made_and_one_outside_is_refused() {
    let place = Box::new();
    let mut plan = place.plan(&["pwd"]);
    plan.process.cwd = "/made/here".into();
    assert_eq!(place.run(&plan).unwrap(), (0, "/made/here\n".into()));
    // CVE-2024-21626: descriptors of the host by number.
    let _outside = std::fs::File::open("/").unwrap();
    for fd in 3..16 {
        plan.process.cwd = format!("/proc/self/fd/{fd}");
        assert!(place.run(&plan).is_err(), "{fd}");
    }
}

#[test]
fn a_terminal_is_the_controlling_one_and_the_console() {
    let place = Box::new();
    let mut plan = place.plan(&shell("tty; stty size; ls -l /dev/console | grep -c ^c; test -t 0 && echo yes; kill -INT $$; sleep 1"));
    plan.process.terminal = true;
    plan.process.terminal_size = Some((30, 100));
    plan.process.user.uid = 1000;
    let mut child = run::spawn(&plan, &[], None, None).unwrap();
    ready(&mut child).unwrap();
    let master = child.take_console().unwrap();
    child.release().unwrap();
    running(&mut child).unwrap();
    let output = read_all(master.into()).replace('\r', "");
    assert_eq!(output, "/dev/pts/0\n30 100\n1\nyes\n");
    wait(&child);
}

#[test]
fn a_waiting_container_is_not_there_any_more_when_its_parent_lets_go() {
    let place = Box::new();
    let mut child = run::spawn(&place.plan(&["true"]), &[], None, None).unwrap();
    ready(&mut child).unwrap();
    let pidfd = child.pidfd_owned().unwrap();
    drop(child);
    assert_eq!(wait_fd(pidfd.as_fd()), 125);
}

#[test]
fn a_bind_source_is_opened_by_the_child_and_not_by_the_caller() {
    let place = Box::new();
    let mut plan = place.plan(&["grep", "^Pid:", "/data"]);
    // It is the file of whoever opens it. A dead network file system would hang that one.
    plan.mounts.push(bind(Path::new("/proc/self/status"), "/data"));
    let (output, stdio) = piped();
    let mut child = run::spawn(&plan, &[], None, Some(stdio)).unwrap();
    ready(&mut child).unwrap();
    child.release().unwrap();
    running(&mut child).unwrap();
    wait(&child);
    assert_eq!(read_all(output), format!("Pid:\t{}\n", child.pid()));
}

#[test]
fn a_plan_of_a_newer_version_and_a_missing_slot_are_refused() {
    let place = Box::new();
    let mut plan = place.plan(&["true"]);
    plan.namespaces.network = Namespace::Slot(Slot(3));
    let error = place.run(&plan).unwrap_err();
    assert_eq!(error.to_string(), "join the network namespace: slot 3 of 0");
    plan.version = VERSION + 1;
    assert_eq!(place.run(&plan).unwrap_err().kind(), Kind::Invalid);
    assert!(place.groups.dirs.iter().all(|dir| !dir.path.exists()), "groups are taken back");
}
