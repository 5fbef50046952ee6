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
