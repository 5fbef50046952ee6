//! The runtime in memory answers lists as a runtime does.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_list_has_only_what_every_field_of_its_filter_means() {
    let cri = FakeCri::new(Clock::virtual_from(Timestamp::from_nanos(0)));
    cri.script("ends", &[Life::ends(1, 0)]);
    let labels = |value: &str| BTreeMap::from([("name".to_owned(), value.to_owned())]);
    for (i, name) in ["ends", "stays"].into_iter().enumerate() {
        let metadata = Some(PodSandboxMetadata { attempt: i as u32, ..Default::default() });
        let config = PodSandboxConfig { metadata, labels: labels(name), ..Default::default() };
        let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let pod_sandbox_id = cri.do_run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
        let metadata = Some(ContainerMetadata { name: name.to_owned(), attempt: 0 });
        let config = ContainerConfig { metadata, labels: labels(name), ..Default::default() };
        let config = Some(config);
        let request = CreateContainerRequest { pod_sandbox_id, config, ..Default::default() };
        let container_id = cri.do_create_container(request).await.unwrap().container_id;
        cri.do_start_container(StartContainerRequest { container_id }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let request = StopPodSandboxRequest { pod_sandbox_id: "s1".to_owned() };
    cri.do_stop_pod_sandbox(request).await.unwrap();

    let any = ContainerFilter::default;
    let state = |state: ContainerState| Some(ContainerStateValue { state: state as i32 });
    for (filter, expected) in [
        (any(), &["c2", "c4"][..]),
        (ContainerFilter { id: "c4".to_owned(), ..any() }, &["c4"]),
        (ContainerFilter { id: "c".to_owned(), ..any() }, &[]),
        (ContainerFilter { state: state(ContainerState::ContainerExited), ..any() }, &["c2"]),
        (ContainerFilter { state: state(ContainerState::ContainerRunning), ..any() }, &["c4"]),
        (ContainerFilter { pod_sandbox_id: "s1".to_owned(), ..any() }, &["c2"]),
        (ContainerFilter { label_selector: labels("stays"), ..any() }, &["c4"]),
    ] {
        let request = ListContainersRequest { filter: Some(filter.clone()) };
        let found = cri.do_list_containers(request).await.unwrap().containers;
        let ids: Vec<&str> = found.iter().map(|container| container.id.as_str()).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
    let any = PodSandboxFilter::default;
    let state = |state: PodSandboxState| Some(PodSandboxStateValue { state: state as i32 });
    for (filter, expected) in [
        (any(), &["s1", "s3"][..]),
        (PodSandboxFilter { id: "s3".to_owned(), ..any() }, &["s3"]),
        (PodSandboxFilter { state: state(PodSandboxState::SandboxReady), ..any() }, &["s3"]),
        (PodSandboxFilter { state: state(PodSandboxState::SandboxNotready), ..any() }, &["s1"]),
        (PodSandboxFilter { label_selector: labels("stays"), ..any() }, &["s3"]),
    ] {
        let request = ListPodSandboxRequest { filter: Some(filter.clone()) };
        let found = cri.do_list_pod_sandbox(request).await.unwrap().items;
        let ids: Vec<&str> = found.iter().map(|sandbox| sandbox.id.as_str()).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
}
