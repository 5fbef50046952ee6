//! CreateContainer of the archive of a checkpoint.

use super::*;

impl Criu {
    /// The configuration of a container that is made of the archive.
    pub(super) fn archived(&self, name: &str) -> ContainerConfig {
        let mut config = shell(&self.suite, name, COUNT);
        config.image = Some(ImageSpec {
            image: self.location().to_str().unwrap().to_owned(),
            ..Default::default()
        });
        config
    }

    pub(super) async fn restored(&self, pod: &str, config: &PodSandboxConfig) -> String {
        let made = self.suite.create(pod, self.archived("main"), config).await;
        made.unwrap_or_else(|error| panic!("{error}\n{}", self.suite.daemon_log()))
    }
}

#[tokio::test]
async fn a_container_goes_on_in_another_pod_where_its_checkpoint_was_made() {
    let Some(mut criu) = Criu::start().await else { return };
    let config = criu.suite.harness.pod("before");
    let pod = criu.suite.run_pod(&config).await;
    let script = format!(
        "trap 'echo stopped; exit 7' TERM; echo new > /etc/new; rm /etc/passwd; echo line; \
         exec 5</etc/new; {COUNT}"
    );
    let container = shell(&criu.suite, "main", &script);
    let id = criu.suite.started(&pod, container, &config).await;
    criu.goes_on(&id).await;
    criu.checkpointed(&id).await;
    let reached = criu.count(&id);
    criu.suite.remove(&pod).await;

    let config = criu.suite.harness.pod("after");
    let pod = criu.suite.run_pod(&config).await;
    let id = criu.restored(&pod, &config).await;
    // It stands still up to its start, and a daemon may come and go.
    criu.restart(&[]).await;
    let (held, status) = (criu.count(&id), criu.suite.status(&id).await);
    assert!(held > 2 && held <= reached, "{held} of {reached}");
    assert_eq!(status.state, ContainerState::ContainerCreated as i32);
    assert_eq!(status.image.unwrap().image, BUSYBOX);
    criu.suite.start_container(&id).await.unwrap();
    let status = criu.suite.status(&id).await;
    assert_eq!(status.state, RUNNING);
    criu.goes_on(&id).await;
    assert!(criu.count(&id) > held);
    let shim = criu.suite.shim(&pod);
    let stat = fs::read_to_string(format!("/proc/{}/stat", criu.suite.pid(&id).await)).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    assert_eq!(parent, shim.to_string());
    let suite = &criu.suite;
    let shown = suite.exec(&id, &["/bin/sh", "-c", "cat /etc/new; hostname; id -u"], 10).await;
    let shown = shown.unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "new\nafter\n0\n");
    let gone = suite.exec(&id, &["/bin/cat", "/etc/passwd"], 10).await.unwrap();
    assert_eq!(gone.exit_code, 1);
    let own = suite.exec(&id, &["/bin/readlink", "/proc/self/ns/net"], 10).await.unwrap();
    let network = fs::read_link(format!("/proc/{}/ns/net", suite.pid(&id).await)).unwrap();
    assert_eq!(String::from_utf8_lossy(&own.stdout).trim(), network.to_str().unwrap());
    criu.restart(&[]).await;
    criu.suite.stop_container(&id, 30).await;
    let ended = criu.suite.ended(&id).await;
    assert_eq!(ended.exit_code, 7);
    let log = fs::read_to_string(criu.suite.log_path("after", "main"));
    assert!(log.as_ref().is_ok_and(|log| log.contains(" stdout F stopped\n")), "{log:?}");
    assert!(!criu.restoring(&pod).exists());
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

impl Criu {
    /// Where the image of processes is while they are made.
    pub(super) fn restoring(&self, pod: &str) -> PathBuf {
        self.suite.harness.sandbox().state().join("pods").join(pod).join("restored")
    }

    /// Has a container refused, which leaves nothing.
    async fn refused(&self, pod: &str, config: &PodSandboxConfig, why: &str) -> Code {
        self.refused_as(pod, self.archived("refused"), config, why).await
    }

    pub(super) async fn refused_as(
        &self,
        pod: &str,
        container: ContainerConfig,
        config: &PodSandboxConfig,
        why: &str,
    ) -> Code {
        let refused = self.suite.create(pod, container, config).await.unwrap_err();
        assert!(refused.message().contains(why), "{why}: {refused}");
        assert!(!self.restoring(pod).exists());
        refused.code()
    }

    /// Writes the archive anew, with other files in it.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        let mut all = self.archive();
        change(&mut all);
        let mut out = tar::Builder::new(fs::File::create(self.location()).unwrap());
        for (name, data) in all.iter().filter(|(name, _)| !name.ends_with('/')) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_size(data.len() as u64);
            out.append_data(&mut header, name, &**data).unwrap();
        }
        out.finish().unwrap();
    }
}

