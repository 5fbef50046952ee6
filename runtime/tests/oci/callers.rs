//! The command line as containerd, CRI-O, podman and docker write it.

use crate::bundle::Bundle;
use crate::support::await_that;
use crate::{is_crun, is_peer, is_runc};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

/// The one line of a log in JSON.
fn logged(bundle: &Bundle, args: &[&str]) -> Value {
    let log = bundle.dir.join("log.json");
    let _ = std::fs::remove_file(&log);
    let all = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    bundle.fails(&[&all, args].concat());
    let text = std::fs::read_to_string(log).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn an_error_is_a_line_of_json_with_the_words_that_callers_look_for() {
    let bundle = Bundle::new(&["true"]);
    let line = logged(&bundle, &["state", "nobody"]);
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"), "{line}");
    assert!(line["time"].as_str().unwrap().contains('T'), "{line}");
    bundle.create();
    let pid = bundle.pid();
    bundle.ok(&["start", &bundle.id]);
    crate::bundle::wait_for_end(pid);
    let line = logged(&bundle, &["kill", &bundle.id, "9"]);
    assert!(line["msg"].as_str().unwrap().contains("container not running"), "{line}");
}

#[test]
fn a_detached_exec_of_a_process_file_with_a_terminal_gives_terminal_and_pid() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let path = |name: &str| bundle.dir.join(name).to_str().unwrap().to_owned();
    let (process, socket, pid) = (path("process.json"), path("console"), path("exec-pid"));
    // conmon says both, a terminal in the file and beside it; either is enough for us.
    let config = serde_json::json!({
        "terminal": is_peer(), "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "tty; read line; echo got $line"]
    });
    std::fs::write(&process, config.to_string()).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let mut args = vec!["exec", "--pid-file", &pid, "--process", &process, "--detach", "--tty"];
    args.extend(["--console-socket", &socket, &bundle.id]);
    bundle.ok(&args);
    let (connection, _) = listener.accept().unwrap();
    let mut fds = Vec::new();
    rrun_sys::fdpass::receive(connection.as_fd(), &mut [0; 64], &mut fds).unwrap();
    let pid = std::fs::read_to_string(pid).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NSpid:"), "{status}");
    let mut master = std::fs::File::from(fds.remove(0));
    master.write_all(b"it\r").unwrap();
    let (mut said, mut bytes) = (String::new(), [0; 256]);
    // EIO is how a terminal ends whose last user has gone.
    while let Ok(count @ 1..) = master.read(&mut bytes) {
        said += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    assert!(said.contains("/dev/pts/") && said.contains("got it"), "{said}");
}

#[test]
fn processes_and_figures_are_told_in_json() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let pids: Vec<i32> =
        serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert_eq!(pids, [bundle.pid()]);
    let event: Value =
        serde_json::from_str(&bundle.ok(&["events", "--stats", &bundle.id])).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &bundle.id.clone().into()));
    assert!(event["data"]["cpu"]["usage"].is_object(), "{event}");
    if !crate::on_v2() || crate::v2_limits() {
        assert!(event["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{event}");
        assert_eq!(event["data"]["pids"]["current"], 1, "{event}");
    }
}

