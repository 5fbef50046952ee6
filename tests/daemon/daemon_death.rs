//! `kill -9` of the daemon while its pods run.

use crate::suite::*;
use rrun_cri_api::Cri;

#[tokio::test]
async fn a_daemon_that_is_killed_finds_its_containers_as_they_are() {
    let mut suite = Suite::start().await;
    let config = suite.harness.pod("outlives");
    let pod = suite.run_pod(&config).await;
    let stays = suite.add(&pod, &config, "stays", &["/bin/sleeper"]).await;
    let logs = suite.add(&pod, &config, "logs", &["/bin/work", "numbers", "100"]).await;
    let fifo = suite.add(&pod, &config, "ends", &["/bin/sleeper"]).await;
    let crashes = suite.add(&pod, &config, "crashes", &["/bin/stubborn"]).await;
    let ip = suite.pod_status(&pod).await.network.unwrap().ip;
    let pids = (suite.pid(&stays).await, suite.pid(&logs).await, suite.shim(&pod));
    let (ends, dies) = (suite.pid(&fifo).await, suite.pid(&crashes).await);

    // An exec that runs when its daemon dies goes with it.
    let quiet = count(&suite, " work");
    let client = suite.harness.client.clone();
    let request = rrun_cri_api::v1::ExecSyncRequest {
        container_id: stays.clone(),
        cmd: ["/bin/work", "tree", "3"].map(str::to_owned).to_vec(),
        timeout: 0,
    };
    let exec = tokio::spawn(async move { client.exec_sync(request).await });
    suite.until("the exec runs", async || count(&suite, " work") == quiet + 4).await;

    suite.harness.kill();
    exec.await.unwrap().unwrap_err();
    let meanwhile = now();
    // SIGTERM, on which a sleeper ends with 0; and the other by SIGKILL.
    let ends = nix::unistd::Pid::from_raw(ends as i32);
    nix::sys::signal::kill(ends, nix::sys::signal::Signal::SIGTERM).unwrap();
    kill(dies as i32);
    let gone = |pid: i64| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    suite.until("they end", async || gone(ends.as_raw().into()) && gone(dies)).await;
    let before_restart = now();
    suite.restart().await;

    assert_eq!(suite.pod_status(&pod).await.state, READY);
    assert_eq!(suite.pod_status(&pod).await.network.unwrap().ip, ip);
    let again = (suite.pid(&stays).await, suite.pid(&logs).await, suite.shim(&pod));
    assert_eq!(again, pids);
    for (id, code, reason) in [(&fifo, 0, "Completed"), (&crashes, 137, "Error")] {
        let status = suite.status(id).await;
        assert_eq!((status.state, status.exit_code), (EXITED, code), "{status:?}");
        assert_eq!(status.reason, reason);
        assert!((meanwhile..=before_restart).contains(&status.finished_at), "{status:?}");
    }
    assert_eq!(suite.exec(&stays, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.until("the exec is gone", async || count(&suite, " work") == quiet).await;
    let length = || suite.log_path("outlives", "logs").metadata().unwrap().len();
    let seen = length();
    suite.until("the log grows", async || length() > seen).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[test]
fn a_point_that_there_is_not_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("rrund.toml");
    std::fs::write(&config, format!("run = '{}'\n", folder.path().join("run").display())).unwrap();
    for variable in ["RRUN_KILL_AT", "RRUN_STOP_AT"] {
        for typo in ["engine.run-pod.netwrk:before", "engine.run-pod.network:befor"] {
            let mut rrund =
                std::process::Command::new(rrun_tests::place::program("rrund").unwrap());
            rrund.arg("--config").arg(&config).env(variable, typo);
            let ended = rrun_tests::limit::output(&mut rrund).unwrap();
            assert_eq!(ended.status.code(), Some(2));
            let said = String::from_utf8(ended.stderr).unwrap();
            assert!(said.contains(&format!("{variable}: there is no point \"{typo}\"")), "{said}");
        }
    }
}

/// Processes of the sandbox whose name ends so.
fn count(suite: &Suite, name: &str) -> usize {
    let all = suite.harness.snapshot().unwrap();
    all.of(rrun_tests::leaks::Kind::Process).iter().filter(|line| line.ends_with(name)).count()
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_a_removal_goes_on_with_it() {
    let mut suite = Suite::start().await;
    for delay in [0, 1, 3, 10, 30, 100] {
        let (pod, _) = suite.run(&format!("gone{delay}"), &["/bin/stubborn"]).await;
        let client = suite.harness.client.clone();
        let request = rrun_cri_api::v1::RemovePodSandboxRequest { pod_sandbox_id: pod.clone() };
        let removal = tokio::spawn(async move { client.remove_pod_sandbox(request).await });
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        suite.restart().await;
        let _ = removal.await.unwrap();
        suite.remove(&pod).await;
        suite.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_an_exec_an_attach_or_a_log_leaves_the_container_as_it_is() {
    let mut suite = Suite::start().await;
    let (pod, main) = suite.run("streams", &["/bin/sleeper"]).await;
    let (pid, quiet) = (suite.pid(&main).await, count(&suite, " work"));
    let log = suite.log_path("streams", "main");
    for step in ["engine.exec.start", "engine.attach.attach", "engine.reopen-log.reopen"] {
        for side in ["before", "after"] {
            let point = format!("{step}:{side}");
            suite.harness.restart_with(&[("RRUN_KILL_AT", &point)]).await.unwrap();
            let said = match step {
                "engine.exec.start" => {
                    let exec = suite.exec(&main, &["/bin/work", "tree", "3"], 0).await;
                    exec.unwrap_err().to_string()
                }
                "engine.attach.attach" => attach(&suite, &main),
                _ => {
                    std::fs::remove_file(&log).unwrap();
                    reopen(&suite, &main).await.unwrap_err().to_string()
                }
            };
            let deadline = std::time::Instant::now() + PATIENCE;
            while !suite.harness.has_ended().unwrap() {
                assert!(std::time::Instant::now() < deadline, "{point} is not reached: {said}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            suite.restart().await;
            assert_eq!((suite.pid(&main).await, suite.status(&main).await.state), (pid, RUNNING));
            assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
            suite.until("its exec is gone", async || count(&suite, " work") == quiet).await;
            reopen(&suite, &main).await.unwrap();
            assert!(log.exists(), "{point}");
        }
    }
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

/// With an end of its own. What it ends with says nothing: to client-go a stream that is cut has
/// ended.
fn attach(suite: &Suite, id: &str) -> String {
    let ended = suite.crictl(&["attach", id]).output().unwrap();
    assert_ne!(ended.status.code(), Some(124), "attach goes on without a daemon");
    format!("attach: {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr))
}

async fn reopen(suite: &Suite, id: &str) -> Result<(), tonic::Status> {
    let container_id = id.to_owned();
    let request = rrun_cri_api::v1::ReopenContainerLogRequest { container_id };
    suite.harness.client.reopen_container_log(request).await.map(drop)
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_a_pull_or_at_the_removal_of_an_image_goes_on_with_either() {
    use rrun_cri_api::v1::{ImageSpec, PullImageRequest, RemoveImageRequest};
    let mut suite = Suite::start().await;
    let image =
        Some(ImageSpec { image: rrun_tests::harness::BUSYBOX.to_owned(), ..Default::default() });
    for delay in [0, 1, 3, 10, 30, 100, 300] {
        for pulls in [false, true] {
            let (client, wanted) = (suite.harness.client.clone(), image.clone());
            let call = tokio::spawn(async move {
                let image = wanted;
                match pulls {
                    true => {
                        let request = PullImageRequest { image, ..Default::default() };
                        client.pull_image(request).await.map(drop)
                    }
                    false => client.remove_image(RemoveImageRequest { image }).await.map(drop),
                }
            });
            tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
            suite.restart().await;
            // Either answer: it may have been done before.
            let _ = call.await.unwrap();
            if !pulls {
                let image = image.clone();
                let request = RemoveImageRequest { image };
                suite.harness.client.remove_image(request).await.unwrap();
            }
        }
        suite.harness.pull(rrun_tests::harness::BUSYBOX).await.unwrap();
        let config = suite.harness.pod("uses");
        let pod = suite.run_pod(&config).await;
        let uses = suite.harness.container("main", rrun_tests::harness::BUSYBOX, &["true"]);
        let id = suite.create(&pod, uses, &config).await.unwrap();
        suite.start_container(&id).await.unwrap();
        assert_eq!(suite.ended(&id).await.exit_code, 0);
        suite.remove(&pod).await;
    }
    suite.until_clean();
}
