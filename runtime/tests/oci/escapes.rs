//! Known ways out of a container, tried: one test for each, which SECURITY.md lists.

use crate::bundle::{Bundle, text};
use crate::is_peer;
use crate::support::rounds;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a privileged container has of the capabilities that these attacks want.
fn privileged(bundle: &mut Bundle) {
    let all = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_ADMIN",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_ADMIN",
        "CAP_MKNOD",
    ];
    bundle.process()["capabilities"] =
        json!({ "bounding": all, "effective": all, "permitted": all });
}

/// Takes the place of a directory of the root.
fn instead(bundle: &Bundle, name: &str, target: &str) {
    let path = bundle.rootfs().join(name);
    let _ = fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

fn without_mount(bundle: &mut Bundle, destination: &str) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != destination);
}

fn refused(bundle: &Bundle, what: &str) {
    let (code, output) = bundle.run();
    assert_ne!(code, 0, "{what}: {output}");
}

/// The container executes the runtime, and writes to whatever it finds as anybody's program, with
/// every right that it can have, until nobody executes it any more.
#[test]
fn cve_2019_5736_the_runtimes_program_is_not_written() {
    let mut bundle = Bundle::sh(
        "while :; do
           for exe in /proc/[0-9]*/exe; do
             [ $exe = /proc/1/exe ] || [ $exe -ef /bin/busybox ] || (
               exec 3<$exe && echo >> /tried || exit
               n=0; until echo x > /proc/self/fd/3 || [ $n = 3000 ]; do n=$((n+1)); done
             )
             (echo x > $exe)
           done
         done 2>/dev/null",
    );
    privileged(&mut bundle);
    let bin = bundle.rootfs().join("bin");
    symlink("/proc/self/exe", bin.join("me")).unwrap();
    fs::write(bin.join("script"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(bin.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let program = bundle.runtime(&[]).get_program().to_owned();
    let before = fs::read(&program).unwrap();
    bundle.start();
    for _ in 0..rounds(40, 10) {
        for me in ["/bin/me", "/bin/script"] {
            let _ = bundle.call(&["exec", &bundle.id, me, "--version"]);
        }
    }
    assert!(bundle.status() == "running" && bundle.rootfs().join("tried").exists());
    for me in ["/bin/me", "/bin/script", "/proc/self/exe"] {
        let mut first = Bundle::new(&[me, "--version"]);
        privileged(&mut first);
        for name in ["me", "script"] {
            let (from, to) = (bin.join(name), first.rootfs().join("bin").join(name));
            match name {
                "me" => symlink("/proc/self/exe", to).unwrap(),
                _ => fs::copy(from, to).map(drop).unwrap(),
            }
        }
        let _ = first.run();
    }
    assert!(fs::read(&program).unwrap() == before, "the runtime's program was written");
}

/// A volume at `/proc` would take what is written there for a security module.
#[test]
fn cve_2019_16884_a_volume_is_not_taken_for_proc() {
    let mut bundle = Bundle::new(&["true"]);
    without_mount(&mut bundle, "/proc");
    let fake = bundle.dir.join("fake");
    fs::create_dir_all(fake.join("self/attr")).unwrap();
    bundle.mount(json!({
        "destination": "/proc", "type": "bind", "source": fake, "options": ["rbind"]
    }));
    refused(&bundle, "bind");
    without_mount(&mut bundle, "/proc");
    bundle.mount(json!({ "destination": "/proc", "type": "tmpfs", "source": "tmpfs" }));
    refused(&bundle, "tmpfs");
}

#[test]
fn cve_2019_19921_proc_is_not_mounted_through_a_link() {
    let bundle = Bundle::new(&["true"]);
    fs::create_dir(bundle.rootfs().join("evil")).unwrap();
    instead(&bundle, "proc", "evil");
    refused(&bundle, "a link to a directory of the root");
}

/// Exchanges a directory of a volume for a link to somewhere else while containers are made that have a
/// mount below it; true if something was made there.
fn exchanged(target: &Path, kind: serde_json::Value) -> bool {
    let mut bundle = Bundle::new(&["true"]);
    let volume = bundle.dir.join("volume");
    fs::create_dir_all(volume.join("at")).unwrap();
    symlink(target, volume.join("link")).unwrap();
    bundle.mount(json!({
        "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]
    }));
    bundle.mount(kind);
    let (at, link) = (volume.join("at"), volume.join("link"));
    // One that is refused for another reason would try nothing.
    assert_eq!(bundle.run().0, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, &at, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE);
            }
        });
        for _ in 0..rounds(100, 20) {
            let _ = bundle.run();
            bundle.ok(&["delete", "--force", &bundle.id]);
        }
        done.store(true, Ordering::Relaxed);
    });
    fs::read_dir(target).unwrap().next().is_some()
}

