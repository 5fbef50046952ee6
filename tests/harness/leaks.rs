//! Each kind of object is named when it is left, and nothing is when it is gone.

use rrun_tests::leaks::{Kind, Snapshot};
use rrun_tests::limit;
use rrun_tests::sandbox::Sandbox;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Leaks, expects exactly one line of that kind containing `name`, cleans, expects none.
fn leak<T>(
    kind: Kind,
    name: &str,
    make: impl FnOnce(&Sandbox) -> T,
    undo: impl FnOnce(&Sandbox, T),
) {
    let sandbox = Sandbox::new().unwrap();
    let view = sandbox.view();
    let before = Snapshot::take(&view).unwrap();
    before.assert_nothing_left(&view).unwrap();

    let made = make(&sandbox);
    let found = before.differences(&Snapshot::take(&view).unwrap());
    let lines: Vec<_> =
        found.iter().filter(|(k, line)| *k == kind && line.contains(name)).collect();
    assert_eq!(lines.len(), 1, "{kind:?} {name} in {found:?}");
    assert!(lines[0].1.starts_with("left: "), "{lines:?}");

    undo(&sandbox, made);
    before.assert_nothing_left(&view).unwrap();
}

fn run(command: &mut Command) {
    let output = limit::output(command).unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Spawns a shell in the sandbox and waits for its first line.
fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> (Child, String) {
    let mut command = sandbox.command(arguments[0]);
    let mut child =
        command.args(&arguments[1..]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let line = limit::line(child.stdout.take().unwrap(), "a shell in the sandbox").unwrap();
    (child, line.trim().to_owned())
}

fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in a minute: {what}");
        std::thread::yield_now();
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_mount_that_is_left_is_named() {
    leak(
        Kind::Mount,
        "/mnt (tmpfs leaked)",
        |sandbox| run(sandbox.command("mount").args(["-t", "tmpfs", "leaked", "/mnt"])),
        |sandbox, ()| run(sandbox.command("umount").arg("/mnt")),
    );
}

#[test]
fn a_mount_over_a_mount_is_counted() {
    let mount = |sandbox: &Sandbox| {
        run(sandbox.command("mount").args(["-t", "tmpfs", "leaked", "/mnt"]));
    };
    leak(
        Kind::Mount,
        "/mnt (tmpfs leaked) #2",
        |sandbox| (mount(sandbox), mount(sandbox)),
        |sandbox, _| {
            run(sandbox.command("umount").arg("/mnt"));
            run(sandbox.command("umount").arg("/mnt"));
        },
    );
}

#[test]
fn a_cgroup_that_is_left_is_named() {
    leak(
        Kind::Cgroup,
        "/rrun-test-",
        |sandbox| {
            let parent = cgroup_root().join(&sandbox.cgroup_parent()[1..]);
            fs::create_dir(&parent).unwrap();
            parent
        },
        |_, parent| fs::remove_dir(parent).unwrap(),
    );
}

/// A hierarchy in which any process may have a group: v1 pids, else v2.
fn cgroup_root() -> PathBuf {
    let pids = PathBuf::from("/sys/fs/cgroup/pids");
    if pids.exists() { pids } else { PathBuf::from("/sys/fs/cgroup") }
}

#[test]
fn a_network_namespace_that_is_left_is_named() {
    leak(
        Kind::Netns,
        "/run/netns/leaked",
        |sandbox| run(sandbox.command("ip").args(["netns", "add", "leaked"])),
        |sandbox, ()| {
            run(sandbox.command("ip").args(["netns", "delete", "leaked"]));
            // ip makes /run/netns a mount of its own, once.
            run(sandbox.command("umount").arg("/run/netns"));
        },
    );
}

#[test]
fn a_link_that_is_left_is_named() {
    leak(
        Kind::Link,
        "leaked0 (ether)",
        |sandbox| run(sandbox.command("ip").args(["link", "add", "leaked0", "type", "bridge"])),
        |sandbox, ()| run(sandbox.command("ip").args(["link", "delete", "leaked0"])),
    );
}

#[test]
fn a_rule_that_is_left_is_named() {
    let rules = "add table ip leaked\nadd chain ip leaked c\nadd rule ip leaked c counter drop";
    leak(
        Kind::Nft,
        "table ip leaked / chain c: counter drop",
        |sandbox| run(sandbox.command("nft").arg(rules)),
        |sandbox, ()| run(sandbox.command("nft").arg("delete table ip leaked")),
    );
}

#[test]
fn a_process_that_is_left_is_named() {
    leak(
        Kind::Process,
        " sleep",
        |sandbox| spawn(sandbox, &["sh", "-c", "echo; exec sleep 60"]).0,
        |_, child| end(child),
    );
}

#[test]
fn a_daemonised_process_in_its_own_namespaces_is_named() {
    let script = "setsid unshare --mount --net sleep 60 >/dev/null & echo $!";
    leak(
        Kind::Process,
        " sleep",
        |sandbox| {
            let (mut child, pid) = spawn(sandbox, &["sh", "-c", script]);
            limit::end(&mut child, "a shell in the sandbox").unwrap();
            // setsid and unshare execute the next command in place.
            let comm = format!("/proc/{pid}/comm");
            await_that("it sleeps", || fs::read_to_string(&comm).unwrap() == "sleep\n");
            pid
        },
        |_, pid| run(Command::new("kill").args(["-KILL", &pid])),
    );
}

#[test]
fn a_zombie_that_is_left_is_named() {
    let script = "$pid = fork; exit if !$pid; $| = 1; print \"$pid\\n\"; sleep 60";
    leak(
        Kind::Process,
        " perl (zombie)",
        |sandbox| {
            let (child, pid) = spawn(sandbox, &["perl", "-e", script]);
            let stat = format!("/proc/{pid}/stat");
            await_that("it has ended", || fs::read_to_string(&stat).unwrap().contains(") Z "));
            child
        },
        |_, child| end(child),
    );
}

#[test]
fn a_socket_that_is_left_is_named() {
    let script = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); \
                  bind(S, sockaddr_un($ARGV[0])) or die; listen(S, 1); $| = 1; print \"\\n\"; \
                  sleep 60";
    leak(
        Kind::Socket,
        "/state/leaked.sock",
        |sandbox| {
            let path = sandbox.state().join("leaked.sock");
            spawn(sandbox, &["perl", "-e", script, path.to_str().unwrap()]).0
        },
        |sandbox, child| {
            end(child);
            fs::remove_file(sandbox.state().join("leaked.sock")).unwrap();
        },
    );
}

#[test]
fn a_file_that_is_left_is_named() {
    leak(
        Kind::File,
        "file ",
        |sandbox| fs::write(sandbox.run().join("leaked"), "").unwrap(),
        |sandbox, ()| fs::remove_file(sandbox.run().join("leaked")).unwrap(),
    );
}

#[test]
fn a_host_that_was_renamed_is_named() {
    // A copy of the host's names, for this thread.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS).unwrap();
    let name = nix::unistd::gethostname().unwrap();
    leak(
        Kind::Name,
        "hostname leaked",
        |_| nix::unistd::sethostname("leaked").unwrap(),
        |_, ()| nix::unistd::sethostname(&name).unwrap(),
    );
}

#[test]
fn what_was_taken_away_is_named_too() {
    let sandbox = Sandbox::new().unwrap();
    let view = sandbox.view();
    fs::write(sandbox.state().join("kept"), "").unwrap();
    let before = Snapshot::take(&view).unwrap();
    fs::remove_file(sandbox.state().join("kept")).unwrap();
    let found = before.differences(&Snapshot::take(&view).unwrap());
    assert!(found.len() == 1 && found[0].1.starts_with("gone: file "), "{found:?}");
}

#[test]
fn a_sandbox_leaves_nothing_on_the_machine() {
    let sandbox = Sandbox::new().unwrap();
    let (root, pid) = (sandbox.root().to_owned(), sandbox.pid());
    drop(sandbox);
    assert!(!root.exists());
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
}
