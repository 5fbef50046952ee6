//! Limits that are changed while the container runs, and a container that is paused.

use crate::bundle::Bundle;
use crate::support::await_that;
use crate::{is_crun, is_peer, on_v2, v2_limits};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

fn running(resources: Value) -> Bundle {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    for (name, value) in resources.as_object().unwrap() {
        bundle.linux()["resources"][name] = value.clone();
    }
    bundle.start();
    bundle
}

/// What a file of a v1 group says.
fn read_v1(bundle: &Bundle, file: &str) -> String {
    let (controller, file) = file.split_once('/').unwrap();
    let path = format!("/sys/fs/cgroup/{controller}/{}/{file}", bundle.id);
    std::fs::read_to_string(&path).unwrap().trim_end().to_owned()
}

fn update(bundle: &Bundle, options: &[&str]) {
    bundle.ok(&[&["update"], options, &[&bundle.id]].concat());
}

#[test]
fn what_is_asked_is_changed_and_the_rest_stays() {
    if on_v2() {
        return println!("skipped: the files are those of v1");
    }
    let bundle = running(json!({
        "memory": { "limit": 64 << 20, "swap": 128 << 20 }, "pids": { "limit": 33 },
        "cpu": { "shares": 512, "quota": 20_000, "period": 50_000 }
    }));
    for (options, files) in [
        (&["--memory", "100M"][..], &[("memory/memory.limit_in_bytes", "104857600")][..]),
        (&["--cpu-share", "2048"], &[("cpu/cpu.shares", "2048")]),
        (
            &["--cpu-quota", "5000", "--cpu-period", "10000"],
            &[("cpu/cpu.cfs_quota_us", "5000"), ("cpu/cpu.cfs_period_us", "10000")],
        ),
        (
            &["--cpu-quota", "90000", "--cpu-period", "100000"],
            &[("cpu/cpu.cfs_quota_us", "90000"), ("cpu/cpu.cfs_period_us", "100000")],
        ),
        (&["--cpu-quota", "-1"], &[("cpu/cpu.cfs_quota_us", "-1")]),
        (
            &["--cpuset-cpus", "0", "--cpuset-mems", "0"],
            &[("cpuset/cpuset.cpus", "0"), ("cpuset/cpuset.mems", "0")],
        ),
        (&["--memory-reservation", "32m"], &[("memory/memory.soft_limit_in_bytes", "33554432")]),
        (&["--pids-limit", "44"], &[("pids/pids.max", "44")]),
        (&["--pids-limit", "-1"], &[("pids/pids.max", "max")]),
        (&["--memory", "0", "--cpu-share", "0"], &[("cpu/cpu.shares", "2048")]),
    ] {
        update(&bundle, options);
        for (file, value) in files {
            assert_eq!(read_v1(&bundle, file), *value, "{options:?}: {file}");
        }
    }
    assert_eq!(read_v1(&bundle, "memory/memory.limit_in_bytes"), "104857600");
    assert_eq!(read_v1(&bundle, "memory/memory.memsw.limit_in_bytes"), "134217728");
}

#[test]
fn what_is_asked_is_changed_on_v2_and_the_rest_stays() {
    if !v2_limits() {
        return println!("skipped: this host has no limits of v2");
    }
    let bundle = running(json!({
        "memory": { "limit": 64 << 20, "swap": 128 << 20 }, "pids": { "limit": 33 },
        "cpu": { "shares": 512, "quota": 20_000, "period": 50_000 }
    }));
    let read = |file: &str| {
        let path = format!("/sys/fs/cgroup/{}/{file}", bundle.id);
        std::fs::read_to_string(&path).unwrap().trim_end().to_owned()
    };
    assert_eq!(read("memory.swap.max"), (64 << 20).to_string());
    for (options, file, value) in [
        (&["--memory", "100M", "--memory-swap", "128m"][..], "memory.max", "104857600"),
        (&["--cpu-share", "1024"], "cpu.weight", "100"),
        (&["--cpu-quota", "5000", "--cpu-period", "10000"], "cpu.max", "5000 10000"),
        (&["--cpu-quota", "-1"], "cpu.max", "max 10000"),
        (&["--cpuset-cpus", "0"], "cpuset.cpus", "0"),
        (&["--memory-reservation", "32m"], "memory.low", "33554432"),
        (&["--pids-limit", "44"], "pids.max", "44"),
        (&["--pids-limit", "-1"], "pids.max", "max"),
    ] {
        update(&bundle, options);
        assert_eq!(read(file), value, "{options:?}: {file}");
    }
    assert_eq!(read("memory.max"), "104857600");
    assert_eq!(read("memory.swap.max"), (28 << 20).to_string());
}