#[test]
fn events_come_until_the_container_ends() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let mut events = bundle
        .limited(&["events", "--interval=20ms", &bundle.id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(events.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(output);
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    // To its end.
    assert!(lines.all(|line| line.is_ok()));
    assert!(events.wait().unwrap().success());
    if !is_peer() {
        bundle.fails(&["events", "--stats", &bundle.id]);
    }
}

#[test]
fn lines_of_ps_are_those_of_the_containers_processes() {
    if is_crun() {
        return println!("skipped: crun has no such options");
    }
    let bundle = Bundle::new(&["sleep", "1234"]);
    bundle.start();
    // Our own, with all of this host's processes.
    let lines = bundle.ok(&["ps", &bundle.id, "-e", "-o", "pid,args"]);
    let lines: Vec<Vec<&str>> = lines.lines().map(|l| l.split_whitespace().collect()).collect();
    let pid = bundle.pid().to_string();
    assert_eq!(lines, [&["PID", "COMMAND"][..], &[&pid, "sleep", "1234"]]);
}

#[test]
fn a_configuration_of_another_name_is_taken() {
    if is_runc() {
        return println!("skipped: runc has no such option");
    }
    let bundle = Bundle::sh("echo other");
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let other = bundle.dir.join("other.json");
    std::fs::rename(bundle.dir.join("config.json"), &other).unwrap();
    let run = ["run", "-b", dir, "-f", other.to_str().unwrap(), &bundle.id];
    assert_eq!(bundle.ok(&run), "other\n");
    let spec = bundle.dir.join("spec.json");
    bundle.ok(&["spec", "--file", spec.to_str().unwrap()]);
    assert!(std::fs::read_to_string(spec).unwrap().contains("ociVersion"));
}

#[test]
fn a_signal_goes_to_all_processes_when_asked() {
    let bundle = Bundle::sh(
        "wait_for_it() { trap \": > /$1\" USR1; : > /$1-ready; while :; do sleep 0.02; done; }
         wait_for_it one & wait_for_it two",
    );
    bundle.start();
    let there = |name: &str| bundle.rootfs().join(name).exists();
    await_that("both listen", || there("one-ready") && there("two-ready"));
    bundle.ok(&["kill", "--all", &bundle.id, "USR1"]);
    await_that("both have heard", || there("one") && there("two"));
}

#[test]
fn an_option_that_nobody_knows_is_refused_and_what_go_programs_always_say_is_taken() {
    let bundle = Bundle::new(&["true"]);
    let said = bundle.fails(&["create", "--no-such-option", &bundle.id]);
    assert!(said.contains("flag provided but not defined: -"), "{said}");
    assert!(said.contains("-no-such-option"), "{said}");
    bundle.fails(&["no-such-command"]);
    bundle.ok(&["--debug", "--rootless=false", "list", "--format=json"]);
    assert_eq!(bundle.ok(&["-v"]), bundle.ok(&["--version"]));
    let version = bundle.ok(&["--version"]);
    assert!(version.lines().next().unwrap().contains(" version "), "{version}");
    assert!(version.lines().any(|line| line.starts_with("spec: 1.")), "{version}");
    if is_peer() {
        return;
    }
    bundle.ok(&["--rootless=true", "list"]);
    assert!(bundle.fails(&["--rootless=perhaps", "list"]).contains("rootless"));
}

/// What `spec` writes for a caller that is root.
fn written(options: &[&str]) -> serde_json::Value {
    let bundle = Bundle::new(&["true"]);
    let dir = bundle.dir.to_str().unwrap();
    bundle.ok(&[&["spec", "--bundle", dir], options].concat());
    serde_json::from_slice(&std::fs::read(bundle.dir.join("config.json")).unwrap()).unwrap()
}

/// An entry's `key` in each of a list.
fn each(list: &serde_json::Value, key: &str) -> Vec<String> {
    let entries = list.as_array().unwrap().iter();
    entries.map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_configuration_to_begin_with_is_the_one_that_callers_know() {
    if is_crun() {
        return;
    }
    let (config, rootless) = (written(&[]), written(&["--rootless"]));
    let mounts = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
    for config in [&config, &rootless] {
        assert_eq!(each(&config["mounts"], "destination"), mounts);
        assert!(!config.to_string().contains("null"), "{config}");
        assert_eq!(config["process"]["args"], json!(["sh"]));
        assert!(config["ociVersion"].as_str().unwrap().starts_with("1."));
    }
    let all = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let kinds = if crate::on_v2() { &all[..] } else { &all[..5] };
    assert_eq!(each(&config["linux"]["namespaces"], "type"), kinds);
    let mut own: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "network").collect();
    own.push("user");
    assert_eq!(each(&rootless["linux"]["namespaces"], "type"), own);
    let root = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    assert_eq!(rootless["linux"]["uidMappings"], root);
    assert_eq!(rootless["linux"]["gidMappings"], root);
    assert!(rootless["linux"].get("resources").is_none());
    let of = |name: &str| {
        let all = rootless["mounts"].as_array().unwrap().iter();
        all.clone().find(|mount| mount["destination"] == name).unwrap().clone()
    };
    assert_eq!(of("/sys")["type"], "none");
    assert_eq!(of("/sys")["options"], json!(["rbind", "nosuid", "noexec", "nodev", "ro"]));
    assert!(!of("/dev/pts").to_string().contains("gid="));
}
