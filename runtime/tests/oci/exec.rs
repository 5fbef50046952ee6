//! One more process in a container that runs.

use crate::bundle::{Bundle, text};
use crate::is_peer;
use serde_json::json;

fn running() -> Bundle {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    bundle
}

#[test]
fn it_gives_its_exit_code_and_shares_the_containers_namespaces() {
    let bundle = running();
    let output =
        bundle.call(&["exec", &bundle.id, "sh", "-c", "hostname; cat /proc/1/comm; exit 5"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "boxed\nsleep\n");
}

#[test]
fn it_takes_a_process_file() {
    let bundle = running();
    let file = bundle.dir.join("process.json");
    let process = json!({
        "user": { "uid": 12, "gid": 34 }, "cwd": "/tmp", "env": ["PATH=/bin", "X=y"],
        "args": ["sh", "-c", "id -u; id -g; pwd; echo $X"]
    });
    std::fs::write(&file, process.to_string()).unwrap();
    let output = bundle.ok(&["exec", "--process", file.to_str().unwrap(), &bundle.id]);
    assert_eq!(output, "12\n34\n/tmp\ny\n");
}

#[test]
fn it_takes_options() {
    let bundle = running();
    let args = [
        "exec",
        "--cwd",
        "/etc",
        "--env",
        "X=1",
        "--user",
        "7:8",
        &bundle.id,
        "/bin/sh",
        "-c",
        "pwd; echo $X; id -u; id -g",
    ];
    assert_eq!(bundle.ok(&args), "/etc\n1\n7\n8\n");
}

#[test]
fn it_is_as_the_container_was_created_whatever_the_bundle_says_since() {
    if is_peer() {
        return;
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.process()["env"].as_array_mut().unwrap().push("X=before".into());
    bundle.start();
    bundle.process()["env"] = json!(["PATH=/bin", "X=since"]);
    bundle.process()["user"] = json!({ "uid": 5, "gid": 5 });
    bundle.write();
    let args = ["exec", &bundle.id, "sh", "-c", "echo $X; id -u"];
    assert_eq!(bundle.ok(&args), "before\n0\n");
}

#[test]
fn a_program_that_cannot_run_gives_what_a_shell_gives() {
    let bundle = running();
    for (program, code) in [("no-such-program", 127), ("/etc", 126)] {
        let output = bundle.call(&["exec", &bundle.id, program]);
        let told = output.status.code().unwrap();
        assert_ne!(told, 0, "{program}");
        if !is_peer() {
            assert_eq!(told, code, "{program}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn it_ends_with_its_container_and_leaves_no_group() {
    let bundle = running();
    let pid_file = bundle.dir.join("exec-pid");
    let args =
        ["exec", "--detach", "--pid-file", pid_file.to_str().unwrap(), &bundle.id, "sleep", "1000"];
    let status = bundle
        .limited(&args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    // Other runtimes do not wait until it runs its program.
    let program = || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(program().starts_with(b"sleep") || is_peer());
    bundle.ok(&["delete", "--force", &bundle.id]);
    crate::bundle::wait_for_end(pid);
    assert!(bundle.groups().is_empty());
}

#[test]
fn one_that_is_detached_leaves_no_group_when_it_ends() {
    let bundle = running();
    let below = || -> Vec<_> {
        let groups = bundle.groups().into_iter();
        let below = groups.flat_map(|group| std::fs::read_dir(group).unwrap().flatten());
        below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let pid_file = bundle.dir.join("exec-pid");
    let args = ["exec", "--detach", "--pid-file", pid_file.to_str().unwrap(), &bundle.id, "true"];
    let null = std::process::Stdio::null;
    let status = bundle.limited(&args).stdout(null()).stderr(null()).status();
    assert!(status.unwrap().success());
    let pid = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    crate::bundle::wait_for_end(pid);
    assert_eq!(below(), Vec::<std::path::PathBuf>::new());
}

/// As systemd does in its own group.
#[test]
fn it_joins_the_first_process_where_the_containers_group_takes_none_any_more() {
    if !crate::v2_limits() {
        return;
    }
    let bundle = running();
    let group = bundle.groups().remove(0);
    let init = group.join("init");
    std::fs::create_dir(&init).unwrap();
    std::fs::write(init.join("cgroup.procs"), bundle.pid().to_string()).unwrap();
    std::fs::write(group.join("cgroup.subtree_control"), "+memory").unwrap();
    let place = bundle.ok(&["exec", &bundle.id, "cat", "/proc/self/cgroup"]);
    assert!(place.trim_end().ends_with("/init"), "{place}");
}

#[test]
fn there_is_none_in_a_container_that_does_not_run() {
    let bundle = Bundle::new(&["true"]);
    bundle.create();
    let pid = bundle.pid();
    bundle.ok(&["start", &bundle.id]);
    crate::bundle::wait_for_end(pid);
    bundle.fails(&["exec", &bundle.id, "true"]);
}

#[test]
fn it_runs_in_a_container_that_was_not_started_unless_it_may_trace_the_first_process() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.create();
    assert_eq!(bundle.ok(&["exec", &bundle.id, "hostname"]), "boxed\n");
    assert_eq!(bundle.status(), "created");
    if !is_peer() {
        let words = bundle.fails(&["exec", "--cap", "CAP_SYS_PTRACE", &bundle.id, "true"]);
        assert!(words.contains("CAP_SYS_PTRACE"), "{words}");
    }
    bundle.ok(&["start", &bundle.id]);
    assert_eq!(bundle.ok(&["exec", &bundle.id, "hostname"]), "boxed\n");
}
