//! Plugins of the Node Resource Interface.

mod plugin;

use crate::suite::*;
use plugin::{Plugin, Reply};
use prost::Message;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_nri::api;
use rrun_tests::harness::BUSYBOX;
use std::fs;
use std::path::PathBuf;
use tonic::Code;

/// A suite whose daemon listens for plugins.
struct Node {
    suite: Suite,
    config: PodSandboxConfig,
}

impl Node {
    async fn start(name: &str) -> Node {
        let suite = Suite::start().await;
        let config = suite.harness.pod(name);
        Node { suite, config }
    }

    fn socket(&self) -> PathBuf {
        self.suite.harness.sandbox().inside("/run/nri/nri.sock")
    }

    /// A plugin of this index and name that has taken in what there is.
    async fn plugin(
        &self,
        name: (&str, &str),
        reply: impl Fn(&str, &[u8]) -> Reply + Send + 'static,
    ) -> Plugin {
        let plugin = Plugin::connect(&self.socket(), name, reply).await;
        let has_synchronized = async || plugin.methods().contains(&"Synchronize".to_owned());
        self.suite.until("the plugin is told what there is", has_synchronized).await;
        plugin
    }

    async fn create(&self, pod: &str, name: &str) -> Result<String, tonic::Status> {
        let mut container = self.suite.harness.container(name, BUSYBOX, &["sleep", "1000"]);
        container.envs.push(KeyValue { key: "GIVEN".to_owned(), value: b"1".to_vec() });
        self.suite.create(pod, container, &self.config).await
    }

    async fn start_container(&self, pod: &str, name: &str) -> String {
        let id = self.create(pod, name).await.unwrap();
        self.suite.start_container(&id).await.unwrap();
        id
    }

    async fn says(&self, id: &str, script: &str) -> String {
        let done = self.suite.exec(id, &["sh", "-c", script], 30).await.unwrap();
        String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap()
    }
}

/// Nothing to change, whatever is asked.
fn listen(_: &str, _: &[u8]) -> Reply {
    Reply::nothing()
}

/// A change of the containers that are made, and nothing else.
fn adjusting(adjust: api::ContainerAdjustment) -> impl Fn(&str, &[u8]) -> Reply + Send + 'static {
    move |method, _| match method {
        "CreateContainer" => Reply::of(&api::CreateContainerResponse {
            adjust: Some(adjust.clone()),
            ..Default::default()
        }),
        _ => Reply::nothing(),
    }
}

fn variable(key: &str, value: &str) -> api::KeyValue {
    api::KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn memory(limit: i64) -> api::LinuxResources {
    let limit = Some(api::OptionalInt64 { value: limit });
    let memory = api::LinuxMemory { limit, ..Default::default() };
    api::LinuxResources { memory: Some(memory), ..Default::default() }
}

fn update(id: &str, limit: i64) -> api::ContainerUpdate {
    let linux = api::LinuxContainerUpdate { resources: Some(memory(limit)) };
    api::ContainerUpdate { container_id: id.to_owned(), linux: Some(linux), ignore_failure: false }
}

#[tokio::test]
async fn a_plugin_hears_of_a_pods_life_in_order_and_one_that_comes_later_of_what_there_is() {
    let mut node = Node::start("nri-life").await;
    let plugin = node.plugin(("00", "first"), listen).await;
    plugin.forget();
    let pod = node.suite.run_pod(&node.config).await;
    let main = node.start_container(&pod, "main").await;
    let request: api::ContainerRequest = plugin.last("CreateContainer");
    let (told, container) = (request.pod.unwrap(), request.container.unwrap());
    assert_eq!((told.id.as_str(), told.name.as_str()), (pod.as_str(), "nri-life"));
    assert_eq!((container.id.as_str(), container.name.as_str()), (main.as_str(), "main"));
    assert!(container.env.contains(&"GIVEN=1".to_owned()), "{:?}", container.env);
    let request: api::PodRequest = plugin.last("RunPodSandbox");
    assert!(!request.pod.unwrap().ips.is_empty());
    let limits = LinuxContainerResources { cpu_shares: 77, ..Default::default() };
    let request = UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.clone(),
        resources: Some(limits),
        ..Default::default()
    };
    node.suite.harness.client.update_pod_sandbox_resources(request).await.unwrap();
    let request: api::UpdatePodSandboxRequest = plugin.last("UpdatePodSandbox");
    let shares = request.linux_resources.unwrap().cpu.unwrap().shares.unwrap();
    assert_eq!(shares.value, 77);

    // Another daemon tells it anew, and so does this one a plugin that comes later.
    node.suite.restart().await;
    node.suite.until("the daemon's end is seen", async || plugin.has_ended()).await;
    let later = node.plugin(("10", "later"), listen).await;
    let known: api::SynchronizeRequest = later.last("Synchronize");
    let ids: Vec<_> = known.containers.iter().map(|container| container.id.as_str()).collect();
    assert_eq!((known.pods[0].id.as_str(), ids), (pod.as_str(), vec![main.as_str()]));
    assert_eq!(known.containers[0].state, api::ContainerState::ContainerRunning as i32);
    let shares = known.pods[0].linux.clone().unwrap().pod_resources.unwrap().cpu.unwrap().shares;
    assert_eq!(shares.unwrap().value, 77);
    node.suite.remove(&pod).await;
    let heard = [
        "RunPodSandbox",
        "CreateContainer",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "UpdatePodSandbox",
        "PostUpdatePodSandbox",
    ];
    assert_eq!(plugin.methods(), heard);
    let heard = [
        "Configure",
        "Synchronize",
        "StopContainer",
        "StopPodSandbox",
        "RemoveContainer",
        "RemovePodSandbox",
    ];
    assert_eq!(later.methods(), heard);
    drop(later);
    node.suite.until_clean();
}

