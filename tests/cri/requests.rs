//! Requests that cannot be met: the right code, a message that names the object, nothing left.

use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::WORK;
use tonic::{Code, Status};

fn says<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), code, "{refused}");
    assert!(refused.message().contains(text), "{refused}");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_or_already_gone() {
    let suite = Suite::start().await;
    let client = &suite.harness.client;
    let none = "f".repeat(64);
    let request = PodSandboxStatusRequest { pod_sandbox_id: none.clone(), verbose: false };
    says(client.pod_sandbox_status(request).await, Code::NotFound, &none);
    let request = ContainerStatusRequest { container_id: none.clone(), verbose: false };
    says(client.container_status(request).await, Code::NotFound, &none);
    says(suite.start_container(&none).await, Code::NotFound, &none);
    says(suite.exec(&none, &["true"], 1).await, Code::NotFound, &none);
    let request = ReopenContainerLogRequest { container_id: none.clone() };
    says(client.reopen_container_log(request).await, Code::NotFound, &none);
    let config = suite.harness.pod("none");
    let container = suite.harness.container("main", WORK, &["/bin/sleeper"]);
    says(suite.create(&none, container, &config).await, Code::NotFound, &none);

    suite.remove(&none).await;
    let request = RemoveContainerRequest { container_id: none.clone() };
    client.remove_container(request).await.unwrap();
    let image = ImageSpec { image: "images.rrun.test/none:1".to_owned(), ..Default::default() };
    let request = ImageStatusRequest { image: Some(image.clone()), verbose: false };
    assert_eq!(client.image_status(request).await.unwrap().image, None);
    client.remove_image(RemoveImageRequest { image: Some(image) }).await.unwrap();
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_pod_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let suite = Suite::start().await;
    let run = async |config: Option<PodSandboxConfig>, handler: &str| {
        let request = RunPodSandboxRequest { config, runtime_handler: handler.to_owned() };
        suite.harness.client.run_pod_sandbox(request).await
    };
    let config = suite.harness.pod("bad");
    says(run(None, "").await, Code::InvalidArgument, "config");
    says(run(Some(config.clone()), "gvisor").await, Code::InvalidArgument, "gvisor");
    let nameless = PodSandboxConfig { metadata: None, ..config.clone() };
    says(run(Some(nameless), "").await, Code::InvalidArgument, "metadata");

    let mut sysctl = config.clone();
    let linux = sysctl.linux.as_mut().unwrap();
    linux.sysctls.insert("net.ipv4.no_such_key".to_owned(), "1".to_owned());
    let refused = run(Some(sysctl), "").await.unwrap_err();
    assert!(refused.message().contains("no_such_key"), "{refused}");
    let all = suite.harness.client.list_pod_sandbox(Default::default()).await.unwrap();
    assert_eq!(all.items, []);
    suite.assert_nothing_left();
}

#[tokio::test]
async fn a_container_that_makes_no_sense_is_refused_and_leaves_the_pod_as_it_was() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("pod");
    let pod = suite.run_pod(&config).await;
    let before = suite.settled().await;
    let good = suite.harness.container("main", WORK, &["/bin/sleeper"]);
    let create = async |config_: ContainerConfig| suite.create(&pod, config_, &config).await;

    let image = ImageSpec { image: "images.rrun.test/none:1".to_owned(), ..Default::default() };
    let missing = ContainerConfig { image: Some(image), ..good.clone() };
    says(create(missing).await, Code::NotFound, "images.rrun.test/none:1");
    let image = ImageSpec { image: "Not A Reference".to_owned(), ..Default::default() };
    let malformed = ContainerConfig { image: Some(image.clone()), ..good.clone() };
    let refused = create(malformed).await.unwrap_err();
    assert!(matches!(refused.code(), Code::InvalidArgument | Code::NotFound), "{refused}");
    let request = PullImageRequest { image: Some(image), ..Default::default() };
    says(suite.harness.client.pull_image(request).await, Code::InvalidArgument, "Not A Reference");

    let security = LinuxContainerSecurityContext {
        run_as_group: Some(Int64Value { value: 1 }),
        ..Default::default()
    };
    let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    let group = ContainerConfig { linux: Some(linux), ..good.clone() };
    says(create(group).await, Code::InvalidArgument, "run_as_group");
    let mount = Mount {
        container_path: "/data".to_owned(),
        host_path: "relative".to_owned(),
        ..Default::default()
    };
    let mount = ContainerConfig { mounts: vec![mount], ..good.clone() };
    says(create(mount).await, Code::InvalidArgument, "relative");

    before.assert_nothing_left(&suite.view()).unwrap();
    let id = create(good).await.unwrap();
    suite.start_container(&id).await.unwrap();
    // A container starts once.
    says(suite.start_container(&id).await, Code::FailedPrecondition, "main");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}
