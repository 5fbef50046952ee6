//! A shim by itself: told over its socket, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod asks;
mod log;
mod program;
#[path = "../../../runtime/tests/support/mod.rs"]
mod support;

use nix::fcntl::{FcntlArg, fcntl};
use rrun_runtime::plan::{CgroupWrite, Cgroups, Rlimit};
use rrun_shim_protocol::{
    Ask, AskRefusal, Client, ContainerState, Create, Error, Event, Events, Exec, ExitReason, Kind,
    Launch, LogSpec, NamespaceKind, Pin, Reply, Request, Sandbox, Update, WireKind, exit_record,
    launch,
};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use support::Box;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// What is waited for, which comes in two minutes or not at all.
async fn in_time<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(Duration::from_secs(120), awaited).await;
    come.unwrap_or_else(|_| panic!("not in two minutes: {what}"))
}

/// Waits for what comes to be so by itself, with an end.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in a minute: {what}");
}

/// A pod with one container at most, its shim, and a connection to it.
struct Pod {
    image: Box,
    folder: TempDir,
    logs: PathBuf,
    client: Client,
    events: Events,
}

impl Pod {
    async fn new() -> Pod {
        let folder = tempfile::Builder::new().prefix("rrun-shim-").tempdir().unwrap();
        let shim = PathBuf::from(env!("CARGO_BIN_EXE_rrun-shim"));
        let run_dir = folder.path().to_owned();
        launch(&Launch { shim, run_dir, cgroups: Vec::new(), oom_score_adj: 0 }).await.unwrap();
        let (client, events) = Client::connect(&Launch::socket(folder.path())).await.unwrap();
        let logs = folder.path().join("logs");
        let pod = Pod { image: Box::new(), folder, logs, client, events };
        let sandbox = Sandbox {
            namespaces: vec![NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts],
            pins: vec![Pin { kind: NamespaceKind::Network, path: pod.pin() }],
            hostname: Some("pod".into()),
            sysctls: Vec::new(),
            shm_size: Some(64 << 20),
            reaper: None,
            id_maps: None,
        };
        pod.ask(Request::Sandbox(sandbox.clone())).await;
        pod.ask(Request::Sandbox(sandbox)).await;
        pod
    }

    fn pin(&self) -> PathBuf {
        self.folder.path().join("netns")
    }

    fn log(&self) -> PathBuf {
        self.logs.join("0.log")
    }

    async fn ask(&self, request: Request) -> Reply {
        self.call(request, Vec::new()).await.unwrap().0
    }

    async fn refused(&self, request: Request) -> Error {
        self.call(request, Vec::new()).await.unwrap_err()
    }

    async fn call(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        in_time("an answer of the shim", self.client.call(request, fds)).await
    }

    /// The next that the shim tells of itself.
    async fn event(&mut self) -> Event {
        in_time("an event", self.events.recv()).await.unwrap()
    }

    async fn create(&self, args: &[&str]) {
        self.create_with(args, None).await;
    }

    async fn create_with(&self, args: &[&str], drain_timeout_ms: Option<u64>) {
        let create = Create {
            container: "c".into(),
            plan: self.image.plan(args),
            log: Some(LogSpec { path: self.log(), drain_timeout_ms, drain_bytes: None }),
            stdin: true,
            stdin_once: false,
            program: None,
            restore: None,
        };
        self.ask(Request::Create(create)).await;
    }

    async fn start(&self, args: &[&str]) {
        self.create(args).await;
        self.ask(Request::Start { container: "c".into() }).await;
    }

    /// Waits until the container executes the program.
    async fn wait_for_program(&self, name: &str) {
        let groups = self.image.groups.dirs.iter().find(|dir| dir.unified).unwrap();
        let runs = || {
            let pids = std::fs::read_to_string(groups.path.join("cgroup.procs")).unwrap();
            let comm = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm"));
            pids.lines().any(|pid| comm(pid).is_ok_and(|comm| comm.trim_end() == name))
        };
        until(name, runs).await;
    }

