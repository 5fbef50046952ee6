//! A daemon of a newer release than the shims that it finds.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::{LinuxContainerResources, UpdateContainerResourcesRequest};
use rrun_tests::earlier;
use std::fs;
use std::os::unix::fs::MetadataExt;

#[tokio::test]
async fn a_shim_of_an_earlier_commit_serves_todays_daemon_from_start_to_removal() {
    let Some(shim) = earlier::shim().unwrap() else {
        return eprintln!("skipped: this checkout has no history (git fetch --unshallow)");
    };
    let mut suite = Suite::start_with(&format!("shim = \"{}\"", shim.display())).await;
    let config = suite.harness.pod("old");
    let pod = suite.run_pod(&config).await;
    let running = suite.shim(&pod);
    let program = fs::metadata(format!("/proc/{running}/exe")).unwrap();
    assert_eq!(program.ino(), shim.metadata().unwrap().ino());
    let first = suite.add(&pod, &config, "first", &["/bin/sleeper"]).await;
    let pid = suite.pid(&first).await;

    // Another daemon finds it, and makes more in it.
    suite.restart().await;
    assert_eq!((suite.pid(&first).await, suite.shim(&pod)), (pid, running));
    assert_eq!(suite.exec(&first, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    assert_eq!(suite.exec(&first, &["/bin/work", "exit", "3"], 10).await.unwrap().exit_code, 3);
    // It speaks version 1, and an update is of version 2.
    let limit = LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
    let update = UpdateContainerResourcesRequest {
        container_id: first.clone(),
        linux: Some(limit),
        ..Default::default()
    };
    let refused = suite.harness.client.update_container_resources(update).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented, "{refused}");
    let words = "the pod's shim is of a release without this";
    assert!(refused.message().contains(words), "{refused}");
    let resources = suite.status(&first).await.resources.unwrap().linux.unwrap();
    assert_eq!(resources.memory_limit_in_bytes, 0, "nothing is told that is not in force");
    let second = suite.add(&pod, &config, "second", &["/bin/work", "numbers", "1000", "50"]).await;
    assert_eq!(suite.ended(&second).await.exit_code, 0);
    let mut lines = [0, 0];
    crate::log::read(&suite.log_path("old", "second"), &mut lines);
    assert_eq!(lines, [50, 50]);
    let none = suite.harness.container("third", rrun_tests::harness::WORK, &["/bin/none"]);
    let third = suite.create(&pod, none, &config).await.unwrap();
    suite.start_container(&third).await.unwrap_err();
    assert_eq!(suite.status(&third).await.exit_code, 128);

    suite.stop(&pod).await;
    assert_eq!(suite.status(&first).await.state, EXITED);
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
