//! A supervisor that lives and does not answer.

use crate::suite::*;
use nix::sys::signal::Signal;
use rrun_cri_api::Cri;
use rrun_tests::harness::WORK;
use tonic::Code::DeadlineExceeded;

#[tokio::test]
async fn calls_to_a_hung_shim_fail_in_time_and_succeed_when_it_goes_on_and_others_notice_nothing() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let main = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let container = |name: &str| suite.harness.container(name, WORK, &["/bin/sleeper"]);
    let waits = suite.create(&pod, container("waits"), &config).await.unwrap();
    let (neighbour, its) = suite.run("neighbour", &["/bin/sleeper"]).await;
    let shim = suite.shim(&pod);
    suite.freeze(shim).await;

    let late = format!("shim {shim}: no answer in 10s");
    let calls = async {
        let (started, created, executed) = tokio::join!(
            suite.start_container(&waits),
            suite.create(&pod, container("new"), &config),
            suite.exec(&main, &["/bin/true"], 1),
        );
        for refused in [started.unwrap_err(), created.unwrap_err(), executed.unwrap_err()] {
            assert_eq!(refused.code(), DeadlineExceeded, "{refused}");
            assert!(refused.message().contains(&late), "{refused}");
        }
    };
    let others = async {
        let client = &suite.harness.client;
        let pods = client.list_pod_sandbox(Default::default()).await.unwrap().items;
        assert_eq!(pods.len(), 2);
        let containers = client.list_containers(Default::default()).await.unwrap().containers;
        assert_eq!(containers.len(), 3);
        assert_eq!(suite.pod_status(&pod).await.state, READY);
        assert_eq!(suite.status(&main).await.state, RUNNING);
        assert_eq!(suite.exec(&its, &["/bin/true"], 10).await.unwrap().exit_code, 0);
        let (third, _) = suite.run("third", &["/bin/sleeper"]).await;
        suite.remove(&third).await;
        // None of it waited for the shim.
        false
    };
    tokio::pin!(calls);
    let in_time = tokio::select! { biased; () = &mut calls => true, done = others => done };
    assert!(!in_time, "a call to a hung shim ended before the others");
    calls.await;

    signal(shim, Signal::SIGCONT);
    suite.start_container(&waits).await.unwrap();
    assert_eq!(suite.status(&waits).await.state, RUNNING);
    let new = suite.create(&pod, container("new"), &config).await.unwrap();
    suite.start_container(&new).await.unwrap();
    assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.remove(&neighbour).await;
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_pod_whose_shim_hangs_is_stopped_and_removed_with_its_log_complete() {
    let suite = Suite::start().await;
    let (pod, id) = suite.run("stuck", &["/bin/work", "numbers", "1000"]).await;
    let log = suite.log_path("stuck", "main");
    suite.until("the log grows", async || log.metadata().is_ok_and(|f| f.len() > 100_000)).await;
    let shim = suite.shim(&pod);
    suite.freeze(shim).await;
    suite.stop(&pod).await;
    let gone = || !std::path::Path::new(&format!("/proc/{shim}")).exists();
    suite.until("the shim is gone", async || gone()).await;
    assert_eq!(suite.pod_status(&pod).await.state, NOT_READY);
    let ended = suite.status(&id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "ShimLost"), "{ended:?}");
    let mut next = [0, 0];
    crate::log::read(&log, &mut next);
    assert!(next[0] == next[1] || next[0] == next[1] + 1, "{next:?}");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_pod_whose_shim_hangs_while_the_daemon_starts_is_served_when_it_goes_on() {
    let mut suite = Suite::start().await;
    let (pod, id) = suite.run("later", &["/bin/sleeper"]).await;
    let (shim, pid) = (suite.shim(&pod), suite.pid(&id).await);
    suite.freeze(shim).await;
    suite.restart().await;
    assert_eq!(suite.pod_status(&pod).await.state, READY);
    assert_eq!(suite.status(&id).await.state, RUNNING);
    suite.exec(&id, &["/bin/true"], 10).await.unwrap_err();
    signal(shim, Signal::SIGCONT);
    let answers = async || suite.exec(&id, &["/bin/true"], 10).await.is_ok();
    suite.until("it is dialled again", answers).await;
    assert_eq!(suite.pid(&id).await, pid);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