    /// Waits until the container's init has ended, wherever its output is.
    async fn has_ended(&self) {
        let has_ended = async {
            loop {
                let Reply::State(report) = self.ask(Request::State).await else { panic!() };
                match report.containers[0].state {
                    ContainerState::Exited { .. } => break,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        in_time("the end of the container", has_ended).await;
    }

    async fn ended(&mut self) -> rrun_shim_protocol::Exit {
        match self.event().await {
            Event::Exited { exit, .. } => exit,
            other => panic!("{other:?}"),
        }
    }

    /// Lines of the log without their times.
    fn lines(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    async fn exec(&self, number: u64, args: &[&str], timeout_ms: Option<u64>) -> (i32, String) {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut plan = self.image.exec_plan(args);
        for dir in plan.cgroups.dirs.iter_mut().filter(|dir| dir.unified) {
            dir.path.set_file_name("{exec}");
        }
        let container = "c".into();
        let stdio = [false, true, false];
        let order = Exec { exec: number, container, plan, stdio, timeout_ms, process: None };
        let started = self.client.exec(order, vec![OwnedFd::from(writer)]);
        let mut running = in_time("the start of an exec", started).await.unwrap();
        let ended = running.exit.wait_for(Option::is_some);
        let exit = in_time("the end of an exec", ended).await.unwrap().clone().unwrap();
        let (mut reader, mut said) = (output(reader), String::new());
        in_time("the end of its output", reader.read_to_string(&mut said)).await.unwrap();
        (exit.code, said)
    }

    /// Ends the shim and proves that nothing of the pod is left.
    async fn shut_down(self) {
        let pid = self.client.pid();
        self.ask(Request::Shutdown).await;
        let process = PathBuf::from(format!("/proc/{pid}"));
        until("the shim is gone", || !process.exists()).await;
        assert!(!self.pin().exists(), "the network namespace is still pinned");
        for dir in &self.image.groups.dirs {
            assert!(!dir.path.exists(), "{} is left", dir.path.display());
        }
    }
}

/// The output of a process.
fn output(pipe: std::io::PipeReader) -> pipe::Receiver {
    pipe::Receiver::from_owned_fd(pipe.into()).unwrap()
}

#[tokio::test]
async fn a_container_is_made_started_logged_and_its_end_is_on_disk_before_it_is_told() {
    let mut pod = Pod::new().await;
    pod.start(&["sh", "-c", "echo out; echo err >&2; printf rest; exit 3"]).await;
    let exit = pod.ended().await;
    assert_eq!((exit.code, exit.reason), (3, ExitReason::Ended));
    let (started_at, record) = exit_record::read(pod.folder.path(), "c").unwrap().unwrap();
    assert_eq!(record, exit);
    assert!(started_at > 0 && started_at <= exit.at);
    let mut lines = pod.lines();
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P rest"]);
    pod.ask(Request::Delete { container: "c".into() }).await;
    assert_eq!(exit_record::read(pod.folder.path(), "c").unwrap(), None);
    pod.shut_down().await;
}

#[tokio::test]
async fn a_stop_signals_once_and_kills_when_the_grace_is_over() {
    let pod = Pod::new().await;
    let script = "trap 'echo term' TERM; echo set; while :; do sleep 0.05; done";
    pod.start(&["sh", "-c", script]).await;
    until("the trap is set", || pod.lines() == ["stdout F set"]).await;
    let stop = |grace_ms| Request::Stop { container: "c".into(), signal: 15, grace_ms };
    let (first, second) = tokio::join!(pod.ask(stop(60_000)), async {
        until("it is signalled", || pod.lines() == ["stdout F set", "stdout F term"]).await;
        pod.ask(stop(300)).await
    });
    assert_eq!(first, second);
    match first {
        Reply::Exited(exit) => assert_eq!(exit.code, 137),
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.lines(), ["stdout F set", "stdout F term"]);
    // An ended one is stopped.
    assert!(matches!(pod.ask(stop(0)).await, Reply::Exited(_)));
    pod.shut_down().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_ends_its_container_with_128() {
    let pod = Pod::new().await;
    pod.create(&["/no/such/program"]).await;
    let error = pod.refused(Request::Start { container: "c".into() }).await;
    match error.kind() {
        Kind::Refused(wire) => assert_eq!(wire.kind, WireKind::Exec(127), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("no such file or directory"), "{error}");
    let Reply::State(report) = pod.ask(Request::State).await else { panic!() };
    match &report.containers[0].state {
        ContainerState::Exited { started_at: 0, exit } => {
            assert_eq!((exit.code, exit.reason), (128, ExitReason::StartError));
        }
        other => panic!("{other:?}"),
    }
    pod.shut_down().await;
}

#[tokio::test]
async fn an_exec_that_runs_out_of_time_is_killed_with_its_whole_tree() {
    let pod = Pod::new().await;
    pod.start(&["sleep", "1000"]).await;
    assert_eq!(pod.exec(1, &["sh", "-c", "echo hello; exit 7"], None).await, (7, "hello\n".into()));
    // The pipe ends only when the whole tree has gone.
    let tree = ["sh", "-c", "sleep 1000 & echo begun; sleep 1000"];
    // Long enough to begin on a machine that does much else.
    let (code, said) = pod.exec(2, &tree, Some(3000)).await;
    assert_eq!((code, said.as_str()), (137, "begun\n"));
    assert_eq!(pod.exec(3, &["echo", "next"], None).await, (0, "next\n".into()));
    pod.shut_down().await;
}

#[tokio::test]
async fn an_exec_ends_with_the_connection_that_started_it_and_the_container_goes_on() {
    let pod = Pod::new().await;
    pod.start(&["sleep", "1000"]).await;
    let (other, _events) = Client::connect(&Launch::socket(pod.folder.path())).await.unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let plan = pod.image.exec_plan(&["sh", "-c", "echo up; sleep 1000"]);
    let stdio = [false, true, false];
    let order =
        Exec { exec: 1, container: "c".into(), plan, stdio, timeout_ms: None, process: None };
    let started = other.exec(order, vec![OwnedFd::from(writer)]);
    let running = in_time("the start of an exec", started).await.unwrap();
    let (mut reader, mut said) = (output(reader), [0; 3]);
    in_time("its output", reader.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"up\n");
    drop(other);
    drop(running);
    assert_eq!(in_time("its end", reader.read(&mut said)).await.unwrap(), 0);
    assert_eq!(pod.exec(9, &["echo", "still"], None).await, (0, "still\n".into()));
    pod.shut_down().await;
}

#[tokio::test]
async fn an_attached_client_gets_output_and_gives_input_and_a_slow_one_is_cut() {
    let mut pod = Pod::new().await;
    pod.start(&["sh", "-c", "read a; echo got $a; read b; busybox seq 1 60000; read c"]).await;
    let (reader, writer) = std::io::pipe().unwrap();
    let attach =
        Request::Attach { container: "c".into(), stdout: true, stderr: false, stdin: true };
    let (_, mut fds) = pod.call(attach, vec![writer.into()]).await.unwrap();
    let input = File::from(fds.pop().unwrap());
    nix::unistd::write(&input, b"me\n").unwrap();
    let (mut reader, mut buffer) = (output(reader), [0; 7]);
    in_time("its answer", reader.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"got me\n");
    // It reads no more: the log goes on, and what it gets then is a piece and an end.
    nix::unistd::write(&input, b"\n\n").unwrap();
    assert_eq!(pod.ended().await.code, 0);
    assert_eq!(pod.lines().len(), 1 + 60_000);
    let mut rest = Vec::new();
    in_time("the end of the output", reader.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < 300_000, "{}", rest.len());
    pod.shut_down().await;
}

#[tokio::test]
async fn a_pod_of_a_daemon_that_died_is_found_again_as_it_was() {
    let mut pod = Pod::new().await;
    pod.start(&["sh", "-c", "read a; exit 5"]).await;
    let Reply::State(before) = pod.ask(Request::State).await else { panic!() };
    let attach =
        Request::Attach { container: "c".into(), stdout: false, stderr: false, stdin: true };
    let (_, fds) = pod.call(attach, Vec::new()).await.unwrap();
    let socket = Launch::socket(pod.folder.path());
    let (client, events) = Client::connect(&socket).await.unwrap();
    (pod.client, pod.events) = (client, events);
    let Reply::State(after) = pod.ask(Request::State).await else { panic!() };
    assert_eq!(before, after);
    nix::unistd::write(&fds[0], b"\n").unwrap();
    assert_eq!(pod.ended().await.code, 5);
    pod.shut_down().await;
}

#[tokio::test]
async fn each_of_many_short_execs_at_once_is_answered_and_told_its_end() {
    let pod = Pod::new().await;
    pod.start(&["sleep", "1000"]).await;
    for round in 0..20 {
        let execs = (0..10).map(|n| pod.exec(round * 10 + n, &["true"], None));
        for (code, said) in futures::future::join_all(execs).await {
            assert_eq!((code, said.as_str()), (0, ""));
        }
    }
    pod.shut_down().await;
}

#[tokio::test]
async fn limits_are_changed_and_a_change_that_is_refused_leaves_them_as_they_were() {
    let pod = Pod::new().await;
    pod.start(&["sleep", "1000"]).await;
    let dirs = &pod.image.groups.dirs;
    let at = dirs.iter().position(|dir| dir.path.join("pids.max").exists()).unwrap();
    let limit = || std::fs::read_to_string(dirs[at].path.join("pids.max")).unwrap();
    let write = |file: &str, value: &str| CgroupWrite {
        dir: at as u8,
        file: file.into(),
        value: value.into(),
        optional: false,
    };
    let groups = |writes| Cgroups { writes, ..pod.image.groups.clone() };
    let update = |change, back| {
        let (change, back) = (groups(change), groups(back));
        Request::Update(Update { container: "c".into(), change, back })
    };
    pod.ask(update(vec![write("pids.max", "55")], Vec::new())).await;
    assert_eq!(limit(), "55\n");
    let change = vec![write("pids.max", "77"), write("pids.max", "nonsense")];
    let error = pod.refused(update(change, vec![write("pids.max", "55")])).await;
    assert!(error.to_string().contains("nonsense"), "{error}");
    assert_eq!(limit(), "55\n");
    let elsewhere =
        Update { container: "c".into(), change: Cgroups::default(), back: Cgroups::default() };
    pod.refused(Request::Update(elsewhere)).await;
    pod.shut_down().await;
}

#[tokio::test]
async fn a_limit_that_was_clamped_is_in_the_answers() {
    let mut pod = Pod::new().await;
    let open = File::open("/proc/sys/fs/nr_open").map(std::io::read_to_string).unwrap().unwrap();
    // No process of any rights gets more than this.
    let most: u64 = open.trim().parse().unwrap();
    let mut plan = pod.image.plan(&["true"]);
    let limit = Rlimit { resource: nix::libc::RLIMIT_NOFILE, soft: 64, hard: most + 1 };
    plan.process.rlimits = vec![limit];
    let (log, program) = (None, None);
    let create = Create {
        container: "c".into(),
        plan,
        log,
        stdin: false,
        stdin_once: false,
        program,
        restore: None,
    };
    pod.ask(Request::Create(create)).await;
    match pod.ask(Request::Start { container: "c".into() }).await {
        Reply::Started { clamped, .. } => assert_eq!(clamped.len(), 1, "{clamped:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.ended().await.code, 0);
    let own = std::fs::read_to_string(pod.folder.path().join("shim.log")).unwrap();
    assert!(own.contains("as far as it is allowed"), "{own}");
    pod.shut_down().await;
}

#[tokio::test]
async fn a_shim_may_open_what_its_hard_limit_allows() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // For all tests of this process, which is enough for them.
    setrlimit(Resource::RLIMIT_NOFILE, 512, hard).unwrap();
    let pod = Pod::new().await;
    let shim = std::fs::read_to_string(pod.folder.path().join("shim.pid")).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{shim}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    assert_eq!(numbers.collect::<Vec<_>>(), [hard, hard]);
    pod.shut_down().await;
}
