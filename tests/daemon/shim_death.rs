//! `kill -9` of a pod's supervisor.

use crate::suite::*;
use nix::sys::signal::Signal;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::{BUSYBOX, WORK};
use std::fs;
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn a_pod_whose_shim_is_killed_ends_with_a_reason_and_its_neighbour_lives() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("orphan");
    let pod = suite.run_pod(&config).await;
    let quiet = suite.add(&pod, &config, "quiet", &["/bin/sleeper"]).await;
    let loud = suite.add(&pod, &config, "loud", &["/bin/work", "numbers", "1000"]).await;
    let over = suite.add(&pod, &config, "over", &["/bin/work", "exit", "5"]).await;
    assert_eq!(suite.ended(&over).await.exit_code, 5);
    let (neighbour, its) = suite.run("neighbour", &["/bin/sleeper"]).await;
    let pid = suite.pid(&its).await;

    kill(suite.shim(&pod));
    let state = async || suite.pod_status(&pod).await.state;
    suite.until("the pod is not ready", async || state().await == NOT_READY).await;
    for id in [&quiet, &loud] {
        let ended = suite.ended(id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "ShimLost"), "{ended:?}");
        assert_ne!(ended.finished_at, 0);
    }
    let known = suite.status(&over).await;
    assert_eq!((known.exit_code, known.reason.as_str()), (5, "Error"));

    assert_eq!(suite.status(&its).await.state, RUNNING);
    assert_eq!(suite.pid(&its).await, pid);
    assert_eq!(suite.exec(&its, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.remove(&pod).await;
    suite.remove(&neighbour).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_shim_that_dies_with_the_daemon_is_found_missing_by_the_next() {
    let mut suite = Suite::start().await;
    let (pod, id) = suite.run("both", &["/bin/sleeper"]).await;
    let shim = suite.shim(&pod);
    suite.harness.kill();
    kill(shim);
    suite.restart().await;
    assert_eq!(suite.pod_status(&pod).await.state, NOT_READY);
    let ended = suite.status(&id).await;
    assert_eq!((ended.state, ended.exit_code), (EXITED, 137), "{ended:?}");
    assert_eq!(ended.reason, "ShimLost");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_and_a_shim_that_die_together_while_the_pod_is_busy_leave_nothing() {
    let mut suite = Suite::start().await;
    for (round, delay) in [0, 2, 5, 10, 20, 50].into_iter().enumerate() {
        let mut config = suite.harness.pod(&format!("busy{round}"));
        let namespaces = NamespaceOption { pid: NamespaceMode::Pod as i32, ..Default::default() };
        config.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces),
            ..Default::default()
        });
        let pod = suite.run_pod(&config).await;
        let main = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
        let over = suite.add(&pod, &config, "over", &["/bin/work", "exit", "5"]).await;
        suite.ended(&over).await;
        // A container is made meanwhile, and a command runs.
        let client = suite.harness.client.clone();
        let create = CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(suite.harness.container("late", WORK, &["/bin/sleeper"])),
            sandbox_config: Some(config.clone()),
        };
        let late = tokio::spawn(async move {
            let container_id = client.create_container(create).await?.container_id;
            client.start_container(StartContainerRequest { container_id }).await
        });
        let client = suite.harness.client.clone();
        let cmd = ["/bin/work", "tree", "3"].map(str::to_owned).to_vec();
        let exec = ExecSyncRequest { container_id: main.clone(), cmd, timeout: 0 };
        let exec = tokio::spawn(async move { client.exec_sync(exec).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let (shim, daemon) = (suite.shim(&pod), suite.harness.daemon().unwrap().pid());
        for pid in [shim, daemon.cast_signed()] {
            kill(pid);
        }
        let _ = (late.await.unwrap(), exec.await.unwrap());
        suite.restart().await;
        assert_eq!(suite.pod_status(&pod).await.state, NOT_READY);
        let all = suite.harness.client.list_containers(Default::default()).await.unwrap();
        for container in &all.containers {
            let status = suite.status(&container.id).await;
            let never_started = status.started_at == 0 && status.state == CREATED;
            assert!(status.state == EXITED || never_started, "{status:?}");
        }
        assert_eq!(suite.status(&over).await.exit_code, 5);
        suite.remove(&pod).await;
        suite.assert_nothing_left();
    }
}

#[tokio::test]
async fn what_a_container_has_written_is_logged_once_and_in_order_when_its_shim_is_killed() {
    let suite = Suite::start().await;
    for round in 0..8 {
        let name = format!("words{round}");
        // A line to stdout, one to stderr, 100,000 times a second.
        let (pod, id) = suite.run(&name, &["/bin/work", "numbers", "100000"]).await;
        let log = suite.log_path(&name, "main");
        let written = || log.metadata().map_or(0, |file| file.len());
        suite.until("the log grows", async || written() > (round + 1) << 18).await;
        kill(suite.shim(&pod));
        let ended = suite.ended(&id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "ShimLost"), "{ended:?}");
        let mut next = [0, 0];
        crate::log::read(&log, &mut next);
        let [stdout, stderr] = next;
        assert!(stdout == stderr || stdout == stderr + 1, "{stdout} to stdout, {stderr} to stderr");
        suite.remove(&pod).await;
    }
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_container_lives_on_without_its_shim_until_the_daemon_ends_it() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("headless");
    let pod = suite.run_pod(&config).await;
    let ends = suite.add(&pod, &config, "ends", &["/bin/sleeper"]).await;
    let writes = suite.add(&pod, &config, "writes", &["/bin/work", "numbers", "1000"]).await;
    let mut cat = suite.harness.container("reads", BUSYBOX, &["cat"]);
    cat.stdin = true;
    let reads = suite.create(&pod, cat, &config).await.unwrap();
    suite.start_container(&reads).await.unwrap();
    let (sleeper, writer) = (suite.pid(&ends).await, suite.pid(&writes).await);
    let daemon = suite.harness.daemon().unwrap().pid();
    suite.freeze(daemon as i32).await;
    kill(suite.shim(&pod));
    // Its pipe is full now, and nobody reads.
    let blocks = || fs::read_to_string(format!("/proc/{writer}/wchan")).unwrap();
    suite.until("the writer waits", async || blocks().contains("pipe")).await;
    signal(sleeper as i32, Signal::SIGTERM);
    let gone = || !Path::new(&format!("/proc/{sleeper}")).exists();
    suite.until("the sleeper ends", async || gone()).await;
    signal(daemon as i32, Signal::SIGCONT);
    let ended = suite.ended(&ends).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{ended:?}");
    // Neither a write without a reader nor an end of input was its end.
    for id in [&writes, &reads] {
        let ended = suite.ended(id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "ShimLost"), "{ended:?}");
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn the_daemon_holds_three_descriptors_of_a_container_and_one_of_a_pod_and_none_of_the_past() {
    let mut suite = Suite::start().await;
    let config = suite.harness.pod("descriptors");
    let pod = suite.run_pod(&config).await;
    let before = held(&suite);
    // Its pidfd and its two pipes, and its shim's.
    let first = suite.add(&pod, &config, "first", &["/bin/sleeper"]).await;
    assert_eq!(held(&suite), before + 4);
    let second = suite.add(&pod, &config, "second", &["/bin/sleeper"]).await;
    assert_eq!(held(&suite), before + 7);
    suite.restart().await;
    assert_eq!(held(&suite), before + 7);
    for (id, rest) in [(first, 4), (second, 1)] {
        signal(suite.pid(&id).await as i32, Signal::SIGTERM);
        suite.ended(&id).await;
        assert_eq!(held(&suite), before + rest);
    }
    suite.remove(&pod).await;
    assert_eq!(held(&suite), before);
    suite.assert_nothing_left();
}

/// Pipes and pidfds of the daemon.
fn held(suite: &Suite) -> usize {
    let daemon = suite.harness.daemon().unwrap().pid();
    let all = fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().flatten();
    let links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    let links = links.map(|link| link.display().to_string());
    links.filter(|link| link.starts_with("pipe:") || link.contains("pidfd")).count()
}
