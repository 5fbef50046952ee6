//! A disk of the state on which every write waits.

use crate::full_disk::copy_state;
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::disk::Disk;
use std::path::Path;

#[tokio::test]
async fn containers_are_stopped_though_the_disk_of_the_state_hangs_and_the_rest_follows_later() {
    let mut suite = Suite::start().await;
    suite.harness.kill();
    let sandbox = suite.harness.sandbox();
    let image = sandbox.root().join("disk");
    let disk = Disk::mount(Path::new("/var/lib/rrun"), image, sandbox.prefix());
    copy_state(&suite);
    suite.restart().await;
    let config = suite.harness.pod("stands");
    let (pod, main) = suite.run("stands", &["/bin/sleeper"]).await;
    let second = suite.add(&pod, &config, "second", &["/bin/sleeper"]).await;
    let (other, beside) = suite.run("other", &["/bin/sleeper"]).await;
    let mut of_host = suite.harness.pod("of-host");
    let namespaces = NamespaceOption { network: NamespaceMode::Node as i32, ..Default::default() };
    of_host.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces),
        ..Default::default()
    });
    let of_host = suite.run_pod(&of_host).await;
    suite.exec(&main, &["/bin/true"], 10).await.unwrap();

    disk.freeze();
    let client = suite.harness.client.clone();
    let late = suite.harness.pod("late");
    let late = RunPodSandboxRequest { config: Some(late), ..Default::default() };
    let late = tokio::spawn(async move { client.run_pod_sandbox(late).await });
    for container in [&second, &beside] {
        suite.stop_container(container, 1).await;
        assert_eq!(suite.status(container).await.state, EXITED);
    }
    assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    let all = suite.harness.client.list_containers(Default::default()).await.unwrap();
    assert_eq!(all.containers.len(), 3);
    // What has an address is told to be tried again; its processes have ended.
    let client = suite.harness.client.clone();
    let stop = StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
    let stop = tokio::spawn(async move { client.stop_pod_sandbox(stop).await });
    suite.until("it is stopped", async || suite.status(&main).await.state == EXITED).await;
    let refused = stop.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused}");
    assert!(refused.message().contains("network: del: the disk of the network"), "{refused}");
    // So are its containers, whose layers are on that disk, too.
    let remove = RemoveContainerRequest { container_id: second.clone() };
    let refused = suite.harness.client.remove_container(remove).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused}");
    assert!(refused.message().contains("the disk of the images"), "{refused}");
    // Whoever has no address is stopped whole.
    suite.stop(&of_host).await;
    assert_eq!(suite.pod_status(&of_host).await.state, NOT_READY);
    let refused = late.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused}");
    assert!(refused.message().contains("the disk of the records"), "{refused}");
    disk.go_on();
    // What still waits for the disk may come back a moment later: who asked tries again.
    let stop = StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
    let is_stopped = async || suite.harness.client.stop_pod_sandbox(stop.clone()).await.is_ok();
    suite.until("the disk answers", is_stopped).await;
    suite.remove(&pod).await;
    suite.remove(&of_host).await;
    suite.remove(&other).await;
    suite.harness.kill();
    drop(disk);
    suite.restart().await;
    suite.until_clean();
}
