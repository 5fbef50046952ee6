//! Containers in files, and made again of these.

use crate::bundle::{Bundle, wait_for_end};
use crate::support::await_that;
use crate::{is_crun, is_peer, is_runc};
use serde_json::json;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

pub const ABSENT: &str = "skipped: criu is not installed, or does not work on this kernel";

/// Counts in a variable, and shows how far it is in a file.
/// By directories: a file that is open at the dump must have the same size at the restore, and what
/// ran meanwhile would have changed it.
pub const COUNT: &str = "i=0; while :; do i=$((i+1)); mkdir -p /n/$i; sleep 0.01; done";

pub fn has_criu() -> bool {
    let path = crate::bundle::path_with_tools();
    let checked = Command::new("criu").arg("check").env("PATH", path).output();
    checked.is_ok_and(|output| output.status.success())
}

/// A container that can be checkpointed here. Others than ours hold the network still by iptables,
/// which need not be there.
fn dumpable(script: &str) -> Bundle {
    let mut bundle = Bundle::sh(script);
    if is_peer() {
        let config = bundle.dir.join("criu.conf");
        std::fs::write(&config, "network-lock skip\n").unwrap();
        bundle.config["annotations"] = json!({ "org.criu.config": config });
    }
    bundle
}

impl Bundle {
    /// How far it has ever been.
    pub fn count(&self) -> u64 {
        let mut count = 0;
        self.await_count(|is| {
            count = is;
            true
        });
        count
    }

    pub fn await_count_above(&self, least: u64) {
        self.await_count(|is| is > least);
    }

    fn await_count(&self, mut is_right: impl FnMut(u64) -> bool) {
        let folder = self.rootfs().join("n");
        await_that("it counts", || {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let counts = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            counts.max().is_some_and(&mut is_right)
        });
    }

    fn image(&self) -> PathBuf {
        self.dir.join("image")
    }

    fn checkpoint(&self, flags: &[&str]) -> Output {
        let image = self.image();
        let image = ["checkpoint", "--image-path", image.to_str().unwrap()];
        self.call(&[&image, flags, &[&self.id]].concat())
    }

    pub fn checkpointed(&self, flags: &[&str]) {
        let output = self.checkpoint(flags);
        assert!(output.status.success(), "{}", self.why(&output));
    }

    /// Restores it, with its output to nowhere: whoever holds a pipe would keep the caller waiting.
    fn restore(&self, flags: &[&str]) -> Output {
        self.restore_to(flags, &|| Stdio::null())
    }

    fn restore_to(&self, flags: &[&str], to: &dyn Fn() -> Stdio) -> Output {
        let (image, log) = (self.image(), self.dir.join("log"));
        let begin = ["--log", log.to_str().unwrap(), "restore", "--detach", "--bundle"];
        let place = [self.dir.to_str().unwrap(), "--image-path", image.to_str().unwrap()];
        let all = [&begin[..], &place, flags, &[&self.id]].concat();
        let status = self.limited(&all).stdout(to()).stderr(to()).status().unwrap();
        Output { status, stdout: Vec::new(), stderr: std::fs::read(log).unwrap_or_default() }
    }

    pub fn restored(&self, flags: &[&str]) {
        let output = self.restore(flags);
        assert!(output.status.success(), "{}", self.why(&output));
    }

    /// What was said, and criu's logs.
    fn why(&self, output: &Output) -> String {
        let mut text = crate::bundle::text(&output.stderr);
        for log in ["dump.log", "restore.log"] {
            text += &std::fs::read_to_string(self.image().join(log)).unwrap_or_default();
        }
        text
    }

    fn is_gone(&self) {
        self.fails(&["state", &self.id]);
        assert!(self.groups().is_empty());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.id), "{mounts}");
    }
}

#[test]
fn a_restored_container_goes_on_where_it_was() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable(COUNT);
    bundle.start();
    bundle.await_count_above(2);
    let (before, count) = (bundle.pid(), bundle.count());
    bundle.checkpointed(&[]);
    bundle.is_gone();
    let file = bundle.dir.join("pid");
    bundle.restored(&["--pid-file", file.to_str().unwrap()]);
    assert!(bundle.count() >= count, "it counts from the beginning");
    bundle.await_count_above(count + 2);
    assert_eq!(bundle.status(), "running");
    assert_ne!(bundle.pid(), before);
    assert_eq!(std::fs::read_to_string(file).unwrap(), bundle.pid().to_string());
    assert!(!bundle.groups().is_empty());
    assert_eq!(bundle.ok(&["exec", &bundle.id, "cat", "/proc/sys/kernel/hostname"]), "boxed\n");
    let pid = bundle.pid();
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    wait_for_end(pid);
    assert_eq!(bundle.status(), "stopped");
    bundle.ok(&["delete", &bundle.id]);
    bundle.is_gone();
}