#[tokio::test]
async fn plugins_change_how_a_container_is_made_one_after_the_other() {
    let node = Node::start("nri-adjust").await;
    let folder = node.suite.harness.sandbox().root().join("of-a-plugin");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "from a plugin").unwrap();
    let mount = api::Mount {
        destination: "/opt/plugin".to_owned(),
        r#type: "bind".to_owned(),
        source: folder.to_string_lossy().into_owned(),
        options: vec!["rbind".to_owned(), "ro".to_owned()],
    };
    let device = api::LinuxDevice {
        path: "/dev/plugin0".to_owned(),
        r#type: "c".to_owned(),
        major: 1,
        minor: 3,
        file_mode: Some(api::OptionalFileMode { value: 0o666 }),
        ..Default::default()
    };
    let rlimit = api::PosixRlimit { r#type: "RLIMIT_NOFILE".to_owned(), hard: 900, soft: 800 };
    let hook = api::Hook {
        path: "/bin/sh".to_owned(),
        args: ["sh", "-c", "cat > /tmp/hooked"].map(str::to_owned).into(),
        ..Default::default()
    };
    let first = api::ContainerAdjustment {
        env: vec![variable("FIRST", "1"), variable("-GIVEN", "")],
        mounts: vec![mount],
        rlimits: vec![rlimit],
        annotations: [("of".to_owned(), "first".to_owned())].into(),
        hooks: Some(api::Hooks { start_container: vec![hook], ..Default::default() }),
        linux: Some(api::LinuxContainerAdjustment {
            devices: vec![device],
            resources: Some(memory(64 << 20)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let second = api::ContainerAdjustment {
        cdi_devices: vec![api::CdiDevice { name: "vendor.com/class=0".to_owned() }],
        args: ["sleep", "2000"].map(str::to_owned).into(),
        ..Default::default()
    };
    let cdi = node.suite.harness.sandbox().inside("/run/cdi");
    fs::create_dir_all(&cdi).unwrap();
    let spec = r#"{"cdiVersion": "1.0.0", "kind": "vendor.com/class", "devices": [{"name": "0",
        "containerEdits": {"env": ["VENDOR=yes"]}}]}"#;
    fs::write(cdi.join("vendor.json"), spec).unwrap();
    // Connected in the other order.
    let second = node.plugin(("20", "second"), adjusting(second)).await;
    let _first = node.plugin(("10", "first"), adjusting(first)).await;
    let pod = node.suite.run_pod(&node.config).await;
    let id = node.start_container(&pod, "main").await;
    let script = "echo $FIRST.$GIVEN.$VENDOR; cat /opt/plugin/file; echo; ulimit -n; \
                  ls -l /dev/plugin0; tr '\\0' ' ' < /proc/1/cmdline; echo; ls /tmp/hooked";
    let says = node.says(&id, script).await;
    for words in ["1..yes\nfrom a plugin\n800\n", "1,   3", "/tmp/hooked"] {
        assert!(says.contains(words), "{words}: {says}");
    }
    let pid = node.suite.pid(&id).await;
    assert_eq!(memory_limit(pid), 64 << 20);
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(command, "sleep\x002000\0");
    let seen: api::ContainerRequest = second.last("CreateContainer");
    let seen = seen.container.unwrap();
    assert_eq!(seen.annotations["of"], "first");
    assert!(seen.env.contains(&"FIRST=1".to_owned()) && !seen.env.contains(&"GIVEN=1".to_owned()));
    node.suite.remove(&pod).await;
    fs::remove_dir_all(cdi).unwrap();
    drop((_first, second));
    node.suite.until_clean();
}

#[tokio::test]
async fn a_conflict_and_what_a_plugin_may_not_choose_and_a_no_are_refused_by_name_and_leave_nothing()
 {
    let node = Node::start("nri-no").await;
    let pod = node.suite.run_pod(&node.config).await;
    let refusal = async |name: &str| {
        let refused = node.create(&pod, name).await.unwrap_err();
        (refused.code(), refused.message().to_owned())
    };
    let env = |value: &str| api::ContainerAdjustment {
        env: vec![variable("SAME", value)],
        ..Default::default()
    };
    let one = node.plugin(("10", "one"), adjusting(env("1"))).await;
    let two = node.plugin(("20", "two"), adjusting(env("2"))).await;
    let (code, words) = refusal("conflict").await;
    assert_eq!(code, Code::InvalidArgument);
    let expected =
        r#"NRI plugins "20-two" and "10-one" both tried to set environment variable "SAME""#;
    assert!(words.contains(expected), "{words}");
    // Whoever has heard of it hears that it goes.
    let last = one.methods().into_iter().rev().take(2).collect::<Vec<_>>();
    assert_eq!(last, ["RemoveContainer", "StopContainer"]);
    drop((one, two));
    let linux = api::LinuxContainerAdjustment {
        io_priority: Some(api::LinuxIoPriority { class: 1, priority: 4 }),
        ..Default::default()
    };
    let adjust = api::ContainerAdjustment { linux: Some(linux), ..Default::default() };
    let plugin = node.plugin(("10", "one"), adjusting(adjust)).await;
    let (_, words) = refusal("priority").await;
    assert!(words.contains("process.ioPriority is not supported"), "{words}");
    drop(plugin);
    let no = |method: &str, _: &[u8]| match method {
        "CreateContainer" | "RunPodSandbox" | "StartContainer" => Reply::No("not on this node"),
        _ => Reply::nothing(),
    };
    let created = node.create(&pod, "created").await.unwrap();
    let plugin = node.plugin(("10", "one"), no).await;
    let (code, words) = refusal("no").await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(words.contains("NRI plugin 10-one: CreateContainer: not on this node"), "{words}");
    let words = node.suite.start_container(&created).await.unwrap_err().message().to_owned();
    assert!(words.contains("NRI plugin 10-one: StartContainer: not on this node"), "{words}");
    let other = node.suite.harness.pod("nri-refused");
    let request = RunPodSandboxRequest { config: Some(other), ..Default::default() };
    let refused = node.suite.harness.client.run_pod_sandbox(request).await.unwrap_err();
    assert!(refused.message().contains("RunPodSandbox: not on this node"), "{refused}");
    drop(plugin);
    // The container that was not to be started waits on.
    let started = async || node.suite.start_container(&created).await.is_ok();
    node.suite.until("the plugin has gone", started).await;
    node.suite.remove(&pod).await;
    node.suite.until_clean();
}

#[tokio::test]
async fn a_plugin_that_hangs_lies_or_ends_is_closed_and_pods_go_on_without_it() {
    let node = Node::start("nri-bad").await;
    let pod = node.suite.run_pod(&node.config).await;
    type Way = fn() -> Reply;
    let ways: [(&str, Way); 4] = [
        ("never", || Reply::Never),
        ("nonsense", || Reply::Nonsense),
        ("ends", || Reply::End),
        ("garbled", || Reply::With(vec![0xff, 0xff, 0xff])),
    ];
    for (name, reply) in ways {
        let bad = move |method: &str, _: &[u8]| match method {
            "CreateContainer" => reply(),
            _ => Reply::nothing(),
        };
        let plugin = node.plugin(("10", name), bad).await;
        let good = adjusting(api::ContainerAdjustment {
            env: vec![variable("GOOD", "yes")],
            ..Default::default()
        });
        let good = node.plugin(("20", "good"), good).await;
        let id = node.start_container(&pod, name).await;
        assert_eq!(node.says(&id, "echo $GOOD$GIVEN").await, "yes1\n", "{name}");
        node.suite.until("the bad one is closed", async || plugin.has_ended()).await;
        assert!(!good.has_ended());
        drop(good);
    }
    // None of these is a plugin.
    for words in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 2, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]]
    {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::UnixStream::connect(node.socket()).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    node.suite.remove(&pod).await;
    node.suite.until_clean();
}

