//! A path of the host on a file system that never answers.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::fuse::{Answered, Fuse};
use rrun_tests::harness::{BUSYBOX, WORK};
use std::path::Path;
use tonic::Code;

#[tokio::test]
async fn a_path_that_never_answers_costs_its_own_create_and_nothing_else() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let main = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let (neighbour, _) = suite.run("neighbour", &["/bin/sleeper"]).await;
    let path = suite.harness.sandbox().root().join("hung");
    let hung = Fuse::mount(&path, suite.harness.sandbox().pid(), Answered::Nobody);
    let mounts = || {
        let host_path = path.to_string_lossy().into_owned();
        vec![Mount { host_path, container_path: "/data".to_owned(), ..Default::default() }]
    };
    let container = |name: &str| suite.harness.container(name, WORK, &["/bin/sleeper"]);
    let with_path = |name: &str| ContainerConfig { mounts: mounts(), ..container(name) };

    let stuck = suite.create(&pod, with_path("stuck"), &config);
    let others = async {
        let third = suite.add(&pod, &config, "third", &["/bin/sleeper"]).await;
        assert_eq!(suite.exec(&third, &["/bin/true"], 10).await.unwrap().exit_code, 0);
        let (other, _) = suite.run("other", &["/bin/sleeper"]).await;
        suite.remove(&other).await;
        assert_eq!(suite.status(&main).await.state, RUNNING);
        suite.stop(&pod).await;
        assert_eq!(suite.status(&main).await.state, EXITED);
        suite.remove(&pod).await;
    };
    tokio::pin!(stuck);
    tokio::select! {
        biased;
        early = &mut stuck => panic!("the create ended before the others: {early:?}"),
        () = others => {}
    }
    let refused = stuck.await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    let words = format!("create container stuck: host path {}: no answer in 10s", path.display());
    assert!(refused.message().contains(&words), "{refused} instead of {words}");

    // It is known by now: nobody waits for it again.
    let config = suite.harness.pod("neighbour");
    let refused = suite.create(&neighbour, with_path("again"), &config).await.unwrap_err();
    assert!(refused.message().contains("has not come back"), "{refused}");
    // Nor for a file of the node that a pod's own process is confined by.
    let mut confined = suite.harness.pod("confined");
    let profile = SecurityProfile {
        profile_type: security_profile::ProfileType::Localhost as i32,
        localhost_ref: path.join("profile.json").to_string_lossy().into_owned(),
    };
    confined.linux.as_mut().unwrap().security_context =
        Some(LinuxSandboxSecurityContext { seccomp: Some(profile), ..Default::default() });
    let request = RunPodSandboxRequest { config: Some(confined), ..Default::default() };
    let run = tokio::time::timeout(PATIENCE, suite.harness.client.run_pod_sandbox(request));
    let refused = run.await.expect("the pod waits for its profile").unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert!(refused.message().contains("profile.json: no answer in 10s"), "{refused}");
    drop(hung);
    suite
        .until("the path answers", async || {
            suite.create(&neighbour, with_path("again"), &config).await.is_ok()
        })
        .await;
    suite.remove(&neighbour).await;
    suite.assert_nothing_left();
}

/// A container with this path of the host at `/data`.
fn with_path(suite: &Suite, path: &Path, image: &str, words: &[&str]) -> ContainerConfig {
    let host_path = path.to_string_lossy().into_owned();
    let mount = Mount { host_path, container_path: "/data".to_owned(), ..Default::default() };
    ContainerConfig { mounts: vec![mount], ..suite.harness.container("stuck", image, words) }
}

/// What hung has ended, and nothing is left.
async fn nothing_left_after(suite: &Suite, fuse: Fuse) {
    drop(fuse);
    suite.until_clean();
}

