//! Another boot: another id, nothing in /run, no process, link, mount or rule of before.

use crate::suite::*;

#[tokio::test]
async fn after_a_reboot_pods_have_ended_with_a_reason_and_their_addresses_are_free() {
    // A network with an address for one pod.
    let mut suite = Suite::start_with("[network]\nsubnet = \"10.99.0.0/30\"").await;
    let (pod, id) = suite.run("before", &["/bin/sleeper"]).await;
    let address = suite.pod_status(&pod).await.network.unwrap().ip;
    let started = suite.status(&id).await.started_at;
    suite.harness.kill();
    suite.harness.sandbox().reboot().unwrap();
    suite.restart().await;

    let status = suite.pod_status(&pod).await;
    assert_eq!(status.state, NOT_READY);
    let ended = suite.status(&id).await;
    assert_eq!((ended.state, ended.exit_code), (EXITED, 255), "{ended:?}");
    assert!(!ended.reason.is_empty());
    assert_eq!(ended.started_at, started);
    assert_ne!(ended.finished_at, 0);

    // The kubelet's next attempt, beside what is left of the first.
    let mut config = suite.harness.pod("before");
    config.metadata.as_mut().unwrap().attempt = 1;
    let next = suite.run_pod(&config).await;
    assert_ne!(next, pod);
    let again = suite.add(&next, &config, "main", &["/bin/sleeper"]).await;
    assert_eq!(suite.status(&again).await.state, RUNNING);
    assert_eq!(suite.pod_status(&next).await.network.unwrap().ip, address);
    suite.remove(&pod).await;
    assert_eq!(suite.exec(&again, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    suite.remove(&next).await;
    suite.harness.sandbox().end_reboot().unwrap();
    suite.assert_nothing_left();
}
