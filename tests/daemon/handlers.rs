//! Runtime handlers: pods whose containers are made by the command line of another OCI runtime.
//! `rrun-oci` is one that is always there; runc is of `make tools`, and crun Debian's, which wants no
//! unified hierarchy beside others: it is hidden from it.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use rrun_tests::place;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Calls crun where the unified hierarchy is covered, unless there is no other.
const CRUN: &str = r#"#!/bin/sh
[ -d /sys/fs/cgroup/unified ] || exec crun "$@"
exec unshare -m sh -c '
    umount /sys/fs/cgroup/unified && mount -t tmpfs none /sys/fs/cgroup/unified &&
    exec crun "$@"' crun "$@"
"#;

/// The runtimes by the names that pods ask for, and the folder of one of them.
struct Runtimes {
    all: [(&'static str, PathBuf); 3],
    _folder: tempfile::TempDir,
}

impl Runtimes {
    fn find() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let crun = folder.path().join("crun");
        write_program(&crun, CRUN);
        let [oci, runc] = [place::program("rrun-oci"), place::tool("runc")].map(Result::unwrap);
        Runtimes { all: [("rrun-oci", oci), ("runc", runc), ("crun", crun)], _folder: folder }
    }

    fn names(&self) -> [&'static str; 3] {
        self.all.each_ref().map(|(name, _)| *name)
    }

    fn tables(&self) -> String {
        let table = |(name, path): &(&str, PathBuf)| {
            format!("[runtimes.{name}]\npath = '{}'\n", path.display())
        };
        self.all.each_ref().map(table).concat()
    }
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

async fn run_pod(
    suite: &Suite,
    handler: &str,
    config: &PodSandboxConfig,
) -> Result<String, tonic::Status> {
    let request =
        RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
    Ok(suite.harness.client.run_pod_sandbox(request).await?.pod_sandbox_id)
}

/// A pod of a handler with one container that waits.
async fn sleeping(suite: &Suite, handler: &str) -> (PodSandboxConfig, String, String) {
    let config = suite.harness.pod(handler);
    let pod = run_pod(suite, handler, &config).await.unwrap();
    let id = suite.add(&pod, &config, "sleeper", &["/bin/sleeper"]).await;
    (config, pod, id)
}

async fn add_shell(
    suite: &Suite,
    pod: &str,
    of: &PodSandboxConfig,
    name: &str,
    script: &str,
) -> String {
    let container = suite.harness.container(name, BUSYBOX, &["sh", "-c", script]);
    let created = suite.create(pod, container, of).await;
    let id = created.unwrap_or_else(|error| panic!("{error}\n{}", suite.daemon_log()));
    suite.start_container(&id).await.unwrap();
    id
}

/// The table of mounts that the daemon and its shims have.
fn mounts_of_host(suite: &Suite) -> String {
    fs::read_to_string(format!("/proc/{}/mountinfo", suite.harness.sandbox().pid())).unwrap()
}

/// What a container has logged, without times.
fn logged(suite: &Suite, pod: &str, container: &str) -> Vec<String> {
    let log = fs::read_to_string(suite.log_path(pod, container)).unwrap();
    log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn a_container_of_each_runtime_lives_from_create_to_remove_and_leaves_nothing() {
    let runtimes = Runtimes::find();
    let suite = Suite::start_with(&runtimes.tables()).await;
    for name in runtimes.names() {
        let config = suite.harness.pod(name);
        let pod = run_pod(&suite, name, &config).await.unwrap();
        assert_eq!(suite.pod_status(&pod).await.runtime_handler, name);
        let id = add_shell(&suite, &pod, &config, "ends", "echo out; echo err >&2; exit 7").await;
        let ended = suite.ended(&id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (7, "Error"), "{name}");
        assert!(ended.started_at > 0 && ended.started_at <= ended.finished_at);
        let mounts = mounts_of_host(&suite);
        let mut lines = logged(&suite, name, "ends");
        lines.sort();
        assert_eq!(lines, ["stderr F err", "stdout F out"], "{name}");

        // The pod's name, network and memory are its own, and its root is nobody else's.
        let script = "hostname; ls /sys/class/net; echo mine >/dev/shm/x; touch /made; sleep 1000";
        let one = add_shell(&suite, &pod, &config, "one", script).await;
        let other = add_shell(&suite, &pod, &config, "other", "sleep 1000").await;
        suite.until("it has looked", async || logged(&suite, name, "one").len() == 3).await;
        let lines = logged(&suite, name, "one");
        assert_eq!(
            lines,
            [format!("stdout F {name}"), "stdout F eth0".into(), "stdout F lo".into()]
        );
        let seen = suite.exec(&other, &["sh", "-c", "cat /dev/shm/x; ls /made"], 10).await.unwrap();
        assert_eq!((&seen.stdout[..], seen.exit_code), (&b"mine\n"[..], 1), "{name}: {seen:?}");
        // They run with roots of their own, of which the daemon's table of mounts has nothing.
        assert_eq!(mounts_of_host(&suite), mounts, "{name}");
        suite.stop_container(&one, 0).await;
        assert_eq!(suite.status(&one).await.exit_code, 137);
        suite.remove_container(&one).await;
        suite.remove(&pod).await;
        suite.assert_nothing_left();
    }
}

#[tokio::test]
async fn commands_in_a_container_of_each_runtime_have_their_streams_codes_and_deadlines() {
    let runtimes = Runtimes::find();
    let suite = Suite::start_with(&runtimes.tables()).await;
    for name in runtimes.names() {
        let (config, pod, sleeper) = sleeping(&suite, name).await;
        let shell = add_shell(&suite, &pod, &config, "sh", "sleep 1000").await;
        let script = ["sh", "-c", "echo out; echo err >&2; exit 7"];
        let done = suite.exec(&shell, &script, 10).await.unwrap();
        assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(done.exit_code, 7);
        let missing = suite.exec(&shell, &["nothing"], 10).await.unwrap();
        assert_eq!(missing.exit_code, 127, "{name}: {missing:?}");
        for _ in 0..5 {
            assert_eq!(suite.exec(&shell, &["true"], 10).await.unwrap().exit_code, 0);
        }
        let late = suite.exec(&sleeper, &["/bin/work", "tree", "5"], 2).await.unwrap_err();
        assert_eq!(late.code(), tonic::Code::DeadlineExceeded, "{late}");
        let gone = async || {
            let all = suite.settled().await;
            let left = all.of(rrun_tests::leaks::Kind::Process);
            !left.iter().any(|process| process.ends_with(" work"))
        };
        suite.until("its tree is dead", gone).await;
        let said = suite.crictl_on_terminal(&["exec", "-it", &shell, "sh", "-c", "tty; exit 3"]);
        assert!(
            said[0].contains("/dev/pts/") && said[1].contains("exit code 3"),
            "{name}: {said:?}"
        );
        suite.remove(&pod).await;
        suite.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_container_of_each_runtime_is_stopped_with_grace_and_its_limits_are_changed() {
    let runtimes = Runtimes::find();
    let suite = Suite::start_with(&runtimes.tables()).await;
    for name in runtimes.names() {
        let config = suite.harness.pod(name);
        let pod = run_pod(&suite, name, &config).await.unwrap();
        let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done";
        let mut container = suite.harness.container("trap", BUSYBOX, &["sh", "-c", script]);
        let resources =
            LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
        container.linux.as_mut().unwrap().resources = Some(resources);
        let id = suite.create(&pod, container, &config).await.unwrap();
        suite.start_container(&id).await.unwrap();
        suite.until("it is up", async || !logged(&suite, name, "trap").is_empty()).await;
        let pid = suite.pid(&id).await;
        assert_eq!(memory_limit(pid), 64 << 20, "{name}");
        let change =
            LinuxContainerResources { memory_limit_in_bytes: 96 << 20, ..Default::default() };
        let request = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(change),
            ..Default::default()
        };
        suite.harness.client.update_container_resources(request).await.unwrap();
        assert_eq!(memory_limit(pid), 96 << 20, "{name}");
        // Of a group that is not in every hierarchy nothing is told.
        if name != "crun" {
            let request = ContainerStatsRequest { container_id: id.clone() };
            let stats = suite.harness.client.container_stats(request).await.unwrap().stats.unwrap();
            assert!(stats.memory.unwrap().usage_bytes.unwrap().value > 0);
        }
        suite.stop_container(&id, 30).await;
        let ended = suite.status(&id).await;
        assert_eq!((ended.state, ended.exit_code), (EXITED, 5), "{name}: {ended:?}");
        assert_eq!(logged(&suite, name, "trap"), ["stdout F up", "stdout F bye"]);
        suite.remove(&pod).await;
        suite.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_killed_daemon_finds_containers_of_each_runtime_and_removes_them_without_their_tables() {
    let runtimes = Runtimes::find();
    let mut suite = Suite::start_with(&runtimes.tables()).await;
    for name in runtimes.names() {
        let (config, pod, stays) = sleeping(&suite, name).await;
        let ends = add_shell(&suite, &pod, &config, "ends", "sleep 1; echo late; exit 4").await;
        let pid = suite.pid(&stays).await;
        suite.harness.kill();
        std::thread::sleep(Duration::from_millis(1500));
        suite.restart().await;
        assert_eq!(suite.pid(&stays).await, pid);
        let ended = suite.ended(&ends).await;
        assert_eq!(ended.exit_code, 4, "{name}: {ended:?}");
        assert_eq!(logged(&suite, name, "ends"), ["stdout F late"]);
        assert_eq!(suite.exec(&stays, &["/bin/true"], 10).await.unwrap().exit_code, 0);
        // Who has made a container is on record.
        suite.harness.configure("");
        suite.restart().await;
        suite.stop_container(&stays, 10).await;
        assert_eq!(suite.status(&stays).await.exit_code, 0, "{name}");
        suite.remove(&pod).await;
        suite.assert_nothing_left();
        suite.harness.configure(&runtimes.tables());
        suite.restart().await;
    }
}

#[tokio::test]
async fn a_handler_that_is_not_known_is_refused_with_those_that_are_and_each_tells_what_it_can_do()
{
    let runtimes = Runtimes::find();
    let suite = Suite::start_with(&runtimes.tables()).await;
    let refused = run_pod(&suite, "kata", &suite.harness.pod("kata")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let words = "\"kata\" is not known, but crun, rrun, rrun-oci, runc";
    assert!(refused.message().ends_with(words), "{refused}");
    let request = StatusRequest { verbose: true };
    let status = suite.harness.client.status(request).await.unwrap();
    let names: Vec<&str> = status.runtime_handlers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["", "rrun", "crun", "rrun-oci", "runc"]);
    for handler in &status.runtime_handlers {
        // crun has `features` since 1.10 only.
        let can = handler.features.as_ref().map(|features| features.recursive_read_only_mounts);
        assert!(can == Some(true) || (handler.name == "crun" && can.is_none()), "{handler:?}");
    }
    let told = &status.info["runtimes"];
    assert!(told.contains("runc: ok") && told.contains("rrun-oci: ok"), "{told}");
    let mut users = suite.harness.pod("users");
    let ids = vec![IdMapping { host_id: 1 << 20, container_id: 0, length: 65536 }];
    let mode = NamespaceMode::Pod.into();
    let userns_options = Some(UserNamespace { mode, uids: ids.clone(), gids: ids });
    let options = NamespaceOption { userns_options, ..Default::default() };
    users.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
        namespace_options: Some(options),
        ..Default::default()
    });
    let refused = run_pod(&suite, "runc", &users).await.unwrap_err();
    assert!(refused.message().ends_with("userns_options: not with runtime handler \"runc\""));
    let image = ImageSpec {
        image: WORK.to_owned(),
        runtime_handler: "runc".to_owned(),
        ..Default::default()
    };
    let request = PullImageRequest { image: Some(image), ..Default::default() };
    suite.harness.client.pull_image(request).await.unwrap();
    suite.assert_nothing_left();
}

/// A program in the sandbox that stands for a runtime.
fn script(suite: &Suite, name: &str, text: &str) -> PathBuf {
    let path = suite.harness.sandbox().root().join(name);
    write_program(&path, &format!("#!/bin/sh\n{text}\n"));
    path
}

#[tokio::test]
async fn a_runtime_that_fails_hangs_or_vanishes_is_told_by_its_words_and_leaves_nothing() {
    let mut suite = Suite::start().await;
    let log = "while [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; shift; done";
    let says = r#"echo '{"level":"error","msg":"no \"luck\" today","time":"t"}' >$log; exit 1"#;
    let fails = script(&suite, "fails", &format!("{log}\n{says}"));
    let hangs = script(&suite, "hangs", "sleep 1000 & wait");
    let oci = place::program("rrun-oci").unwrap();
    let goes = script(&suite, "goes", &format!("exec {} \"$@\"", oci.display()));
    let table = |name: &str, path: &Path| {
        format!("[runtimes.{name}]\npath = '{}'\ntimeout = 2\n", path.display())
    };
    let tables = [table("fails", &fails), table("hangs", &hangs), table("goes", &goes)].concat();
    suite.harness.configure(&tables);
    suite.restart().await;

    for (name, program, words) in [
        ("fails", &fails, "create: no \"luck\" today"),
        ("hangs", &hangs, "create: not done after 2s, killed"),
    ] {
        let config = suite.harness.pod(name);
        let pod = run_pod(&suite, name, &config).await.unwrap();
        let container = suite.harness.container("main", WORK, &["/bin/sleeper"]);
        let began = Instant::now();
        let error = suite.create(&pod, container, &config).await.unwrap_err();
        let expected = format!("{} {words}", program.display());
        assert!(error.message().ends_with(&expected), "{error}");
        assert!(error.message().starts_with("create container main: "), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30));
        suite.remove(&pod).await;
        suite.until_clean();
    }

    let (config, pod, id) = sleeping(&suite, "goes").await;
    fs::remove_file(&goes).unwrap();
    let container = suite.harness.container("later", WORK, &["/bin/sleeper"]);
    let error = suite.create(&pod, container, &config).await.unwrap_err();
    assert!(error.message().contains(goes.to_str().unwrap()), "{error}");
    let other = suite.harness.pod("gone");
    let error = run_pod(&suite, "goes", &other).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    assert!(error.message().contains("\"goes\"") && error.message().ends_with("ENOENT"), "{error}");
    suite.stop_container(&id, 10).await;
    assert_eq!(suite.status(&id).await.exit_code, 0);
    suite.remove(&pod).await;
    suite.until_clean();
}

#[tokio::test]
async fn a_runtime_that_does_not_forget_a_container_keeps_nobody_from_removing_it() {
    let mut suite = Suite::start().await;
    let oci = place::program("rrun-oci").unwrap();
    let words = format!(
        "for word; do [ $word = delete ] && sleep 1000; done; exec {} \"$@\"",
        oci.display()
    );
    let keeps = script(&suite, "keeps", &words);
    let table = format!("[runtimes.keeps]\npath = '{}'\ntimeout = 55\n", keeps.display());
    suite.harness.configure(&table);
    suite.restart().await;
    let (_, pod, id) = sleeping(&suite, "keeps").await;
    let removed = tokio::time::timeout(Duration::from_secs(40), suite.remove_container(&id)).await;
    removed.expect("it is waited for less long than for other calls");
    let log = suite.daemon_log();
    assert!(log.contains("delete: not done after 10 s, killed"), "{log}");
    suite.remove(&pod).await;
    suite.until_clean();
}

#[tokio::test]
async fn of_a_container_whose_record_is_broken_no_bundle_and_no_record_of_its_runtime_is_left() {
    let runtimes = Runtimes::find();
    let mut suite = Suite::start_with(&runtimes.tables()).await;
    let (_, pod, id) = sleeping(&suite, "runc").await;
    let run = suite.run_folder(&pod);
    let folders = [run.join("bundles").join(&id), run.join("programs").join(&id)];
    assert!(folders.iter().all(|folder| folder.exists()), "{folders:?}");
    suite.harness.kill();
    let state = suite.harness.sandbox().state();
    fs::write(state.join(format!("pods/{pod}/containers/{id}.json")), "torn").unwrap();
    suite.restart().await;
    assert!(!folders.iter().any(|folder| folder.exists()), "{folders:?}");
    suite.remove(&pod).await;
    fs::remove_dir_all(state.join("quarantine")).unwrap();
    suite.until_clean();
}