#[test]
fn one_that_is_left_running_goes_on_and_keeps_its_id() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable(COUNT);
    bundle.start();
    bundle.await_count_above(0);
    let pid = bundle.pid();
    bundle.checkpointed(&["--leave-running"]);
    bundle.await_count_above(bundle.count() + 1);
    let output = bundle.restore(&[]);
    assert!(!output.status.success());
    assert!(bundle.why(&output).contains("exist"), "{}", bundle.why(&output));
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
    bundle.await_count_above(bundle.count() + 1);
}

#[test]
fn mounts_groups_and_the_filter_of_a_restored_one_are_those_of_its_configuration() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let mut bundle = dumpable(COUNT);
    let shared = bundle.dir.join("shared");
    std::fs::write(&shared, "from outside").unwrap();
    bundle.mount(json!({ "destination": "/etc/shared", "type": "bind", "source": shared,
        "options": ["bind", "ro"] }));
    bundle.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"] }));
    bundle.linux()["maskedPaths"] = json!(["/proc/kcore", "/proc/acpi", "/proc/keys"]);
    bundle.linux()["readonlyPaths"] = json!(["/proc/sys"]);
    bundle.linux()["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_ERRNO" }] });
    bundle.start();
    bundle.await_count_above(0);
    bundle.checkpointed(&[]);
    // The host goes on meanwhile.
    std::fs::write(&shared, "changed meanwhile").unwrap();
    bundle.restored(&[]);
    bundle.await_count_above(bundle.count() + 1);
    assert_eq!(bundle.ok(&["exec", &bundle.id, "cat", "/etc/shared"]), "changed meanwhile");
    assert_eq!(bundle.ok(&["exec", &bundle.id, "cat", "/proc/keys"]), "");
    bundle.fails(&["exec", &bundle.id, "sh", "-c", "echo x > /etc/shared"]);
    bundle.fails(&["exec", &bundle.id, "sh", "-c", "echo x > /proc/sys/kernel/hostname"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    let filter = ["exec", &bundle.id, "grep", "Seccomp:", "/proc/self/status"];
    assert_eq!(bundle.ok(&filter), "Seccomp:\t2\n");
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(text.lines().any(|line| line.ends_with(&bundle.id)), "{text}");
}

#[test]
fn what_it_writes_to_a_file_of_the_host_goes_on_there() {
    // runc and crun take pipes alone.
    if is_peer() {
        return;
    }
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable("while :; do echo said; sleep 0.01; done");
    bundle.write();
    let output = bundle.dir.join("output");
    let open = || File::options().create(true).append(true).open(&output).unwrap();
    let dir = bundle.dir.to_str().unwrap();
    let mut create = bundle.limited(&["create", "--bundle", dir, &bundle.id]);
    create.stdout(open()).stderr(Stdio::null());
    assert!(create.status().unwrap().success());
    bundle.ok(&["start", &bundle.id]);
    let lines = || std::fs::read_to_string(&output).unwrap().lines().count();
    await_that("it writes", || lines() > 1);
    bundle.checkpointed(&[]);
    let before = lines();
    let restored = bundle.restore_to(&[], &|| open().into());
    assert!(restored.status.success(), "{}", bundle.why(&restored));
    await_that("it writes on", || lines() > before);
}

#[test]
fn a_restored_terminal_goes_to_the_console_socket() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let mut bundle = dumpable("while :; do tty; sleep 0.01; done");
    bundle.process()["terminal"] = true.into();
    bundle.write();
    let path = bundle.dir.join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let accept = || {
        let (socket, _) = listener.accept().unwrap();
        let mut fds = Vec::new();
        rrun_sys::fdpass::receive(socket.as_fd(), &mut [0; 64], &mut fds).unwrap();
        File::from(fds.remove(0))
    };
    let reads = |master: &mut File| {
        let mut bytes = [0; 5];
        std::io::Read::read_exact(master, &mut bytes).unwrap();
        assert_eq!(&bytes, b"/dev/");
    };
    let (dir, socket) = (bundle.dir.to_str().unwrap(), path.to_str().unwrap());
    bundle.ok(&["create", "--bundle", dir, "--console-socket", socket, &bundle.id]);
    let mut master = accept();
    bundle.ok(&["start", &bundle.id]);
    reads(&mut master);
    bundle.checkpointed(&[]);
    drop(master);
    bundle.restored(&["--console-socket", socket]);
    // What it had written and nobody had read may be the end of a line.
    let mut master = accept();
    let mut text = String::new();
    while !text.contains("\n/dev/") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut master, &mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
fn in_the_foreground_a_restore_gives_the_exit_code_and_leaves_nothing() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable(": > /count; until [ -e /go ]; do sleep 0.01; done; exit 7");
    bundle.start();
    await_that("it runs", || bundle.rootfs().join("count").exists());
    bundle.checkpointed(&[]);
    std::fs::write(bundle.rootfs().join("go"), "").unwrap();
    let (dir, image) = (bundle.dir.to_str().unwrap(), bundle.image());
    let image = image.to_str().unwrap();
    let args = ["restore", "--bundle", dir, "--image-path", image, &bundle.id];
    let status = bundle.limited(&args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(7));
    bundle.is_gone();
}

