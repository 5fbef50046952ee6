//! What a caller hands on to the program, and what it gets of it.

use crate::bundle::{Bundle, text, wait_for_end};
use crate::{is_crun, is_peer};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

/// The runtime, called by a shell that opens descriptors and sets variables: `given` comes before
/// and `opened` behind the call.
fn called(bundle: &Bundle, given: &str, opened: &str, args: &[&str]) -> Command {
    let runtime = bundle.runtime(args);
    let mut command = crate::support::limited("sh");
    command.arg("-c").arg(format!("{given} exec \"$0\" \"$@\" {opened}"));
    command.arg(runtime.get_program()).args(runtime.get_args()).stdin(Stdio::null());
    command
}

/// Files whose contents are their names, opened from descriptor 3 on.
fn opened(bundle: &Bundle, names: &[&str]) -> String {
    let open = |(at, name): (usize, &&str)| {
        let path = bundle.dir.join(name);
        std::fs::write(&path, format!("{name}\n")).unwrap();
        format!("{}<{}", at + 3, path.display())
    };
    names.iter().enumerate().map(open).collect::<Vec<_>>().join(" ")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn run(bundle: &Bundle, given: &str, opened: &str, options: &[&str]) -> Output {
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let args = [&["run", "--bundle", dir][..], options, &[&bundle.id]].concat();
    called(bundle, given, opened, &args).output().unwrap()
}

/// What is open, without that of the program which looks.
const OPEN: &str = "for fd in /proc/self/fd/*; do echo ${fd##*/}; done | head -n -1 | tr '\\n' ' '";

#[test]
fn descriptors_that_are_preserved_have_their_numbers_in_it_and_others_are_not_there() {
    let bundle = Bundle::sh("cat <&3; cat <&4; [ -e /proc/self/fd/5 ] || echo none");
    let all = opened(&bundle, &["one", "two", "three"]);
    let output = run(&bundle, "", &all, &["--preserve-fds", "2"]);
    assert_eq!(printed(&output), "one\ntwo\nnone\n");
    let bundle = Bundle::sh("[ -e /proc/self/fd/3 ] || echo none");
    let output = run(&bundle, "", &opened(&bundle, &["one"]), &[]);
    assert_eq!(printed(&output), "none\n");
}

#[test]
fn an_exec_has_those_that_are_preserved_for_it() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let all = opened(&bundle, &["one", "two"]);
    let script = "cat <&3; [ -e /proc/self/fd/4 ] || echo none";
    let args = ["exec", "--preserve-fds", "1", &bundle.id, "sh", "-c", script];
    // Nobody is activated by an exec, but for crun.
    let given = if is_crun() { "" } else { "LISTEN_PID=$$ LISTEN_FDS=2" };
    let output = called(&bundle, given, &all, &args).output().unwrap();
    assert_eq!(printed(&output), "one\nnone\n");
}

#[test]
fn a_container_that_waits_for_its_start_keeps_them() {
    let bundle = Bundle::sh("cat <&3 > /read");
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let args = ["create", "--bundle", dir, "--preserve-fds", "1", &bundle.id];
    let mut create = called(&bundle, "", &opened(&bundle, &["one"]), &args);
    let created = create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(created.success());
    let pid = bundle.pid();
    bundle.ok(&["start", &bundle.id]);
    wait_for_end(pid);
    assert_eq!(std::fs::read_to_string(bundle.rootfs().join("read")).unwrap(), "one\n");
}

#[test]
fn one_that_is_counted_and_not_open_is_refused_and_none_of_the_runtimes_takes_its_place() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::sh(OPEN);
    let all = opened(&bundle, &["one"]);
    let log = bundle.dir.join("log");
    for command in ["run", "create"] {
        bundle.write();
        let dir = bundle.dir.to_str().unwrap();
        let before = ["--log", log.to_str().unwrap(), command, "--bundle", dir];
        let args = [&before[..], &["--preserve-fds=2", &bundle.id]].concat();
        let output = called(&bundle, "", &all, &args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("descriptor 4 is not open"), "{output:?}");
    }
    assert!(std::fs::read_to_string(log).unwrap().contains("descriptor 4 is not open"));
    bundle.fails(&["state", &bundle.id]);
}