#[tokio::test]
async fn containers_of_every_kind_but_those_with_users_of_their_own_can_be_restored() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "of the host").unwrap();
    let node = NamespaceMode::Node as i32;
    for (name, namespaces) in [
        ("mounts", NamespaceOption::default()),
        ("shared-pid", NamespaceOption { pid: NamespaceMode::Pod as i32, ..Default::default() }),
        ("host", NamespaceOption { network: node, ipc: node, ..Default::default() }),
        ("privileged", NamespaceOption::default()),
        ("terminal", NamespaceOption::default()),
    ] {
        let mut config = suite.harness.pod(name);
        config.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces),
            privileged: name == "privileged",
            ..Default::default()
        });
        if namespaces_of(&config).network == node {
            config.hostname.clear();
        }
        let mut container = shell(suite, "main", &format!("trap 'exit 7' TERM; {COUNT}"));
        container.tty = name == "terminal";
        container.linux.get_or_insert_default().security_context =
            Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces_of(&config)),
                privileged: name == "privileged",
                ..Default::default()
            });
        if name == "mounts" {
            container.mounts = mounts(host.path());
        }
        let mut pod = suite.run_pod(&config).await;
        let id = suite.started(&pod, container.clone(), &config).await;
        criu.goes_on(&id).await;
        criu.checkpointed(&id).await;
        suite.remove(&pod).await;
        pod = suite.run_pod(&config).await;
        let ContainerConfig { image, command, args, .. } = criu.archived("main");
        (container.image, container.command, container.args) = (image, command, args);
        let id = suite.started(&pod, container, &config).await;
        criu.goes_on(&id).await;
        if name == "mounts" {
            let shown = suite.exec(&id, &["/bin/cat", "/data/file"], 10).await.unwrap();
            assert_eq!(shown.stdout, b"of the host");
        }
        // By its signal it is known: a program that began anew has no trap.
        suite.stop_container(&id, 30).await;
        assert_eq!(suite.ended(&id).await.exit_code, 7, "{name}");
        suite.remove(&pod).await;
    }
    criu.assert_nothing_left();
}

fn namespaces_of(config: &PodSandboxConfig) -> NamespaceOption {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.clone());
    security.and_then(|security| security.namespace_options).unwrap_or_default()
}