#[test]
fn a_namespace_that_was_joined_is_joined_again() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    // It ends with the thread of this test, whatever happens.
    let mut other = Command::new("setpriv");
    other.args(["--pdeathsig", "KILL", "unshare", "--net", "--uts", "sleep", "1000"]);
    let mut other = other.spawn().unwrap();
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", other.id());
    let id = |pid: &str, kind: &str| {
        std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
    };
    let pid = other.id().to_string();
    await_that("it has its own", || ["net", "uts"].iter().all(|k| id(&pid, k) != id("self", k)));
    let mut bundle = dumpable(COUNT);
    bundle.config.as_object_mut().unwrap().remove("hostname");
    bundle.linux()["namespaces"] = json!([
        { "type": "mount" }, { "type": "pid" }, { "type": "ipc" },
        { "type": "network", "path": path("net") }, { "type": "uts", "path": path("uts") }
    ]);
    bundle.start();
    bundle.await_count_above(0);
    bundle.checkpointed(&[]);
    bundle.restored(&[]);
    bundle.await_count_above(bundle.count() + 1);
    for kind in ["net", "uts"] {
        assert_eq!(id(&bundle.pid().to_string(), kind), id(&pid, kind));
    }
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_checkpoint_that_fails_says_why_and_where_the_log_is_and_the_container_goes_on() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let script = format!(": > /lock; /flock /lock sleep 1000 & {COUNT}");
    let mut bundle = dumpable(&script);
    let flock = json!({ "destination": "/flock", "type": "bind", "source": "/usr/bin/flock",
        "options": ["bind", "ro"] });
    bundle.config["mounts"].as_array_mut().unwrap().push(flock);
    bundle.start();
    bundle.await_count_above(0);
    let pid = bundle.pid();
    let output = bundle.checkpoint(&[]);
    assert!(!output.status.success(), "a lock is held");
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
    bundle.await_count_above(bundle.count() + 1);
    if !is_peer() {
        let said = crate::bundle::text(&output.stderr);
        let log = bundle.image().join("dump.log");
        assert!(said.contains("--file-locks") && said.contains(log.to_str().unwrap()), "{said}");
    }
    bundle.checkpointed(&["--file-locks"]);
    bundle.restored(&["--file-locks"]);
    bundle.await_count_above(bundle.count() + 1);
}

#[test]
fn an_image_that_cannot_be_written_is_refused_and_the_container_goes_on() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable(COUNT);
    bundle.start();
    bundle.await_count_above(0);
    std::fs::write(bundle.image(), "no folder").unwrap();
    let output = bundle.checkpoint(&[]);
    assert!(!output.status.success());
    let said = crate::bundle::text(&output.stderr);
    assert!(is_crun() || said.contains(bundle.image().to_str().unwrap()), "{said}");
    assert_eq!(bundle.status(), "running");
    bundle.await_count_above(bundle.count() + 1);
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable(COUNT);
    bundle.write();
    // Not there at all, with nothing in it, and with less than it should have.
    for files in [None, Some(vec![]), Some(vec!["descriptors.json"])] {
        if let Some(files) = &files {
            let _ = std::fs::create_dir(bundle.image());
            files.iter().for_each(|name| std::fs::write(bundle.image().join(name), "[]").unwrap());
        }
        let output = bundle.restore(&[]);
        assert!(!output.status.success(), "{files:?}");
        bundle.is_gone();
        assert!(bundle.rootfs().join("bin/busybox").exists());
    }
}

