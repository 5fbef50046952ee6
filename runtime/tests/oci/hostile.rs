//! Containers and bundles that are up to something.

use crate::bundle::{Bundle, text, wait_for_end};
use crate::is_peer;
use crate::support::rounds;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_number_that_is_no_id_makes_nobody_root() {
    let mut bundle = Bundle::new(&["id", "-u"]);
    for (field, value) in [
        ("uid", json!(u32::MAX)),
        ("gid", json!(u32::MAX)),
        ("additionalGids", json!([5, u32::MAX])),
    ] {
        bundle.process()["user"] = json!({ "uid": 5, "gid": 5 });
        bundle.process()["user"][field] = value;
        let (code, output) = bundle.run();
        assert!(code != 0 && !output.starts_with('0'), "{field}: {output}");
    }
    bundle.process()["user"] = json!({ "uid": 5, "gid": 5 });
    bundle.start_sleeping();
    for user in ["4294967295", "5:4294967295", "4294967296", "-1"] {
        bundle.fails(&["exec", "--user", user, &bundle.id, "id"]);
    }
}

#[test]
fn a_process_cannot_hide_by_its_name() {
    let bundle = Bundle::sh(r"printf '\377) Z 1\033[2J' > /proc/1/comm; while :; do sleep 1; done");
    bundle.start();
    let pid = bundle.pid();
    let name = format!("/proc/{pid}/comm");
    until("the name is changed", || std::fs::read(&name).unwrap().contains(&0xff));
    assert_eq!(bundle.status(), "running");
    if !is_peer() {
        assert!(!bundle.ok(&["ps", &bundle.id]).contains('\u{1b}'));
    }
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    wait_for_end(pid);
    assert_eq!(bundle.status(), "stopped");
}