#[test]
fn sockets_of_an_activation_come_first_and_are_told_in_the_environment() {
    if is_crun() {
        return println!("skipped: crun hands them on without a word in the environment");
    }
    let bundle = Bundle::sh("cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID");
    let all = opened(&bundle, &["socket", "other"]);
    let given = "LISTEN_PID=$$ LISTEN_FDS=1";
    let output = run(&bundle, given, &all, &["--preserve-fds=1"]);
    assert_eq!(printed(&output), "socket\nother\n1 1\n");
    if is_peer() {
        return;
    }
    let bundle = Bundle::sh("echo $LISTEN_FDNAMES");
    let all = opened(&bundle, &["socket"]);
    let given = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web";
    assert_eq!(printed(&run(&bundle, given, &all, &[])), "web\n");
    // Those of somebody else.
    let bundle = Bundle::sh("[ -e /proc/self/fd/3 ] || echo none; echo $LISTEN_FDS.");
    let all = opened(&bundle, &["socket"]);
    let output = run(&bundle, "LISTEN_PID=1 LISTEN_FDS=1", &all, &[]);
    assert_eq!(printed(&output), "none\n.\n");
}

#[test]
fn an_exec_is_told_of_no_sockets_of_its_container() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let args = ["run", "--detach", "--bundle", dir, &bundle.id];
    let given = "LISTEN_PID=$$ LISTEN_FDS=1";
    let mut run = called(&bundle, given, &opened(&bundle, &["socket"]), &args);
    assert!(run.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    assert_eq!(bundle.ok(&["exec", &bundle.id, "sh", "-c", "echo $LISTEN_FDS."]), ".\n");
}

/// What comes to a socket: a word and a pidfd.
fn received(listener: &UnixListener) -> (String, OwnedFd) {
    let (socket, _) = listener.accept().unwrap();
    let (mut word, mut fds) = ([0; 64], Vec::new());
    let length = rrun_sys::fdpass::receive(socket.as_fd(), &mut word, &mut fds).unwrap();
    (text(&word[..length]), fds.pop().unwrap())
}

#[test]
fn a_pidfd_of_the_process_goes_to_the_socket() {
    if is_crun() {
        return println!("skipped: crun has no such option");
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let socket = bundle.dir.join("pidfd");
    let listener = UnixListener::bind(&socket).unwrap();
    let (dir, socket) = (bundle.dir.to_str().unwrap(), socket.to_str().unwrap());
    let quiet = |args: &[&str]| {
        let mut command = bundle.limited(args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    };
    assert!(quiet(&["create", "--bundle", dir, "--pidfd-socket", socket, &bundle.id]).success());
    let (word, init) = received(&listener);
    assert_eq!(word, "standard");
    bundle.ok(&["start", &bundle.id]);
    let file = bundle.dir.join("exec-pid");
    let exec = ["exec", "--detach", "--pid-file", file.to_str().unwrap(), "--pidfd-socket", socket];
    assert!(quiet(&[&exec[..], &[&bundle.id, "sleep", "1000"]].concat()).success());
    let (word, exec) = received(&listener);
    assert_eq!(word, "setns");
    for (process, pid) in
        [(exec, std::fs::read_to_string(file).unwrap().parse().unwrap()), (init, bundle.pid())]
    {
        rrun_sys::pidfd::send_signal(process.as_fd(), libc::SIGKILL).unwrap();
        wait_for_end(pid);
    }
    assert_eq!(bundle.status(), "stopped");
}

#[test]
fn a_pidfd_socket_that_nobody_listens_at_is_told_before_anything_is_made() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let words = bundle.fails(&["run", "--bundle", dir, "--pidfd-socket", "/no/socket", &bundle.id]);
    assert!(words.contains("connect to /no/socket"), "{words}");
    bundle.fails(&["state", &bundle.id]);
}