#[test]
fn a_restore_that_is_killed_is_deleted_by_force() {
    if is_peer() {
        return;
    }
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let bundle = dumpable(COUNT);
    bundle.start();
    bundle.await_count_above(0);
    bundle.checkpointed(&[]);
    let (dir, image) = (bundle.dir.to_str().unwrap(), bundle.image());
    let image = image.to_str().unwrap();
    for point in
        ["oci.restore.place:after", "runtime.restore.tree:after", "oci.create.state:before"]
    {
        let args = ["restore", "--detach", "--bundle", dir, "--image-path", image, &bundle.id];
        let mut killed = bundle.limited(&args);
        killed.env("RRUN_KILL_AT", point).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(!killed.status().unwrap().success(), "{point}");
        bundle.ok(&["delete", "--force", &bundle.id]);
        bundle.is_gone();
        assert!(bundle.rootfs().join("bin/busybox").exists(), "{point}");
    }
    bundle.restored(&[]);
    bundle.await_count_above(bundle.count() + 1);
}

#[test]
fn only_what_runs_can_be_checkpointed() {
    let bundle = dumpable(COUNT);
    bundle.create();
    if !is_crun() {
        assert!(!bundle.checkpoint(&[]).status.success());
        assert_eq!(bundle.status(), "created");
    }
    let pid = bundle.pid();
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    wait_for_end(pid);
    assert!(!bundle.checkpoint(&[]).status.success());
    assert_eq!(bundle.status(), "stopped");
}

#[test]
fn a_paused_container_is_paused_after_its_checkpoint() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    // What they freeze by is not what they tell criu, where v1 is beside v2.
    if is_runc() || is_crun() {
        return;
    }
    let bundle = dumpable(COUNT);
    bundle.start();
    bundle.await_count_above(0);
    bundle.ok(&["pause", &bundle.id]);
    let count = bundle.count();
    bundle.checkpointed(&["--leave-running"]);
    assert_eq!((bundle.status().as_str(), bundle.count()), ("paused", count));
    bundle.ok(&["resume", &bundle.id]);
    bundle.await_count_above(count);
}

#[test]
fn without_criu_one_is_told_so_and_nothing_else_happens() {
    let bundle = dumpable(COUNT);
    bundle.start();
    let path = bundle.image();
    let dir = bundle.dir.to_str().unwrap();
    for args in [
        vec!["checkpoint", "--image-path", path.to_str().unwrap(), &bundle.id],
        vec!["restore", "--image-path", path.to_str().unwrap(), "--bundle", dir, "another"],
    ] {
        let output = bundle.runtime(&args).env("PATH", "/usr/bin/nothing").output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        let said = crate::bundle::text(&output.stderr);
        let name = args.last().unwrap();
        assert!(
            is_peer() || said.ends_with(&format!("{name}: criu: not found in PATH\n")),
            "{said}"
        );
    }
    assert_eq!(bundle.status(), "running");
    assert!(is_peer() || !path.exists());
    bundle.fails(&["state", "another"]);
}

#[test]
fn a_pre_dump_is_made_where_the_kernel_tells_what_memory_has_changed() {
    if !has_criu() {
        return println!("{ABSENT}");
    }
    let mut tracks = Command::new("criu");
    tracks.args(["check", "--feature", "mem_dirty_track"]);
    tracks.env("PATH", crate::bundle::path_with_tools());
    let tracks = tracks.output().unwrap().status.success();
    let bundle = dumpable(COUNT);
    bundle.start();
    bundle.await_count_above(0);
    let before = bundle.dir.join("before");
    let args = ["checkpoint", "--pre-dump", "--image-path", before.to_str().unwrap(), &bundle.id];
    let output = bundle.call(&args);
    assert_eq!(output.status.success(), tracks, "{}", bundle.why(&output));
    assert_eq!(bundle.status(), "running");
    bundle.await_count_above(bundle.count() + 1);
    for wrong in ["/before", "../nothing"] {
        assert!(!bundle.checkpoint(&["--parent-path", wrong]).status.success(), "{wrong}");
    }
    if tracks {
        bundle.checkpointed(&["--parent-path", "../before"]);
        bundle.restored(&[]);
        bundle.await_count_above(bundle.count() + 1);
    }
}
