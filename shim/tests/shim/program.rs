//! Containers that a program makes, which may be wrong in what it says.

use super::{Pod, in_time};
use rrun_shim_protocol::{Create, Exec, Program, Reply, Request};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A runtime that makes processes of the host: an init that sleeps; what it does for an exec is told.
const RUNTIME: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        --log) log=$2; shift;;
        --pid-file) pid=$2; shift;;
        create | start | exec) verb=$1;;
    esac
    shift
done
case $verb in
    create) sleep 1000 & echo $! >$pid;;
    exec)
        {exec}
        ;;
esac
"#;

impl Pod {
    fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    /// Starts a container that a program has made.
    async fn start_by_program(&self, exec: &str) {
        let path = self.folder.path().join("runtime");
        fs::write(&path, RUNTIME.replace("{exec}", exec)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(self.bundle()).unwrap();
        let program = Program {
            path,
            args: Vec::new(),
            bundle: self.bundle(),
            attachments: Vec::new(),
            timeout_ms: 60_000,
        };
        let create = Create {
            container: "c".into(),
            plan: self.image.plan(&["sleep", "1000"]),
            log: None,
            stdin: false,
            stdin_once: false,
            program: Some(program),
            restore: None,
        };
        self.ask(Request::Create(create)).await;
        self.ask(Request::Start { container: "c".into() }).await;
    }

    /// What the shim says of an exec that fails.
    async fn exec_by_program(&self, number: u64) -> String {
        let plan = self.image.exec_plan(&["true"]);
        let (container, process) = ("c".into(), Some("{}".to_owned()));
        let stdio = [false; 3];
        let order = Exec { exec: number, container, plan, stdio, timeout_ms: None, process };
        let started = in_time("the start of an exec", self.client.exec(order, Vec::new())).await;
        started.map(|_| ()).unwrap_err().to_string()
    }

    async fn end(self) {
        self.ask(Request::Stop { container: "c".into(), signal: 9, grace_ms: 0 }).await;
        let left: Vec<_> = fs::read_dir(self.bundle()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        self.shut_down().await;
    }
}

#[tokio::test]
async fn an_exec_whose_process_was_never_the_shims_is_told_and_forgotten() {
    let pod = Pod::new().await;
    pod.start_by_program("echo 1 >$pid").await;
    let said = pod.exec_by_program(1).await;
    assert!(said.ends_with("process 1 is no child of this shim"), "{said}");
    let error = pod.refused(Request::KillExec { exec: 1 }).await.to_string();
    assert!(error.ends_with("exec 1"), "{error}");
    pod.end().await;
}

#[tokio::test]
async fn what_a_program_writes_of_itself_is_read_whatever_it_is_and_the_shim_goes_on() {
    for (exec, expected) in [
        ("mkfifo $pid", "its pid file: not a regular file"),
        ("ln -s /dev/zero $pid", "its pid file: not a regular file"),
        ("truncate -s 10G $pid", r#"its pid file says "\0\0\0"#),
        (":", "its pid file: ENOENT"),
        ("rm -f $log; mkfifo $log; exit 3", "exec: exit status 3"),
        ("ln -sf /dev/zero $log; exit 3", "exec: exit status 3"),
        (r"truncate -s 10G $log; printf '\nwhy\033[2J' >>$log; exit 3", "exec: why\u{fffd}[2J"),
    ] {
        let pod = Pod::new().await;
        pod.start_by_program(exec).await;
        let said = pod.exec_by_program(1).await;
        assert!(said.contains(expected), "{exec}: {said}");
        assert!(matches!(pod.ask(Request::State).await, Reply::State(_)));
        pod.end().await;
    }
}
