//! A daemon of a newer release than the shims that it finds.

use crate::suite::*;

#[tokio::test]
async fn a_shim_that_speaks_one_version_less_keeps_serving() {
    let mut suite = Suite::start().await;
    suite.harness.restart_with(&[("RRUN_SHIM_PROTOCOL", "1")]).await.unwrap();
    let config = suite.harness.pod("old");
    let pod = suite.run_pod(&config).await;
    let first = suite.add(&pod, &config, "first", &["/bin/sleeper"]).await;
    let (pid, shim) = (suite.pid(&first).await, suite.shim(&pod));

    suite.restart().await;
    assert_eq!((suite.pid(&first).await, suite.shim(&pod)), (pid, shim));
    assert_eq!(suite.exec(&first, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    let second = suite.add(&pod, &config, "second", &["/bin/sleeper"]).await;
    assert_eq!(suite.status(&second).await.state, RUNNING);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
