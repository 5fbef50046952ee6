//! Limits, where this machine has the controllers.

use crate::bundle::{Bundle, text};
use crate::{is_peer, on_v2, v2_limits};
use serde_json::{Value, json};

fn with(resources: &[(&str, Value)]) -> Bundle {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    for (name, value) in resources {
        bundle.linux()["resources"][*name] = value.clone();
    }
    bundle
}

#[test]
fn limits_are_written_to_the_groups() {
    let bundle = with(&[
        ("memory", json!({ "limit": 64 << 20, "reservation": 32 << 20 })),
        ("cpu", json!({ "shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0" })),
        ("pids", json!({ "limit": 33 })),
    ]);
    if v2_limits() {
        return limits_are_in(
            &bundle,
            &[
                ("memory.max", "67108864"),
                ("memory.low", "33554432"),
                ("cpu.weight", "59"),
                ("cpu.max", "20000 50000"),
                ("cpuset.cpus", "0"),
                ("pids.max", "33"),
            ],
        );
    }
    if on_v2() {
        // None of these controllers is here: refused by name, not passed over.
        if !is_peer() {
            let (code, output) = bundle.run();
            assert!(code != 0 && output.contains("linux.resources.memory"), "{output}");
        }
        return;
    }
    bundle.start();
    for (file, value) in [
        ("memory/memory.limit_in_bytes", "67108864"),
        ("memory/memory.soft_limit_in_bytes", "33554432"),
        ("cpu/cpu.shares", "512"),
        ("cpu/cpu.cfs_quota_us", "20000"),
        ("cpu/cpu.cfs_period_us", "50000"),
        ("cpuset/cpuset.cpus", "0"),
        ("pids/pids.max", "33"),
    ] {
        let (controller, file) = file.split_once('/').unwrap();
        let path = format!("/sys/fs/cgroup/{controller}/{}/{file}", bundle.id);
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim_end(), value, "{path}");
        let procs = format!("/sys/fs/cgroup/{controller}/{}/cgroup.procs", bundle.id);
        let procs = std::fs::read_to_string(procs).unwrap();
        assert_eq!(procs.trim_end(), bundle.pid().to_string(), "{controller}");
    }
}

/// Starts it, and reads the files of its one group.
fn limits_are_in(bundle: &Bundle, files: &[(&str, &str)]) {
    bundle.start();
    let group = std::path::Path::new("/sys/fs/cgroup").join(&bundle.id);
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap();
    for (file, value) in files {
        assert_eq!(read(file).trim_end(), *value, "{file}");
    }
    assert_eq!(read("cgroup.procs").trim_end(), bundle.pid().to_string());
}

#[test]
fn what_is_unlimited_needs_no_controller() {
    let bundle = with(&[
        ("memory", json!({ "limit": -1 })),
        ("cpu", json!({ "shares": 0 })),
        ("pids", json!({ "limit": -1 })),
    ]);
    bundle.start();
    assert_eq!(bundle.status(), "running");
}

#[test]
fn more_processes_than_allowed_cannot_be_made() {
    if on_v2() && !v2_limits() {
        return println!("skipped: nothing limits processes here");
    }
    let mut bundle = Bundle::sh("for i in 1 2 3 4 5 6; do sleep 5 & done 2>&1; echo end");
    bundle.linux()["resources"]["pids"] = json!({ "limit": 3 });
    let (_, output) = bundle.run();
    assert!(output.contains("fork"), "{output}");
}

/// The output of the runtime when its caller may open so many files at once, of 4096 at most.
fn called_with(bundle: &Bundle, soft: u32, args: &[&str]) -> String {
    let runtime = bundle.limited(args);
    let mut command = std::process::Command::new("prlimit");
    command.arg(format!("--nofile={soft}:4096")).arg(runtime.get_program());
    let output = command.args(runtime.get_args()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Each mount on its way is a descriptor.
#[test]
fn more_mounts_than_its_caller_may_open_files_are_made() {
    let mut bundle = Bundle::sh("grep -c ' /m/' /proc/self/mountinfo");
    for n in 0..300 {
        bundle.mount(json!({
            "destination": format!("/m/{n}"), "type": "bind", "source": "/dev/null",
            "options": ["bind", "ro"]
        }));
    }
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    assert_eq!(called_with(&bundle, 64, &["run", "--bundle", dir, &bundle.id]), "300\n");
}

#[test]
fn a_process_that_asks_for_no_limit_of_files_has_its_callers() {
    const SHOW: &str = "ulimit -Sn; ulimit -Hn";
    let bundle = Bundle::sh(SHOW);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let run = called_with(&bundle, 64, &["run", "--bundle", dir, &bundle.id]);
    assert_eq!(run, "64\n4096\n");
    // An exec's caller is another one.
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let exec = called_with(&bundle, 65, &["exec", &bundle.id, "sh", "-c", SHOW]);
    assert_eq!(exec, "65\n4096\n");
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.process()["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    bundle.start();
    let exec = called_with(&bundle, 65, &["exec", &bundle.id, "sh", "-c", SHOW]);
    assert_eq!(exec, "100\n200\n");
}