#[tokio::test]
async fn a_path_that_hangs_once_its_container_is_made_costs_that_alone_and_ends_with_its_pod() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let main = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let path = suite.harness.sandbox().root().join("hung");
    let daemon = suite.harness.daemon().unwrap().pid();
    let fuse = Fuse::mount(&path, suite.harness.sandbox().pid(), Answered::Process(daemon));
    let path = path.join("data");

    let stuck = with_path(&suite, &path, WORK, &["/bin/sleeper"]);
    let stuck = suite.create(&pod, stuck, &config);
    let others = async {
        suite.until("its init hangs", async || fuse.hangs()).await;
        let third = suite.add(&pod, &config, "third", &["/bin/sleeper"]).await;
        suite.stop_container(&third, 0).await;
        assert_eq!(suite.status(&main).await.state, RUNNING);
    };
    tokio::pin!(stuck);
    tokio::select! {
        biased;
        early = &mut stuck => panic!("the create ended before the others: {early:?}"),
        () = others => {}
    }
    let (refused, ()) = tokio::join!(stuck, suite.remove(&pod));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    let hangs = format!("create container stuck: host path {}: no answer in 1s", path.display());
    assert!(refused.message().contains(&hangs), "{refused} instead of {hangs}");
    assert!(refused.message().contains("the pod is stopped"), "{refused}");
    nothing_left_after(&suite, fuse).await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_because_its_path_hangs_ends_with_its_pod() {
    let suite = Suite::start().await;
    let path = suite.harness.sandbox().root().join("hung");
    let daemon = suite.harness.daemon().unwrap().pid();
    let fuse = Fuse::mount(&path, suite.harness.sandbox().pid(), Answered::Process(daemon));
    let mut config = suite.harness.pod("hangs");
    config.log_directory = path.join("data").to_string_lossy().into_owned();
    let pod = suite.run_pod(&config).await;
    let stuck = suite.harness.container("stuck", WORK, &["/bin/sleeper"]);
    let stuck = suite.create(&pod, stuck, &config);
    let removed = async {
        suite.until("its shim hangs", async || fuse.hangs()).await;
        suite.remove(&pod).await;
    };
    let (refused, ()) = tokio::join!(stuck, removed);
    let refused = refused.unwrap_err();
    assert!(refused.message().contains("data: no answer in 1s"), "{refused}");
    nothing_left_after(&suite, fuse).await;
}

#[tokio::test]
async fn a_container_that_hangs_at_a_path_of_the_host_ends_with_its_pod() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let path = suite.harness.sandbox().root().join("hung");
    let fuse = Fuse::mount(&path, suite.harness.sandbox().pid(), Answered::Everybody);
    let stuck = with_path(&suite, &path, BUSYBOX, &["ls", "/data/data"]);
    let stuck = suite.create(&pod, stuck, &config).await.unwrap();
    fuse.hang();
    suite.start_container(&stuck).await.unwrap();
    suite.until("it hangs", async || fuse.hangs()).await;
    suite.stop(&pod).await;
    let ended = suite.status(&stuck).await;
    assert_eq!((ended.state, ended.exit_code), (EXITED, 137), "{ended:?}");
    suite.remove(&pod).await;
    nothing_left_after(&suite, fuse).await;
}

#[tokio::test]
async fn a_program_on_a_path_that_hangs_costs_its_own_start_and_nothing_else_of_its_pod() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let main = suite.add(&pod, &config, "main", &["/bin/sleeper"]).await;
    let path = suite.harness.sandbox().root().join("hung");
    let fuse = Fuse::mount(&path, suite.harness.sandbox().pid(), Answered::Everybody);
    let stuck = with_path(&suite, &path, WORK, &["/data/data/program"]);
    let stuck = suite.create(&pod, stuck, &config).await.unwrap();
    fuse.hang();
    let start = suite.start_container(&stuck);
    let others = async {
        suite.until("its init hangs", async || fuse.hangs()).await;
        let third = suite.add(&pod, &config, "third", &["/bin/sleeper"]).await;
        assert_eq!(suite.exec(&third, &["/bin/true"], 10).await.unwrap().exit_code, 0);
        suite.stop_container(&third, 0).await;
        suite.remove_container(&third).await;
        let ends = suite.add(&pod, &config, "ends", &["/bin/true"]).await;
        suite.ended(&ends).await;
        assert_eq!(suite.status(&main).await.state, RUNNING);
    };
    tokio::pin!(start);
    tokio::select! {
        biased;
        early = &mut start => panic!("the start ended before the others: {early:?}"),
        () = others => {}
    }
    let (refused, ()) = tokio::join!(start, suite.remove(&pod));
    refused.unwrap_err();
    nothing_left_after(&suite, fuse).await;
}

#[tokio::test]
async fn an_exec_that_hangs_while_it_is_made_is_over_at_its_deadline_and_the_container_runs_on() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("hangs");
    let pod = suite.run_pod(&config).await;
    let path = suite.harness.sandbox().root().join("hung");
    let fuse = Fuse::mount(&path, suite.harness.sandbox().pid(), Answered::Everybody);
    let mut container = with_path(&suite, &path, WORK, &["/bin/sleeper"]);
    container.working_dir = "/data/data".to_owned();
    let main = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&main).await.unwrap();
    fuse.hang();
    let refused = suite.exec(&main, &["/bin/true"], 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert!(refused.message().contains("timed out after 1s"), "{refused}");
    assert_eq!(suite.status(&main).await.state, RUNNING);
    suite.remove(&pod).await;
    nothing_left_after(&suite, fuse).await;
}