#[test]
fn cve_2021_30465_a_target_that_is_exchanged_for_a_link_leads_no_mount_outside() {
    let outside = tempfile::tempdir().unwrap();
    let kind = json!({ "destination": "/volume/at/below", "type": "tmpfs", "source": "tmpfs" });
    assert!(!exchanged(outside.path(), kind), "something was made outside");
}

#[test]
fn cve_2022_0811_a_kernel_parameter_of_the_host_is_not_set() {
    let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    for (name, value) in [
        ("kernel.core_pattern", "|/bin/evil"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/bin/evil"),
        ("kernel.shm_rmid_forced/../core_pattern", "|/bin/evil"),
        ("net.ipv4/../../kernel/core_pattern", "|/bin/evil"),
        ("kernel.domainname/../core_pattern", "|/bin/evil"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.linux()["sysctl"] = json!({ name: value });
        if !is_peer() {
            refused(&bundle, name);
        }
        assert_eq!(pattern(), before, "{name}");
    }
}

#[test]
fn cve_2022_29162_a_process_inherits_no_capability() {
    let mut bundle = Bundle::sh("grep CapInh /proc/self/status; sleep 1000");
    bundle.start_sleeping();
    for args in [&["exec", "--cap", "CAP_NET_RAW"][..], &["exec"]] {
        let command = ["grep", "CapInh", "/proc/self/status"];
        let output = bundle.ok(&[args, &[bundle.id.as_str()], &command].concat());
        assert!(output.trim_end().ends_with("0000000000000000"), "{output}");
    }
}

/// With masks: those were put through the link.
#[test]
fn cve_2023_27561_masks_are_not_put_through_a_link_at_proc() {
    let mut bundle = Bundle::new(&["cat", "/proc/keys"]);
    fs::create_dir_all(bundle.rootfs().join("evil/proc")).unwrap();
    instead(&bundle, "proc", "evil/proc");
    bundle.linux()["maskedPaths"] = json!(["/proc/keys"]);
    bundle.linux()["readonlyPaths"] = json!(["/proc/sys"]);
    refused(&bundle, "proc");
}

#[test]
fn cve_2023_28642_neither_proc_nor_sys_is_a_link() {
    for (name, target) in [("proc", "/tmp"), ("proc", "."), ("sys", "/tmp"), ("sys", "proc")] {
        let bundle = Bundle::new(&["true"]);
        instead(&bundle, name, target);
        refused(&bundle, name);
    }
}

#[test]
fn cve_2024_21626_no_working_directory_lies_outside() {
    for fd in 0..rounds(32, 12) {
        // From outside it would be found as well.
        let mut bundle = Bundle::new(&["/bin/true"]);
        bundle.process()["cwd"] = format!("/proc/self/fd/{fd}").into();
        refused(&bundle, &format!("{fd}"));
    }
}

/// Directories and empty files for mounts were made where a link led.
#[test]
fn cve_2024_45310_no_empty_file_is_made_outside() {
    let outside = tempfile::tempdir().unwrap();
    let kind = json!({
        "destination": "/volume/at/file", "type": "bind", "source": "/dev/null", "options": ["bind"]
    });
    assert!(!exchanged(outside.path(), kind), "something was made outside");
}

/// The null device of the image lies over masked paths, and may be anything.
#[test]
fn cve_2025_31133_a_null_device_of_the_image_masks_nothing() {
    for target in ["/proc/sys/kernel/core_pattern", "/etc/passwd", "zero"] {
        let mut bundle = Bundle::sh("cat /proc/keys; echo x > /proc/keys");
        without_mount(&mut bundle, "/dev/pts");
        without_mount(&mut bundle, "/dev");
        let dev = bundle.rootfs().join("dev");
        fs::create_dir_all(&dev).unwrap();
        let _ = fs::remove_file(dev.join("null"));
        symlink(target, dev.join("null")).unwrap();
        bundle.linux()["maskedPaths"] = json!(["/proc/keys"]);
        refused(&bundle, target);
    }
}

/// The terminal was bound where a link at its place led, before paths there were masked.
#[test]
fn cve_2025_52565_the_console_is_bound_over_no_file_of_proc() {
    for target in ["/proc/sysrq-trigger", "/proc/self/attr/exec", "../proc/keys"] {
        let mut bundle = Bundle::new(&["true"]);
        without_mount(&mut bundle, "/dev");
        let dev = bundle.rootfs().join("dev");
        fs::create_dir_all(dev.join("pts")).unwrap();
        let _ = fs::remove_file(dev.join("console"));
        symlink(target, dev.join("console")).unwrap();
        bundle.process()["terminal"] = true.into();
        bundle.write();
        let socket = bundle.dir.join("console.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (dir, socket) = (bundle.dir.to_str().unwrap(), socket.to_str().unwrap());
        bundle.fails(&["create", "--bundle", dir, "--console-socket", socket, &bundle.id]);
    }
}

/// What is written to procfs for a process goes to the real one.
#[test]
fn cve_2025_52881_nothing_stands_between_the_runtime_and_procfs() {
    for path in ["self/attr", "sys/kernel", "self", "thread-self/attr/exec", "1/attr"] {
        let mut bundle = Bundle::new(&["true"]);
        let fake = bundle.dir.join("fake");
        fs::create_dir_all(&fake).unwrap();
        bundle.mount(json!({
            "destination": format!("/proc/{path}"), "type": "bind", "source": fake,
            "options": ["rbind"]
        }));
        refused(&bundle, path);
    }
}

/// Its first process kills, and stops, everything else that it can see.
#[test]
fn an_exec_beside_a_hostile_first_process_ends_one_way_or_another() {
    let bundle = Bundle::sh(
        "while :; do
           for p in /proc/[0-9]*; do
             p=${p#/proc/}; [ $p = 1 ] || kill -9 $p; echo 1000 > /proc/$p/oom_score_adj
           done
         done 2>/dev/null",
    );
    bundle.start();
    for _ in 0..rounds(40, 10) {
        // Whatever becomes of it is told, and is not that it was ended for want of an end.
        let output = bundle.call(&["exec", &bundle.id, "true"]);
        let words = text(&output.stderr);
        match output.status.code() {
            Some(0 | 137) => {}
            Some(124) | None => panic!("it does not end: {words}"),
            Some(code) => assert!(!words.is_empty(), "{code}"),
        }
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn an_exec_into_a_container_that_fills_its_limit_of_processes_is_refused_and_that_one_is_deleted() {
    if crate::on_v2() && !crate::v2_limits() {
        return;
    }
    let mut bundle = Bundle::sh("while :; do sleep 1000 & done 2>/dev/null; sleep 1000");
    bundle.linux()["resources"]["pids"] = json!({ "limit": 8 });
    bundle.start();
    std::thread::sleep(std::time::Duration::from_millis(300));
    bundle.fails(&["exec", &bundle.id, "true"]);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

/// As somebody does who may signal it before it is whole.
#[test]
fn a_first_process_that_is_stopped_while_it_is_made_is_deleted_by_force() {
    if is_peer() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    let seen = bundle.dir.join("seen");
    let script = format!(
        "kill -STOP $(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); touch {}",
        seen.display()
    );
    bundle.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let mut create = bundle.limited(&["create", "--bundle", dir, &bundle.id]);
    let null = std::process::Stdio::null;
    let mut create = create.stdout(null()).stderr(null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !seen.exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(!create.wait().unwrap().success());
}

#[test]
fn a_configuration_of_ten_mebibytes_is_taken() {
    let mut bundle = Bundle::new(&["echo", "fine"]);
    bundle.config["annotations"] = json!({ "much": "y".repeat(10 << 20) });
    assert_eq!(bundle.prints(), "fine\n");
}
