//! A restored container up to its start, and what is refused before there is one.

use super::ends::Gate;
use super::*;
use rrun_tests::earlier;
use serde_json::json;

impl Criu {
    /// What it answers to a start, which is its end.
    async fn fails_to_start(&self, id: &str, why: &str) -> Code {
        let refused = self.suite.start_container(id).await.unwrap_err();
        assert!(refused.message().contains(why), "{refused}");
        let ended = self.suite.ended(id).await;
        assert_eq!((ended.exit_code, &*ended.reason), (128, "StartError"));
        refused.code()
    }

    /// An archive of a container that counts, which is gone.
    pub(super) async fn archived_one(&self, name: &str) {
        let (pod, id) = self.counting(name).await;
        self.checkpointed(&id).await;
        self.suite.remove(&pod).await;
    }
}

#[tokio::test]
async fn a_pod_that_is_stopped_takes_along_what_is_restored_and_not_started() {
    let Some(criu) = Criu::start().await else { return };
    criu.archived_one("before").await;
    let config = criu.suite.harness.pod("stopped");
    let pod = criu.suite.run_pod(&config).await;
    let id = criu.restored(&pod, &config).await;
    let pid = criu.suite.pid(&id).await;
    criu.suite.stop(&pod).await;
    let status = criu.suite.status(&id).await;
    assert_eq!((status.state, status.exit_code), (EXITED, 137));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let refused = criu.suite.start_container(&id).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_criu_that_is_killed_in_a_restore_leaves_nothing_of_it() {
    let Some(mut criu) = Criu::start().await else { return };
    criu.archived_one("before").await;
    let gate = Gate::new();
    criu.restart_with(Some(gate.path()), &[]).await;
    let config = criu.suite.harness.pod("killed");
    let pod = criu.suite.run_pod(&config).await;
    let before = criu.suite.settled().await;
    let kind = rrun_tests::leaks::Kind::Process;
    // Before it begins.
    let (client, container) = (criu.suite.harness.client.clone(), criu.archived("early"));
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(container),
        sandbox_config: Some(config.clone()),
    };
    let making = tokio::spawn(async move { client.create_container(request).await });
    gate.begun(&criu.suite).await;
    kill(gate.pid());
    let refused = making.await.unwrap().unwrap_err();
    assert!(refused.message().contains("criu has ended without an answer"), "{refused}");
    assert!(!criu.restoring(&pod).exists());
    assert_eq!(criu.suite.settled().await.of(kind), before.of(kind));
    // When all is made, and stands still.
    gate.open();
    let id = criu.restored(&pod, &config).await;
    kill(gate.pid());
    criu.fails_to_start(&id, "criu has ended without an answer").await;
    criu.suite.remove_container(&id).await;
    assert_eq!(criu.suite.settled().await.of(kind), before.of(kind));
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

/// Others than root are of the unit tests: criu dumps nobody else's process without CAP_SYS_RESOURCE.
#[tokio::test]
async fn processes_of_another_user_than_the_request_asks_for_do_not_go_on() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    criu.archived_one("before").await;
    let config = suite.harness.pod("after");
    let pod = suite.run_pod(&config).await;
    for (name, user) in [("by-id", 1000), ("root", 0)] {
        let mut container = criu.archived(name);
        container.linux.get_or_insert_default().security_context =
            Some(LinuxContainerSecurityContext {
                run_as_user: Some(Int64Value { value: user }),
                ..Default::default()
            });
        let id = suite.create(&pod, container, &config).await.unwrap();
        if user == 0 {
            suite.start_container(&id).await.unwrap();
            criu.goes_on(&id).await;
            continue;
        }
        let why = "a process runs as user 0, and not as 1000";
        assert_eq!(criu.fails_to_start(&id, why).await, Code::InvalidArgument);
    }
    suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_process_that_has_ended_and_that_nobody_waits_for_is_no_hindrance() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let config = suite.harness.pod("before");
    let pod = suite.run_pod(&config).await;
    let script = format!("true & ({COUNT}) & exec sleep 100000");
    let id = suite.started(&pod, shell(suite, "main", &script), &config).await;
    let states = async |id: &str| {
        let words = ["/bin/sh", "-c", "cat /proc/[0-9]*/stat | cut -d' ' -f2,3"];
        let shown = suite.exec(id, &words, 10).await.unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    };
    suite.until("it has ended", async || states(&id).await.contains(") Z")).await;
    criu.goes_on(&id).await;
    criu.checkpointed(&id).await;
    suite.remove(&pod).await;
    let config = suite.harness.pod("after");
    let pod = suite.run_pod(&config).await;
    let id = criu.restored(&pod, &config).await;
    suite.start_container(&id).await.unwrap();
    criu.goes_on(&id).await;
    assert!(states(&id).await.contains(") Z"));
    suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn pods_and_containers_that_nothing_can_be_restored_into_are_named() {
    let oci = place::program("rrun-oci").unwrap();
    let table = format!("[runtimes.other]\npath = '{}'\n", oci.display());
    let Some(criu) = Criu::start_with(&table).await else { return };
    criu.archived_one("before").await;
    let client = &criu.suite.harness.client;

    let ids = || vec![IdMapping { host_id: 655_360, container_id: 0, length: 65_536 }];
    let users = UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids(), gids: ids() };
    let namespaces = NamespaceOption { userns_options: Some(users), ..Default::default() };
    let mut config = criu.suite.harness.pod("users");
    config.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces.clone()),
        ..Default::default()
    });
    let pod = criu.suite.run_pod(&config).await;
    let mut container = criu.archived("main");
    container.linux.get_or_insert_default().security_context =
        Some(LinuxContainerSecurityContext {
            namespace_options: Some(namespaces),
            ..Default::default()
        });
    let why = "a checkpoint cannot be restored into a user namespace";
    assert_eq!(criu.refused_as(&pod, container, &config, why).await, Code::Unimplemented);
    criu.suite.remove(&pod).await;

    let config = criu.suite.harness.pod("other");
    let request =
        RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: "other".to_owned() };
    let pod = client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let why = "a checkpoint cannot be restored by another runtime handler";
    let refused = criu.refused_as(&pod, criu.archived("main"), &config, why).await;
    assert_eq!(refused, Code::Unimplemented);
    criu.suite.remove(&pod).await;

    let config = criu.suite.harness.pod("hooks");
    let pod = criu.suite.run_pod(&config).await;
    let folder = criu.suite.harness.sandbox().inside("/etc/cdi");
    fs::create_dir_all(&folder).unwrap();
    for name in ["createContainer", "startContainer"] {
        let hook = json!({ "hookName": name, "path": "/bin/true" });
        let device = json!({ "name": "one", "containerEdits": { "hooks": [hook] } });
        let spec = json!({ "cdiVersion": "1.0.0", "kind": "test/hooks", "devices": [device] });
        fs::write(folder.join("hooks.json"), spec.to_string()).unwrap();
        let mut container = criu.archived("main");
        container.cdi_devices = vec![CdiDevice { name: "test/hooks=one".to_owned() }];
        let why = "a checkpoint cannot be restored with hooks in the container";
        assert_eq!(
            criu.refused_as(&pod, container, &config, why).await,
            Code::Unimplemented,
            "{name}"
        );
    }
    fs::remove_dir_all(folder).unwrap();
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_shim_of_an_earlier_release_refuses_a_restore_by_name() {
    let Some(shim) = earlier::shim().unwrap() else {
        return eprintln!("skipped: this checkout has no history (git fetch --unshallow)");
    };
    let Some(mut criu) = Criu::start().await else { return };
    criu.archived_one("before").await;
    criu.suite.harness.configure(&format!("shim = \"{}\"", shim.display()));
    criu.restart(&[]).await;
    let config = criu.suite.harness.pod("old");
    let pod = criu.suite.run_pod(&config).await;
    let why = "the pod's shim is of a release without this";
    let refused = criu.refused_as(&pod, criu.archived("main"), &config, why).await;
    assert_eq!(refused, Code::Unimplemented);
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn what_was_in_shared_memory_is_there_or_its_name_is_told() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let config = suite.harness.pod("before");
    let pod = suite.run_pod(&config).await;
    let script = format!("echo kept > /dev/shm/kept; {COUNT}");
    let id = suite.started(&pod, shell(suite, "main", &script), &config).await;
    criu.goes_on(&id).await;
    criu.checkpointed(&id).await;
    suite.remove_container(&id).await;
    // It is the pod's, and goes with the pod.
    let id = criu.restored(&pod, &config).await;
    suite.start_container(&id).await.unwrap();
    criu.goes_on(&id).await;
    let shown = suite.exec(&id, &["/bin/cat", "/dev/shm/kept"], 10).await.unwrap();
    assert_eq!(shown.stdout, b"kept\n");
    suite.remove(&pod).await;
    let config = suite.harness.pod("after");
    let pod = suite.run_pod(&config).await;
    let why = "/dev/shm/kept: its container had it there, it is in no image, and it is not here";
    let refused = criu.refused_as(&pod, criu.archived("main"), &config, why).await;
    assert_eq!(refused, Code::InvalidArgument);
    suite.remove(&pod).await;
    criu.assert_nothing_left();
}
