//! `kill -9` of a pod's supervisor.

use crate::suite::*;

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