#[test]
fn memory_and_swap_go_up_and_down_together_and_alone() {
    if on_v2() {
        return println!("skipped: the files are those of v1");
    }
    let bundle = running(json!({ "memory": { "limit": 64 << 20, "swap": 64 << 20 } }));
    let both = || {
        let file = |name| read_v1(&bundle, name).parse::<u64>().unwrap() >> 20;
        (file("memory/memory.limit_in_bytes"), file("memory/memory.memsw.limit_in_bytes"))
    };
    for (options, expected) in [
        (&["--memory", "128m", "--memory-swap", "128m"][..], (128, 128)),
        (&["--memory", "32m", "--memory-swap", "32m"], (32, 32)),
        // Alone: it is held against what is in force.
        (&["--memory-swap", "96m"], (32, 96)),
        (&["--memory", "64m"], (64, 96)),
        (&["--memory-swap", "64m"], (64, 64)),
    ] {
        update(&bundle, options);
        assert_eq!(both(), expected, "{options:?}");
    }
    if !is_peer() {
        let words = bundle.fails(&["update", "--memory-swap", "32m", &bundle.id]);
        assert!(words.contains("less than the limit"), "{words}");
        let words = bundle.fails(&["update", "--memory", "80m", &bundle.id]);
        assert!(words.contains("linux.resources.memory.swap"), "{words}");
        assert_eq!(both(), (64, 64));
    }
    update(&bundle, &["--memory", "-1"]);
    let unlimited = both();
    assert!(unlimited.0 > 1 << 40 && unlimited.1 > 1 << 40, "{unlimited:?}");
}

#[test]
fn real_time_of_processors_is_changed_in_an_order_that_the_kernel_takes() {
    let file = std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us");
    if on_v2() || !file.exists() {
        return println!("skipped: this host shares out no real time");
    }
    let bundle = running(json!({}));
    for (period, runtime) in [("500000", "100000"), ("50000", "20000"), ("900000", "300000")] {
        update(&bundle, &["--cpu-rt-period", period, "--cpu-rt-runtime", runtime]);
        assert_eq!(read_v1(&bundle, "cpu/cpu.rt_period_us"), period);
        assert_eq!(read_v1(&bundle, "cpu/cpu.rt_runtime_us"), runtime);
    }
    update(&bundle, &["--cpu-rt-runtime", "0"]);
    let left = if is_peer() { read_v1(&bundle, "cpu/cpu.rt_runtime_us") } else { "300000".into() };
    assert_eq!(read_v1(&bundle, "cpu/cpu.rt_runtime_us"), left, "0 says nothing");
}

#[test]
fn what_no_kernel_here_has_is_refused_by_its_name() {
    if is_peer() {
        return;
    }
    let bundle = running(json!({}));
    for (option, value, word) in [
        ("--kernel-memory", "1m", "linux.resources.memory.kernel"),
        ("--l3-cache-schema", "L3:0=f", "Intel RDT"),
        ("--mem-bw-schema", "MB:0=50", "Intel RDT"),
    ] {
        let words = bundle.fails(&["update", option, value, &bundle.id]);
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn resources_come_from_a_file_or_from_stdin() {
    if on_v2() {
        return println!("skipped: the files are those of v1");
    }
    let bundle = running(json!({}));
    let file = bundle.dir.join("resources.json");
    std::fs::write(&file, json!({ "pids": { "limit": 7 } }).to_string()).unwrap();
    update(&bundle, &["-r", file.to_str().unwrap()]);
    assert_eq!(read_v1(&bundle, "pids/pids.max"), "7");
    let mut child =
        bundle.limited(&["update", "-r", "-", &bundle.id]).stdin(Stdio::piped()).spawn().unwrap();
    let text = json!({ "pids": { "limit": 8 }, "cpu": { "idle": 0 } }).to_string();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read_v1(&bundle, "pids/pids.max"), "8");
}

#[test]
fn an_update_that_is_refused_half_way_is_taken_back() {
    if on_v2() || is_peer() {
        return println!("skipped: the files are those of v1, the words ours");
    }
    let bundle = running(json!({ "memory": { "limit": 64 << 20, "swap": -1 } }));
    // Memory is written before the processors, of which there is none with that number.
    let words = bundle.fails(&["update", "--memory", "32m", "--cpuset-cpus", "99999", &bundle.id]);
    assert!(words.contains("cpuset.cpus"), "{words}");
    assert_eq!(read_v1(&bundle, "memory/memory.limit_in_bytes"), (64 << 20).to_string());
}

#[test]
fn a_limit_below_what_is_used_is_refused_where_that_is_asked() {
    if is_peer() {
        return;
    }
    if on_v2() && !v2_limits() {
        return println!("skipped: this host has no limits of v2");
    }
    let bundle = running(json!({}));
    let file = bundle.dir.join("resources.json");
    let resources = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } });
    std::fs::write(&file, resources.to_string()).unwrap();
    let words = bundle.fails(&["update", "-r", file.to_str().unwrap(), &bundle.id]);
    assert!(words.contains("checkBeforeUpdate"), "{words}");
    assert_eq!(bundle.status(), "running");
}