#[tokio::test]
async fn an_archive_that_cannot_be_restored_is_refused_by_name_and_leaves_nothing() {
    let Some(mut criu) = Criu::start().await else { return };
    let config = criu.suite.harness.pod("refused");
    let pod = criu.suite.run_pod(&config).await;
    let mut container = shell(&criu.suite, "main", COUNT);
    let host = tempfile::tempdir().unwrap();
    container.mounts = vec![Mount {
        container_path: "/data".to_owned(),
        host_path: host.path().to_str().unwrap().to_owned(),
        ..Default::default()
    }];
    let mounts = container.mounts.clone();
    let id = criu.suite.started(&pod, container, &config).await;
    criu.goes_on(&id).await;
    criu.checkpointed(&id).await;
    criu.suite.remove_container(&id).await;
    let good = fs::read(criu.location()).unwrap();
    let before = criu.suite.settled().await;
    let with = |criu: &Criu| ContainerConfig { mounts: mounts.clone(), ..criu.archived("x") };

    let why = "checkpoint: mount \"/data\": its container has something mounted there";
    assert_eq!(criu.refused(&pod, &config, why).await, Code::InvalidArgument);
    let terminal = ContainerConfig { tty: true, ..with(&criu) };
    let why = "one of it and the request has a terminal";
    assert_eq!(criu.refused_as(&pod, terminal, &config, why).await, Code::InvalidArgument);
    criu.change(|all| {
        let config = br#"{"rootfsImageRef": "none.test/missing:1", "rootfsImageName": "x y"}"#;
        all.insert("config.dump".to_owned(), config.to_vec());
    });
    let why = "x y: the image of its container is not here, pull it first";
    assert_eq!(criu.refused_as(&pod, with(&criu), &config, why).await, Code::NotFound);
    fs::write(criu.location(), &good).unwrap();
    criu.change(|all| drop(all.insert("spec.dump".to_owned(), vec![b'['; 1 << 20])));
    let why = "spec.dump: ";
    assert_eq!(criu.refused_as(&pod, with(&criu), &config, why).await, Code::InvalidArgument);
    // It comes as far as the writable layer.
    fs::write(criu.location(), &good).unwrap();
    criu.change(|all| {
        all.insert("deleted.files".to_owned(), br#"["/../etc/passwd"]"#.to_vec());
    });
    let why = "leads out of the layer by `..`";
    assert_eq!(criu.refused_as(&pod, with(&criu), &config, why).await, Code::InvalidArgument);
    // It comes as far as criu, and its words are told.
    fs::write(criu.location(), &good).unwrap();
    criu.change(|all| all.get_mut("checkpoint/pstree.img").unwrap().truncate(10));
    let refused = criu.suite.create(&pod, with(&criu), &config).await.unwrap_err();
    assert!(refused.message().starts_with("create container x: criu: "), "{refused}");
    fs::write(criu.location(), b"no archive").unwrap();
    criu.refused_as(&pod, with(&criu), &config, "checkpoint ").await;
    fs::remove_file(criu.location()).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", criu.location()).unwrap();
    let why = "checkpoint ";
    assert_eq!(criu.refused_as(&pod, with(&criu), &config, why).await, Code::InvalidArgument);
    fs::remove_file(criu.location()).unwrap();
    assert_eq!(criu.refused_as(&pod, with(&criu), &config, why).await, Code::NotFound);
    let (kind, now) = (rrun_tests::leaks::Kind::File, criu.suite.settled().await);
    let is_new = |path: &&String| !before.of(kind).contains(*path) && !path.ends_with("/bundles");
    let new: Vec<_> = now.of(kind).iter().filter(is_new).collect();
    assert!(new.is_empty(), "{new:?}");

    fs::write(criu.location(), &good).unwrap();
    let all = std::env::var_os("PATH").unwrap_or_default();
    let without = std::env::split_paths(&all).filter(|folder| !folder.join("criu").exists());
    let without = std::env::join_paths(without).unwrap().into_string().unwrap();
    criu.suite.harness.restart_with(&[("PATH", &without)]).await.unwrap();
    let why = "checkpoints need criu: criu: not found in PATH";
    assert_eq!(criu.refused_as(&pod, with(&criu), &config, why).await, Code::Unimplemented);
    criu.restart(&[]).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn what_is_restored_has_no_more_rights_than_its_container_may_have() {
    let Some(criu) = Criu::start().await else { return };
    let suite = &criu.suite;
    let node = NamespaceMode::Node as i32;
    for (name, namespaces, why) in [
        ("privileged", NamespaceOption::default(), "has the capabilities 0x"),
        (
            "host",
            NamespaceOption { network: node, ..Default::default() },
            "is in another net namespace",
        ),
    ] {
        let mut of_host = suite.harness.pod(name);
        of_host.linux.as_mut().unwrap().security_context = Some(LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces.clone()),
            privileged: name == "privileged",
            ..Default::default()
        });
        if namespaces.network == node {
            of_host.hostname.clear();
        }
        let mut container = shell(suite, "main", COUNT);
        container.linux.get_or_insert_default().security_context =
            Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces),
                privileged: name == "privileged",
                ..Default::default()
            });
        let pod = suite.run_pod(&of_host).await;
        let id = suite.started(&pod, container, &of_host).await;
        criu.goes_on(&id).await;
        criu.checkpointed(&id).await;
        suite.remove(&pod).await;
        let config = suite.harness.pod("confined");
        let pod = suite.run_pod(&config).await;
        let why = format!("the image is not as confined as the container: a process {why}");
        let made = suite.create(&pod, criu.archived("main"), &config).await;
        let refused = match made {
            // Where they are is looked at before, and what they may do when they have got it back.
            Ok(id) => {
                let refused = suite.start_container(&id).await.unwrap_err();
                let ended = suite.ended(&id).await;
                assert_eq!((ended.exit_code, &*ended.reason), (128, "StartError"));
                assert!(ended.message.contains(&*why), "{ended:?}");
                refused
            }
            Err(refused) => refused,
        };
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(&*why), "{refused}");
        suite.remove(&pod).await;
    }
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_that_dies_in_a_restore_leaves_nothing_of_it() {
    let Some(mut criu) = Criu::start().await else { return };
    let (pod, id) = criu.counting("dies").await;
    criu.checkpointed(&id).await;
    criu.suite.remove_container(&id).await;
    let config = criu.suite.harness.pod("dies");
    let before = criu.suite.settled().await;
    for point in ["checkpoint:after", "init:before", "init:after", "restored:after"] {
        let point = format!("engine.create-container.{point}");
        criu.restart(&[("RRUN_KILL_AT", &point)]).await;
        criu.suite.create(&pod, criu.archived("main"), &config).await.unwrap_err();
        criu.restart(&[]).await;
        criu.suite.until("all is removed", async || !criu.restoring(&pod).exists()).await;
    }
    // One that is killed before its start has ended, as any other.
    let id = criu.restored(&pod, &config).await;
    criu.suite.stop_container(&id, 0).await;
    assert_eq!(criu.suite.ended(&id).await.exit_code, 137);
    criu.suite.remove_container(&id).await;
    let kind = rrun_tests::leaks::Kind::Process;
    assert_eq!(criu.suite.settled().await.of(kind), before.of(kind));
    let id = criu.restored(&pod, &config).await;
    criu.suite.start_container(&id).await.unwrap();
    criu.goes_on(&id).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}