#[tokio::test]
async fn a_plugin_changes_limits_of_containers_unasked_and_evicts_them() {
    let node = Node::start("nri-update").await;
    let pod = node.suite.run_pod(&node.config).await;
    let (one, two) =
        (node.start_container(&pod, "one").await, node.start_container(&pod, "two").await);
    let [pid_of_one, pid_of_two] = [node.suite.pid(&one).await, node.suite.pid(&two).await];
    let other = two.clone();
    let plugin = node
        .plugin(("10", "limits"), move |method, payload| match method {
            // Of the container itself and of another one.
            "UpdateContainer" => {
                let request = api::UpdateContainerRequest::decode(payload).unwrap();
                let id = request.container.unwrap().id;
                let update = vec![self::update(&id, 80 << 20), self::update(&other, 90 << 20)];
                Reply::of(&api::UpdateContainerResponse { update, ..Default::default() })
            }
            _ => Reply::nothing(),
        })
        .await;
    let request = api::UpdateContainersRequest {
        update: vec![update(&one, 50 << 20), update(&"f".repeat(64), 1 << 20)],
        evict: Vec::new(),
    };
    assert!(plugin.update(3, &request).await.is_empty(), "what is not there is passed over");
    assert_eq!(memory_limit(pid_of_one), 50 << 20);
    let request = UpdateContainerResourcesRequest {
        container_id: one.clone(),
        linux: Some(LinuxContainerResources {
            memory_limit_in_bytes: 60 << 20,
            ..Default::default()
        }),
        ..Default::default()
    };
    node.suite.harness.client.update_container_resources(request).await.unwrap();
    assert_eq!(memory_limit(pid_of_one), 80 << 20);
    node.suite.until("the other follows", async || memory_limit(pid_of_two) == 90 << 20).await;
    let evict =
        api::ContainerEviction { container_id: two.clone(), reason: "of the test".to_owned() };
    let request =
        api::UpdateContainersRequest { update: vec![update(&one, -7)], evict: vec![evict] };
    assert_eq!(plugin.update(5, &request).await, std::slice::from_ref(&one));
    assert_eq!(node.suite.ended(&two).await.exit_code, 137);
    // It is told when the end is on record.
    let is_told = async || plugin.methods().contains(&"StopContainer".to_owned());
    node.suite.until("the plugin is told of the end", is_told).await;
    let heard: api::ContainerRequest = plugin.last("StopContainer");
    assert_eq!(heard.container.unwrap().id, two);
    node.suite.remove(&pod).await;
    drop(plugin);
    node.suite.until_clean();
}

#[tokio::test]
async fn an_installed_plugin_that_does_not_come_is_told_and_a_required_one_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("10-broken");
    fs::write(&plugin, "#!/bin/sh\nexit 1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&plugin, mode).unwrap();
    let config = format!(
        "[nri]\nplugin_path = '{}'\nrequired_plugins = ['policy']\n",
        folder.path().display()
    );
    // A container is made before the suite begins.
    let suite = Suite::start_with("").await;
    let config_of_pod = suite.harness.pod("nri-required");
    let mut node = Node { suite, config: config_of_pod };
    node.suite.harness.configure(&config);
    node.suite.restart().await;
    let words = "NRI: installed plugin 10-broken: ";
    assert!(node.suite.daemon_log().contains(words), "{}", node.suite.daemon_log());
    let pod = node.suite.run_pod(&node.config).await;
    let words = node.create(&pod, "main").await.unwrap_err().message().to_owned();
    assert!(words.contains("NRI plugin policy is required and not connected"), "{words}");
    let policy = node.plugin(("10", "policy"), listen).await;
    node.start_container(&pod, "main").await;
    node.suite.remove(&pod).await;
    drop(policy);
    node.suite.until_clean();
}