/// A mount point may have any name, and whoever mounts chooses it.
#[test]
fn a_mount_whose_name_is_no_text_is_in_nobodys_way() {
    let bundle = Bundle::new(&["true"]);
    bundle.write();
    let point = bundle.dir.join("odd");
    std::fs::create_dir(&point).unwrap();
    let run = bundle.limited(&["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
    let script = r#"odd="$1/$(printf '\377')"; shift; mkdir "$odd" && mount -t tmpfs odd "$odd" && exec "$@""#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(&point)
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_mask_covers_its_path_however_that_is_written() {
    for path in ["/proc/keys", "//proc//keys", "/proc/./keys", "/proc/../proc/keys", "proc/keys/"] {
        let mut bundle =
            Bundle::sh("cat /proc/keys; echo x 2>/dev/null > /proc/sys/kernel/domainname");
        bundle.linux()["maskedPaths"] = json!([path]);
        bundle.linux()["readonlyPaths"] = json!([path.replace("keys", "sys")]);
        let (code, output) = bundle.run();
        assert!(code != 0 && output.is_empty(), "{path}: {code} {output}");
    }
}

/// The program of the runtime is in the container for a moment, at each exec (CVE-2019-5736).
#[test]
fn the_runtimes_program_cannot_be_written_from_inside() {
    let bundle = Bundle::sh(
        "ln -s /proc/self/exe /bin/me
         while :; do
           for exe in /proc/[0-9]*/exe; do
             [ $exe = /proc/1/exe ] || (exec 3<$exe && echo >> /tried && echo x > /proc/self/fd/3)
             (echo x > $exe)
           done
         done 2>/dev/null",
    );
    let program = bundle.runtime(&[]).get_program().to_owned();
    let before = std::fs::read(&program).unwrap();
    bundle.start();
    let busybox = bundle.rootfs().join("bin/busybox");
    for _ in 0..rounds(40, 10) {
        let output = bundle.call(&["exec", &bundle.id, "/bin/me", "--version"]);
        // It executes itself, or what is left of busybox.
        drop(output);
    }
    assert!(std::fs::read(&program).unwrap() == before, "the runtime's program was written");
    assert!(busybox.exists());
    // A redirection that fails would end a shell that makes it itself, and nobody would have tried.
    assert_eq!(bundle.status(), "running");
    assert!(bundle.rootfs().join("tried").exists());
}

#[test]
fn a_working_directory_or_program_that_is_a_descriptor_of_the_runtime_is_refused() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    // More than it ever has open at once, but by mounts that are on their way.
    let fds = rounds(32, 16);
    for fd in 0..fds {
        for place in ["/proc/self/fd", "/proc/thread-self/fd", "/proc/1/fd"] {
            let directory = format!("{place}/{fd}");
            let output = bundle.call(&[
                "exec",
                "--cwd",
                &directory,
                &bundle.id,
                "ls",
                "../../../etc/hostname",
            ]);
            assert!(!output.status.success(), "{directory}: {}", text(&output.stdout));
        }
    }
    for fd in 0..fds {
        let mut other = Bundle::new(&["ls", "../../../etc/hostname"]);
        other.process()["cwd"] = format!("/proc/self/fd/{fd}").into();
        assert_ne!(other.run().0, 0, "{fd}");
    }
}

/// As one is left by a container in the container that was paused.
#[test]
fn a_group_below_that_is_frozen_by_itself_keeps_nobody_alive() {
    let bundle = Bundle::sh("sleep 1000 & sleep 1001");
    bundle.start();
    let pid = bundle.pid();
    for group in bundle.groups() {
        let below = group.join("below");
        let state = [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")];
        let Some((file, frozen)) = state.into_iter().find(|(file, _)| group.join(file).exists())
        else {
            continue;
        };
        std::fs::create_dir(&below).unwrap();
        std::fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
        std::fs::write(below.join(file), frozen).unwrap();
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    wait_for_end(pid);
}

#[test]
fn many_groups_below_go_with_the_container() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let groups = bundle.groups();
    let group = groups.last().unwrap();
    for n in 0..rounds(1000, 200) {
        std::fs::create_dir(group.join(format!("{n}"))).unwrap();
    }
    let mut deep = group.join("0");
    for _ in 0..100 {
        deep.push("deep");
        std::fs::create_dir(&deep).unwrap();
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn processes_that_multiply_are_all_killed() {
    let mut bundle = Bundle::sh("f() { f & f; }; f");
    bundle.linux()["resources"]["pids"] = json!({ "limit": 200 });
    // Where no controller holds them back, the user's own limit does.
    bundle.process()["user"] = json!({ "uid": 4321, "gid": 4321 });
    bundle.process()["rlimits"] = json!([{ "type": "RLIMIT_NPROC", "soft": 200, "hard": 200 }]);
    if bundle.groups().is_empty() && crate::on_v2() && !crate::v2_limits() {
        bundle.linux()["resources"].as_object_mut().unwrap().remove("pids");
    }
    bundle.start();
    std::thread::sleep(Duration::from_millis(300));
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn of_many_who_make_one_container_one_succeeds_and_of_many_who_delete_it_none_harms_another() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let at_once = |args: &[&str]| -> usize {
        let quiet = |command: &mut Command| {
            use std::process::Stdio;
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let all: Vec<_> = (0..8).map(|_| quiet(&mut bundle.limited(args))).collect();
        all.into_iter()
            .filter_map(|mut child| child.wait().unwrap().success().then_some(()))
            .count()
    };
    for _ in 0..rounds(3, 1) {
        assert_eq!(at_once(&["create", "--bundle", dir, &bundle.id]), 1);
        assert_eq!(at_once(&["start", &bundle.id]), 1);
        assert_eq!(bundle.status(), "running");
        assert!(at_once(&["delete", "--force", &bundle.id]) >= 1);
        bundle.ok(&["delete", "--force", &bundle.id]);
        assert!(bundle.groups().is_empty());
    }
}

#[test]
fn who_makes_a_container_while_others_delete_it_by_force_leaves_nothing_or_a_container() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let begin = |args: &[&str]| {
        use std::process::Stdio;
        bundle.limited(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for round in 0..rounds(240, 8) {
        let first = begin(&["create", "--bundle", dir, &bundle.id]);
        std::thread::sleep(std::time::Duration::from_millis(round as u64 % 30));
        let delete = begin(&["delete", "--force", &bundle.id]);
        let second = begin(&["create", "--bundle", dir, &bundle.id]);
        let ended = [first, delete, second].map(|mut child| child.wait().unwrap().success());
        assert!(ended[1], "round {round}");
        bundle.ok(&["delete", "--force", &bundle.id]);
        assert!(bundle.groups().is_empty(), "round {round}: {ended:?}");
    }
}

#[test]
fn much_of_everything_is_taken_or_refused_in_words() {
    let mut bundle = Bundle::sh("echo $# ${#BIG}");
    let big = "x".repeat(100 << 10);
    bundle.config["annotations"] = json!({ "much": "y".repeat(200 << 10) });
    bundle.process()["env"] = json!(["PATH=/bin", format!("BIG={big}")]);
    let args = bundle.process()["args"].as_array_mut().unwrap();
    args.push("sh".into());
    args.extend((0..100_000).map(|_| json!("a")));
    assert_eq!(bundle.prints(), format!("100000 {}\n", big.len()));
    bundle.process()["env"] = json!([format!("BIG={}", "x".repeat(1 << 20))]);
    let (code, output) = bundle.run();
    assert!(code != 0 && output.to_lowercase().contains("argument list too long"), "{output}");
    for odd in ["NAME", "=x", "", "A=\0"] {
        bundle.process()["env"] = json!([odd]);
        let (code, output) = bundle.run();
        assert!(code != 0 && (is_peer() || output.contains("process.env")), "{odd:?}: {output}");
    }
}

#[test]
fn more_than_a_thousand_mounts_are_made() {
    let mut bundle = Bundle::sh("grep -c ' /m/' /proc/self/mountinfo");
    // The usual soft limit of open files is 1024.
    let count = rounds(3000, 1100);
    for n in 0..count {
        bundle.mount(json!({
            "destination": format!("/m/{n}"), "type": "bind", "source": "/dev/null",
            "options": ["bind", "ro"]
        }));
    }
    assert_eq!(bundle.prints(), format!("{count}\n"));
}

/// A folder of records on a file system that is full at once.
fn full(bundle: &Bundle, options: &str, fill: &str) -> std::process::Output {
    let script = format!(
        "mkdir -p {root} && mount -t tmpfs -o {options} full {root} && {{ {fill}; }}; shift 0; exec \"$@\"",
        root = bundle.root.display()
    );
    let dir = bundle.dir.to_str().unwrap();
    let run = bundle.limited(&["run", "--bundle", dir, &bundle.id]);
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .unwrap()
}

#[test]
fn a_full_folder_of_records_is_told_and_leaves_no_group_and_no_process() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    bundle.write();
    let root = bundle.root.display().to_string();
    let fill = format!("cat /dev/zero > {root}/fill 2>/dev/null || true");
    for (options, fill, words) in [
        ("size=16k", fill.as_str(), "ENOSPC"),
        ("size=1m,nr_inodes=2", "true", "ENOSPC"),
        ("size=1m,nr_inodes=3", "true", "ENOSPC"),
        ("size=1m,ro", "true", "EROFS"),
    ] {
        let output = full(&bundle, options, fill);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{options}: {said}");
        assert!(bundle.groups().is_empty(), "{options}");
    }
}

#[test]
fn a_root_that_is_exchanged_between_create_and_start_changes_nothing_outside() {
    let bundle = Bundle::new(&["/bin/mine"]);
    let rootfs = bundle.rootfs();
    std::os::unix::fs::symlink("busybox", rootfs.join("bin/mine")).unwrap();
    bundle.create();
    for (name, target) in
        [("mine", "/proc/self/exe"), ("mine", "/proc/1/exe"), ("mine", "../../../../../bin/sh")]
    {
        let path = rootfs.join("bin").join(name);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    std::fs::rename(rootfs.join("etc"), rootfs.join("old")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd", rootfs.join("etc")).unwrap();
    // Whatever comes of it happens inside.
    let _ = bundle.call(&["start", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(Path::new("/etc/hostname").exists());
}
