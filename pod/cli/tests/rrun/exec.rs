//! `rrun exec`: streams, terminals, exit codes.

use crate::machine::{Machine, pod, talker, talkers, text};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

fn exec<'a>(args: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["exec"], args, &["two", "--", "/bin/talk"], command].concat()
}

#[test]
fn a_command_has_its_streams_and_a_terminal_of_the_right_size() {
    let machine = Machine::new();
    let containers = [talker("a", &["ask", "a"]), talker("b", &["ask", "b"])];
    let run = machine.run("two", &talkers("two", "Always", &containers));
    run.expect("pod two: Running, ready");
    let mut command = machine.command(&exec(&["-i"], &["copy"]));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"there and back").unwrap();
    let done = rrun_tests::limit::output_of(child, "exec -i").unwrap();
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), ("there and back", Some(0)));

    let done = machine.rrun(&exec(&[], &["err", "oops", "4"]));
    assert_eq!((text(&done.stderr).as_str(), done.status.code()), ("oops\n", Some(4)));
    assert!(done.stdout.is_empty());
    assert_eq!(machine.ok(&exec(&[], &["terminal"])), "none\n");
    assert_eq!(machine.ok(&exec(&["-c", "b"], &["say", "here"])), "here");

    let pty = nix::pty::openpty(
        &nix::pty::Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 },
        None,
    )
    .unwrap();
    let mut command = machine.command(&exec(&["-it"], &["terminal"]));
    let slave = |fd: &std::os::fd::OwnedFd| Stdio::from(fd.as_fd().try_clone_to_owned().unwrap());
    let child = command
        .stdin(slave(&pty.slave))
        .stdout(Stdio::piped())
        .stderr(slave(&pty.slave))
        .spawn()
        .unwrap();
    let done = rrun_tests::limit::output_of(child, "exec -it").unwrap();
    assert!(done.status.success());
    assert_eq!(text(&done.stdout), "31 97\r\n");
    let after = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    let echo = nix::sys::termios::LocalFlags::ECHO;
    assert!(after.local_flags.contains(echo), "the terminal is as it was");
    drop(File::from(pty.master));
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}

/// A command of `rrun` on a terminal of its own, which was changed by it and is left by a signal: what
/// came on the terminal.
fn left_by(machine: &Machine, args: &[&str], signal: &str, begun: &str) -> String {
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave = || Stdio::from(pty.slave.as_fd().try_clone_to_owned().unwrap());
    let settings = || nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    let before = settings();
    let child = machine.command(args).stdin(slave()).stdout(slave()).stderr(slave()).spawn();
    let mut child = child.unwrap();
    let mut terminal = File::from(pty.master.try_clone().unwrap());
    let mut shown = Vec::new();
    while !text(&shown).contains(begun) {
        let mut byte = [0];
        terminal.read_exact(&mut byte).unwrap();
        shown.push(byte[0]);
    }
    assert_ne!(settings(), before, "{args:?} changes the terminal");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    // It may write until its end.
    let reader = std::thread::spawn(move || {
        while !shown.ends_with(b"#") {
            let mut byte = [0];
            terminal.read_exact(&mut byte).unwrap();
            shown.push(byte[0]);
        }
        text(&shown)
    });
    rrun_tests::limit::end(&mut child, "rrun").unwrap();
    assert_eq!(settings(), before, "{args:?} {signal}: the terminal is as it was");
    nix::unistd::write(&pty.slave, b"#").unwrap();
    reader.join().unwrap()
}

#[test]
fn a_terminal_is_as_it_was_whatever_signal_ends_what_changed_it() {
    let machine = Machine::new();
    let run = machine.run("web", &pod("web", "Always", &["sleeper"]));
    machine.await_ps("web", "1/1", "Running");
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        let shown = left_by(&machine, &["top"], signal, "q: end");
        assert!(shown.contains("\x1b[?1049l"), "{signal}: another screen is left: {shown:?}");
        left_by(&machine, &["exec", "-it", "web", "--", "/bin/work", "hold", "1"], signal, "held");
    }
    run.signal("INT");
    run.end();
    machine.assert_nothing_left();
}
