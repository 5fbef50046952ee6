//! `--systemd-cgroup`: containers are scopes of systemd. All but the refusals need a host whose
//! first process is systemd.

use crate::bundle::{Bundle, text, wait_for_end};
use crate::is_peer;
use crate::support::await_that;
use rrun_runtime::systemd::is_running;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SKIPPED: &str = "skipped: systemd is not the first process";

/// A bundle whose container is a scope, and what is left of it taken away at the end.
struct Scoped {
    bundle: Bundle,
    unit: String,
}

impl Scoped {
    /// A scope in `rruntest-oci.slice`.
    fn new(args: &[&str]) -> Scoped {
        let mut bundle = Bundle::new(args);
        let unit = format!("test-{}.scope", bundle.id);
        bundle.linux()["cgroupsPath"] = format!("rruntest-oci.slice:test:{}", bundle.id).into();
        Scoped { bundle, unit }
    }

    fn call(&self, args: &[&str]) -> std::process::Output {
        self.bundle.call(&[&["--systemd-cgroup"], args].concat())
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Creates it, with output to nowhere; the words of a failure.
    fn create(&self, env: &[(&str, &str)]) -> Result<(), String> {
        self.bundle.write();
        let (dir, log) = (self.bundle.dir.to_str().unwrap(), self.bundle.dir.join("log"));
        let log_path = log.to_str().unwrap();
        let args =
            ["--systemd-cgroup", "--log", log_path, "create", "--bundle", dir, &self.bundle.id];
        let mut command = self.bundle.limited(&args);
        command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.status().unwrap().success() {
            true => Ok(()),
            false => Err(std::fs::read_to_string(log).unwrap_or_default()),
        }
    }

    fn start(&self) {
        self.create(&[]).unwrap();
        self.ok(&["start", &self.bundle.id]);
    }

    /// Where it is in the hierarchy that has this controller.
    fn dir(&self, controller: &str) -> PathBuf {
        let root = Path::new("/sys/fs/cgroup");
        let v1 = root.join(controller);
        let root = if v1.exists() { v1 } else { root.to_owned() };
        root.join("rruntest.slice/rruntest-oci.slice").join(&self.unit)
    }

    fn file(&self, controller: &str, v1: &str, v2: &str) -> String {
        let dir = self.dir(controller);
        let file = if crate::on_v2() { v2 } else { v1 };
        std::fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
    }

    /// What limits it, as the kernel has it: memory, shares or weight, quota, processes.
    fn limits(&self) -> [String; 4] {
        [
            self.file("memory", "memory.limit_in_bytes", "memory.max"),
            self.file("cpu", "cpu.shares", "cpu.weight"),
            self.file("cpu", "cpu.cfs_quota_us", "cpu.max"),
            self.file("pids", "pids.max", "pids.max"),
        ]
    }

    fn property(&self, name: &str) -> String {
        systemctl(&["show", "--value", "--property", name, &self.unit])
    }

    /// Whether the host's disk can be read inside.
    fn reads_disk(&self) -> bool {
        let (major, minor) = disk();
        let script = format!(
            "[ -e /tmp/disk ] || mknod /tmp/disk b {major} {minor}; head -c 1 /tmp/disk >/dev/null"
        );
        self.call(&["exec", &self.bundle.id, "sh", "-c", &script]).status.success()
    }

    fn assert_gone(&self) {
        assert_eq!(self.property("LoadState"), "not-found");
        for controller in ["memory", "cpu", "cpuset", "systemd", "unified"] {
            assert!(!self.dir(controller).exists(), "{controller}");
        }
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.bundle.id]);
    }
}

/// The device that the root file system is on.
fn disk() -> (u64, u64) {
    let device = std::fs::metadata("/").unwrap().dev();
    (libc::major(device).into(), libc::minor(device).into())
}

