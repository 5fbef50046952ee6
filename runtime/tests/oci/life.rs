//! From create to delete.

use crate::bundle::{Bundle, wait_for_end};
use crate::is_peer;
use crate::support::await_that;

#[test]
fn run_gives_the_exit_code_of_the_program() {
    assert_eq!(Bundle::sh("exit 7").run().0, 7);
}

#[test]
fn a_program_that_a_signal_killed_gives_128_and_its_number() {
    // The first process of a PID namespace is not killed by its own signals: its child is, and
    // the shell passes on how it ended.
    assert_eq!(Bundle::sh("sh -c 'kill -9 $$'; exit $?").run().0, 137);
}

#[test]
fn a_container_goes_from_created_over_running_to_stopped_and_away() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.create();
    assert_eq!(bundle.status(), "created");
    let pid = bundle.pid();
    let program = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!program.starts_with(b"sleep"), "the program runs before its start");
    bundle.ok(&["start", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.pid(), pid);
    let program = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(program.starts_with(b"sleep"));
    assert!(bundle.ok(&["list", "--quiet"]).contains(&bundle.id));
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    wait_for_end(pid);
    assert_eq!(bundle.status(), "stopped");
    bundle.ok(&["delete", &bundle.id]);
    bundle.fails(&["state", &bundle.id]);
    assert!(bundle.groups().is_empty());
}

#[test]
fn a_stopped_container_still_has_its_state() {
    let bundle = Bundle::new(&["true"]);
    bundle.create();
    let pid = bundle.pid();
    bundle.ok(&["start", &bundle.id]);
    wait_for_end(pid);
    let state = bundle.state();
    assert_eq!(state["status"], "stopped");
    assert_eq!(state["id"], bundle.id);
    assert_eq!(state["bundle"], bundle.dir.to_str().unwrap());
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
}

#[test]
fn an_id_is_given_once() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.create();
    let dir = bundle.dir.to_str().unwrap();
    assert!(bundle.fails(&["create", "--bundle", dir, &bundle.id]).contains("exist"));
    assert_eq!(bundle.status(), "created", "the first one is as it was");
}

#[test]
fn a_running_container_is_not_deleted_without_force() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    bundle.fails(&["delete", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(bundle.groups().is_empty());
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn a_created_container_can_be_deleted() {
    let bundle = Bundle::new(&["true"]);
    bundle.create();
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(bundle.groups().is_empty());
}

#[test]
fn a_container_is_started_once() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    bundle.fails(&["start", &bundle.id]);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_signal_reaches_the_program() {
    let bundle = Bundle::sh("trap 'exit 0' TERM; : > /ready; while :; do sleep 0.01; done");
    bundle.start();
    let pid = bundle.pid();
    // The trap is set by the time the file is there.
    await_that("the trap is set", || bundle.rootfs().join("ready").exists());
    bundle.ok(&["kill", &bundle.id, "SIGTERM"]);
    wait_for_end(pid);
    assert_eq!(bundle.status(), "stopped");
    bundle.fails(&["kill", &bundle.id, "SIGTERM"]);
}

#[test]
fn the_pid_file_holds_the_first_process() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let file = bundle.dir.join("pid");
    let dir = bundle.dir.to_str().unwrap();
    let args = ["create", "--bundle", dir, "--pid-file", file.to_str().unwrap(), &bundle.id];
    let status = bundle
        .limited(&args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(std::fs::read_to_string(file).unwrap(), bundle.pid().to_string());
}

#[test]
fn a_missing_program_is_an_error_of_start_or_create_and_leaves_nothing() {
    let bundle = Bundle::new(&["/no/such/program"]);
    let (code, output) = bundle.run();
    assert_ne!(code, 0);
    assert!(output.to_lowercase().contains("no such file"), "{output}");
    bundle.fails(&["state", &bundle.id]);
    assert!(bundle.groups().is_empty());
    if !is_peer() {
        assert_eq!(code, 127);
    }
}

#[test]
fn a_configuration_that_cannot_be_done_leaves_nothing() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.mount(serde_json::json!({
        "destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]
    }));
    let (code, output) = bundle.run();
    assert_ne!(code, 0);
    assert!(output.contains("/no/such/source"), "{output}");
    bundle.fails(&["state", &bundle.id]);
    assert!(bundle.groups().is_empty());
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    use std::os::fd::AsFd;
    let mut bundle = Bundle::sh("tty; stty size");
    bundle.process()["terminal"] = true.into();
    bundle.process()["consoleSize"] = serde_json::json!({ "height": 33, "width": 99 });
    bundle.write();
    let path = bundle.dir.join("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let dir = bundle.dir.to_str().unwrap();
    let args = ["create", "--bundle", dir, "--console-socket", path.to_str().unwrap(), &bundle.id];
    bundle.ok(&args);
    let (socket, _) = listener.accept().unwrap();
    let mut fds = Vec::new();
    rrun_sys::fdpass::receive(socket.as_fd(), &mut [0; 64], &mut fds).unwrap();
    bundle.ok(&["start", &bundle.id]);
    let mut output = String::new();
    // EIO is how a terminal ends whose last user has gone.
    let mut master = std::fs::File::from(fds.remove(0));
    let mut buffer = [0; 256];
    while let Ok(count @ 1..) = std::io::Read::read(&mut master, &mut buffer) {
        output += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    assert_eq!(
        output,
        "/dev/console\r\n33 99\r\n".replace("/dev/console", output.lines().next().unwrap())
    );
    assert!(output.starts_with("/dev/"), "{output}");
}

#[test]
fn a_missing_program_is_told_at_create() {
    if is_peer() {
        return;
    }
    for program in ["/no/such/program", "no-such-program"] {
        let bundle = Bundle::new(&[program]);
        let (code, words) = bundle.try_create();
        assert_eq!(code, Some(127), "{words}");
        assert!(words.contains("no such file") || words.contains("not found in $PATH"), "{words}");
        bundle.fails(&["state", &bundle.id]);
        assert!(bundle.groups().is_empty());
    }
}
