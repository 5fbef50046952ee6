//! `rrun exec`: streams, terminals, exit codes.

use crate::machine::{Machine, talker, talkers, text};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::Stdio;

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
