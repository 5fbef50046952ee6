//! Programs with a terminal in the foreground.

use crate::bundle::Bundle;
use crate::is_peer;
use std::io::{Read, Write};
use std::process::Stdio;

/// A bundle with the configuration that `spec` writes, and a script for its shell.
fn out_of_the_box(script: &str) -> Bundle {
    let mut bundle = Bundle::new(&["true"]);
    let dir = bundle.dir.to_str().unwrap().to_owned();
    bundle.ok(&["spec", "--bundle", &dir]);
    let written = std::fs::read(bundle.dir.join("config.json")).unwrap();
    let root = bundle.config["root"]["path"].clone();
    bundle.config = serde_json::from_slice(&written).unwrap();
    assert_eq!(bundle.process()["terminal"], true);
    bundle.config["root"]["path"] = root;
    bundle.linux()["cgroupsPath"] = format!("/{}", bundle.id).into();
    bundle.process()["args"] = serde_json::json!(["sh", "-c", script]);
    bundle
}

#[test]
fn what_spec_writes_runs_without_a_terminal_and_without_a_warning() {
    if is_peer() {
        return;
    }
    let bundle = out_of_the_box("tty; exit 3");
    let (code, output) = bundle.run();
    assert_eq!((code, output.lines().count()), (3, 1), "{output}");
    assert!(output.starts_with("/dev/") && output.ends_with("\r\n"), "{output}");
}

#[test]
fn what_is_piped_into_it_is_typed_and_its_end_is_told() {
    if is_peer() {
        return;
    }
    let bundle = out_of_the_box("cat; echo end");
    bundle.write();
    let mut child = bundle
        .limited(&["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    // Once as an echo of the terminal, once by the program.
    assert_eq!(text.matches("typed").count(), 2, "{text}");
    assert!(text.ends_with("end\r\n"), "{text}");
}

/// False when nothing comes for longer than anything here takes.
fn said_something(terminal: &std::fs::File) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(terminal), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(30_000u16)) == Ok(1)
}

#[test]
fn on_a_terminal_it_has_that_ones_size_and_keys() {
    if is_peer() {
        return;
    }
    let bundle = out_of_the_box("stty size; read -r line; echo \"got $line\"");
    bundle.write();
    let pty = nix::pty::openpty(None, None).unwrap();
    rrun_sys::pty::set_size(std::os::fd::AsFd::as_fd(&pty.master), 33, 99).unwrap();
    let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = bundle
        .limited(&["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id])
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    drop(pty.slave);
    let mut master = std::fs::File::from(pty.master);
    let mut text = String::new();
    let mut bytes = [0; 256];
    let mut typed = false;
    // EIO is how a terminal ends whose last user has gone.
    while said_something(&master)
        && let Ok(count @ 1..) = master.read(&mut bytes)
    {
        text += std::str::from_utf8(&bytes[..count]).unwrap();
        if !typed && text.contains("33 99") {
            master.write_all(b"keys\r").unwrap();
            typed = true;
        }
    }
    // One that still waits for keys hangs up with its terminal.
    drop(master);
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(text.contains("got keys"), "{text}");
}

#[test]
fn an_exec_in_the_foreground_has_a_terminal() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let output = bundle.ok(&["exec", "--tty", &bundle.id, "sh", "-c", "tty"]);
    assert!(output.starts_with("/dev/pts/"), "{output}");
}