/// Whether a process of the container may open a device for reading.
fn reads(bundle: &Bundle, device: &str) -> bool {
    bundle.call(&["exec", &bundle.id, "sh", "-c", &format!(": < {device}")]).status.success()
}

#[test]
fn the_rules_of_devices_are_replaced() {
    if is_peer() {
        return;
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    // FUSE: open to everybody but for the rules.
    bundle.linux()["devices"] = json!([
        { "path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666 }
    ]);
    bundle.start();
    let rules = |allow: bool| {
        json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": allow, "type": "c", "major": 10, "minor": 229, "access": "r" }
        ] })
    };
    let file = bundle.dir.join("resources.json");
    assert!(!reads(&bundle, "/dev/mine"));
    for allow in [true, false, true] {
        std::fs::write(&file, rules(allow).to_string()).unwrap();
        update(&bundle, &["-r", file.to_str().unwrap()]);
        assert_eq!(reads(&bundle, "/dev/mine"), allow);
        assert!(reads(&bundle, "/dev/zero"));
    }
    std::fs::write(&file, json!({ "devices": [{ "allow": true }] }).to_string()).unwrap();
    update(&bundle, &["-r", file.to_str().unwrap()]);
    assert!(reads(&bundle, "/dev/mine"));
    std::fs::write(&file, rules(false).to_string()).unwrap();
    update(&bundle, &["-r", file.to_str().unwrap()]);
    assert!(!reads(&bundle, "/dev/mine"));
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let bundle = Bundle::sh("while :; do echo x >> /ticks; done");
    bundle.start();
    let ticks = || {
        let file = std::fs::metadata(bundle.rootfs().join("ticks"));
        file.map_or(0, |file| file.len())
    };
    await_that("it ticks", || ticks() > 0);
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    let before = ticks();
    if !is_peer() {
        assert!(bundle.fails(&["exec", &bundle.id, "true"]).contains("paused"));
        assert!(bundle.fails(&["delete", &bundle.id]).contains("paused"));
        assert!(bundle.fails(&["pause", &bundle.id]).contains("paused"));
    }
    assert_eq!(ticks(), before);
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    await_that("it ticks again", || ticks() > before);
    assert!(!bundle.fails(&["resume", &bundle.id]).is_empty());
}

#[test]
fn one_that_was_not_started_is_paused_and_is_not_started_before_it_is_resumed() {
    let bundle = Bundle::sh(": > /ran; sleep 1000");
    let ran = bundle.rootfs().join("ran");
    bundle.create();
    bundle.ok(&["pause", &bundle.id]);
    // crun tells of it as of one that may be started, and waits for ever then.
    if !is_crun() {
        assert_eq!(bundle.status(), "paused");
        bundle.fails(&["start", &bundle.id]);
    }
    if !is_peer() {
        let args = ["exec", "--ignore-paused", "--cap", "CAP_SYS_PTRACE", &bundle.id, "true"];
        let words = bundle.fails(&args);
        assert!(words.contains("CAP_SYS_PTRACE"), "{words}");
    }
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(bundle.status(), "created");
    assert!(!ran.exists());
    bundle.ok(&["start", &bundle.id]);
    await_that("it runs", || ran.exists());
    let other = Bundle::new(&["true"]);
    other.create();
    other.ok(&["pause", &other.id]);
    let pid = other.pid();
    other.ok(&["delete", "--force", &other.id]);
    crate::bundle::wait_for_end(pid);
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let pid = bundle.pid();
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    crate::bundle::wait_for_end(pid);
    assert!(bundle.groups().is_empty());
}