fn systemctl(args: &[&str]) -> String {
    let output = crate::support::limited("systemctl").args(args).output().unwrap();
    assert!(output.status.success(), "systemctl {args:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[test]
fn what_is_no_scope_and_a_host_without_systemd_are_refused_by_name() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let words = bundle.fails(&["--systemd-cgroup", "create", "-b", dir, &bundle.id]);
    assert!(words.contains("linux.cgroupsPath") && words.contains("slice:prefix:name"), "{words}");
    if !is_running() {
        let scoped = Scoped::new(&["true"]);
        let words = scoped.create(&[]).unwrap_err();
        assert!(words.contains("--systemd-cgroup: systemd cannot be reached"), "{words}");
        assert!(words.contains("connect /run/dbus/system_bus_socket: ENOENT"), "{words}");
        assert!(!scoped.bundle.root.join(&scoped.bundle.id).exists());
    }
}

#[test]
fn limits_are_those_that_were_asked_for_and_outlive_a_daemon_reload() {
    if !is_running() {
        return println!("{SKIPPED}");
    }
    if crate::on_v2() && !crate::v2_limits() {
        return println!("skipped: this host has no limits of v2");
    }
    let mut scoped = Scoped::new(&["sleep", "1000"]);
    scoped.bundle.linux()["resources"] = json!({
        "devices": [{ "allow": false, "access": "rwm" },
            { "allow": true, "type": "b", "access": "m" }],
        "memory": { "limit": 67_108_864 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 50 },
    });
    scoped.start();
    let pid = scoped.bundle.pid().to_string();
    assert_eq!(scoped.file("systemd", "cgroup.procs", "cgroup.procs"), pid);
    assert_eq!(scoped.property("Slice"), "rruntest-oci.slice");
    assert_eq!(scoped.property("Delegate"), "yes");
    assert_eq!(scoped.property("TasksMax"), "50");
    let expected = match crate::on_v2() {
        true => ["67108864", "59", "50000 100000", "50"],
        false => ["67108864", "512", "50000", "50"],
    };
    assert_eq!(scoped.limits(), expected);
    assert!(!scoped.reads_disk());

    systemctl(&["daemon-reload"]);
    assert_eq!(scoped.limits(), expected);
    assert!(!scoped.reads_disk());

    let id = scoped.bundle.id.clone();
    scoped.ok(&["update", "--memory", "32M", "--pids-limit", "20", &id]);
    systemctl(&["daemon-reload"]);
    let [memory, shares, quota, pids] = scoped.limits();
    assert_eq!((memory.as_str(), pids.as_str()), ("33554432", "20"));
    assert_eq!((shares.as_str(), quota.as_str()), (expected[1], expected[2]));
    assert!(!scoped.reads_disk());

    // It could be read, were it allowed.
    let mut other = Scoped::new(&["sleep", "1000"]);
    let (major, minor) = disk();
    other.bundle.linux()["resources"]["devices"] = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "b", "major": major, "minor": minor, "access": "rm" },
    ]);
    other.start();
    assert!(other.reads_disk());
}

#[test]
fn every_verb_works_on_a_scope_and_nothing_is_left_of_it() {
    if !is_running() {
        return println!("{SKIPPED}");
    }
    let scoped = Scoped::new(&["sleep", "1000"]);
    scoped.start();
    let id = scoped.bundle.id.as_str();
    scoped.ok(&["pause", id]);
    assert_eq!(scoped.bundle.status(), "paused");
    scoped.ok(&["resume", id]);
    assert_eq!(scoped.bundle.status(), "running");
    assert!(scoped.ok(&["ps", "--format", "json", id]).contains(&scoped.bundle.pid().to_string()));
    scoped.ok(&["exec", id, "true"]);
    let pid = scoped.bundle.pid();
    scoped.ok(&["kill", id, "KILL"]);
    wait_for_end(pid);
    assert_eq!(scoped.bundle.status(), "stopped");
    scoped.ok(&["delete", id]);
    scoped.assert_gone();

    scoped.start();
    scoped.ok(&["delete", "--force", id]);
    scoped.assert_gone();
}

#[test]
fn a_container_without_a_path_is_a_scope_in_the_slice_of_the_system() {
    if !is_running() {
        return println!("{SKIPPED}");
    }
    let mut scoped = Scoped::new(&["sleep", "1000"]);
    scoped.bundle.linux().as_object_mut().unwrap().remove("cgroupsPath");
    scoped.unit = format!("rrun-{}.scope", scoped.bundle.id);
    scoped.start();
    assert_eq!(scoped.property("Slice"), "system.slice");
    assert_eq!(scoped.property("ActiveState"), "active");
}

#[test]
fn a_container_that_cannot_be_made_leaves_no_scope() {
    if !is_running() {
        return println!("{SKIPPED}");
    }
    let mut scoped = Scoped::new(&["true"]);
    scoped.bundle.mount(json!({
        "destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]
    }));
    let words = scoped.create(&[]).unwrap_err();
    assert!(words.contains("/no/such/source"), "{words}");
    scoped.assert_gone();
    assert!(!scoped.bundle.root.join(&scoped.bundle.id).exists());
}

#[test]
fn what_a_killed_create_has_made_goes_with_delete() {
    if !is_running() {
        return println!("{SKIPPED}");
    }
    for at in
        ["runtime.create.scope:before", "runtime.create.scope:after", "oci.create.state:before"]
    {
        let scoped = Scoped::new(&["sleep", "1000"]);
        scoped.create(&[("RRUN_KILL_AT", at)]).unwrap_err();
        assert!(scoped.bundle.root.join(&scoped.bundle.id).exists(), "{at}");
        scoped.ok(&["delete", "--force", &scoped.bundle.id]);
        scoped.assert_gone();
    }
}

#[test]
fn a_scope_of_somebody_else_is_refused_and_goes_on() {
    if !is_running() {
        return println!("{SKIPPED}");
    }
    let scoped = Scoped::new(&["sleep", "1000"]);
    let unit = format!("--unit={}", scoped.unit);
    let mut other = Command::new("systemd-run")
        .args(["--scope", "--slice=rruntest-oci.slice", "--quiet", &unit, "sleep", "1000"])
        .spawn()
        .unwrap();
    let is_active = || scoped.property("ActiveState") == "active";
    await_that("its scope is active", || {
        assert!(other.try_wait().unwrap().is_none(), "systemd-run has ended");
        is_active()
    });
    let words = scoped.create(&[]).unwrap_err();
    assert!(words.contains("holds processes of somebody else"), "{words}");
    scoped.call(&["delete", "--force", &scoped.bundle.id]);
    assert!(is_active());
    systemctl(&["stop", &scoped.unit]);
    other.wait().unwrap();
}
