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

    let pod_sandbox_id = none.clone();
    let request = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
    client.stop_pod_sandbox(request).await.unwrap();
    client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await.unwrap();
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
    let metadata = PodSandboxMetadata { name: "bad".to_owned(), ..Default::default() };
    let homeless = PodSandboxConfig { metadata: Some(metadata), ..config.clone() };
    says(run(Some(homeless), "").await, Code::InvalidArgument, "run pod /bad: a pod needs a name");
    for (words, change) in odd_pods() {
        let mut odd = config.clone();
        change(&mut odd);
        says(
            run(Some(odd), "").await,
            Code::InvalidArgument,
            &format!("run pod default/bad: {words}"),
        );
    }

    let mut sysctl = config.clone();
    let linux = sysctl.linux.as_mut().unwrap();
    linux.sysctls.insert("net.ipv4.no_such_key".to_owned(), "1".to_owned());
    let refused = run(Some(sysctl), "").await.unwrap_err();
    assert!(refused.message().contains("no_such_key"), "{refused}");
    let all = suite.harness.client.list_pod_sandbox(Default::default()).await.unwrap();
    assert_eq!(all.items, []);
    suite.assert_nothing_left();
}

type OddPod = (&'static str, fn(&mut PodSandboxConfig));

fn port(container_port: i32, host_port: i32) -> PortMapping {
    PortMapping { container_port, host_port, ..Default::default() }
}

fn odd_pods() -> [OddPod; 13] {
    [
        ("hostname \"a b\" is no host name", |p| p.hostname = "a b".to_owned()),
        ("hostname", |p| p.hostname = "h".repeat(65)),
        ("log_directory \"logs\" is not absolute", |p| p.log_directory = "logs".to_owned()),
        ("cgroup_parent \"/a/../b\" has `..`", |p| {
            p.linux.as_mut().unwrap().cgroup_parent = "/a/../b".to_owned();
        }),
        ("dns server \"1.1.1.1\\noptions x\" is not one word", |p| {
            let servers = vec!["1.1.1.1\noptions x".to_owned()];
            p.dns_config = Some(DnsConfig { servers, ..Default::default() });
        }),
        ("sysctls: kernel.panic: is not namespaced", |p| {
            p.linux.as_mut().unwrap().sysctls.insert("kernel.panic".to_owned(), "0".to_owned());
        }),
        ("sandbox: make namespaces: sysctl net.ipv4.ip_local_port_range: EINVAL", |p| {
            let sysctl = ("net.ipv4.ip_local_port_range".to_owned(), "x".to_owned());
            p.linux.as_mut().unwrap().sysctls.extend([sysctl]);
        }),
        ("run_as_user: no such id -1", |p| {
            let run_as_user = Some(Int64Value { value: -1 });
            let security = LinuxSandboxSecurityContext { run_as_user, ..Default::default() };
            p.linux.as_mut().unwrap().security_context = Some(security);
        }),
        ("port protocol 9 is unknown", |p| {
            p.port_mappings = vec![PortMapping { protocol: 9, ..port(80, 1) }];
        }),
        ("network: host port 70000 is out of range", |p| p.port_mappings = vec![port(80, 70000)]),
        ("network: container port 0 is out of range", |p| p.port_mappings = vec![port(0, 8080)]),
        ("network: host ip \"x\" is no address", |p| {
            p.port_mappings = vec![PortMapping { host_ip: "x".to_owned(), ..port(80, 1) }];
        }),
        ("network: add: host port 8080/tcp is asked for twice", |p| {
            p.port_mappings = vec![port(80, 8080), port(81, 8080)];
        }),
    ]
}

#[tokio::test]
async fn a_host_port_that_another_pod_has_is_refused_and_names_it() {
    let suite = Suite::start().await;
    let config = |name: &str| {
        let port_mappings = vec![port(80, 8080)];
        PodSandboxConfig { port_mappings, ..suite.harness.pod(name) }
    };
    let first = suite.run_pod(&config("first")).await;
    let second = RunPodSandboxRequest { config: Some(config("second")), ..Default::default() };
    let answer = suite.harness.client.run_pod_sandbox(second.clone()).await;
    let words =
        format!("run pod default/second: network: add: host port 8080/tcp is taken by pod {first}");
    says(answer, Code::FailedPrecondition, &words);
    suite.remove(&first).await;
    let second = suite.harness.client.run_pod_sandbox(second).await.unwrap();
    suite.remove(&second.pod_sandbox_id).await;
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

    let request = |config| CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config,
        ..Default::default()
    };
    let none = suite.harness.client.create_container(request(None)).await;
    says(none, Code::InvalidArgument, "config");
    let nameless = ContainerConfig { metadata: None, ..good.clone() };
    let nameless = suite.harness.client.create_container(request(Some(nameless))).await;
    says(nameless, Code::InvalidArgument, "metadata");
    for (code, words, change) in odd_containers() {
        let mut odd = good.clone();
        change(&mut odd);
        says(create(odd).await, code, &format!("create container main: {words}"));
    }

    before.assert_nothing_left(&suite.view()).unwrap();
    let id = create(good).await.unwrap();
    suite.start_container(&id).await.unwrap();
    // A container starts once.
    says(suite.start_container(&id).await, Code::FailedPrecondition, "main");
    suite.remove(&pod).await;
    suite.assert_nothing_left();
}

type OddContainer = (Code, &'static str, fn(&mut ContainerConfig));

fn resources(config: &mut ContainerConfig) -> &mut LinuxContainerResources {
    config.linux.as_mut().unwrap().resources.get_or_insert_default()
}

fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.as_mut().unwrap().security_context.get_or_insert_default()
}

fn localhost(path: &str) -> Option<SecurityProfile> {
    let profile_type = security_profile::ProfileType::Localhost as i32;
    Some(SecurityProfile { profile_type, localhost_ref: path.to_owned() })
}

fn mount(host_path: &str, container_path: &str) -> Mount {
    Mount {
        host_path: host_path.to_owned(),
        container_path: container_path.to_owned(),
        ..Default::default()
    }
}

fn odd_containers() -> Vec<OddContainer> {
    use Code::{Internal, InvalidArgument, NotFound};
    vec![
        (InvalidArgument, "log_path \"../x.log\" leaves", |c| c.log_path = "../x.log".to_owned()),
        (InvalidArgument, "log_path \"/x.log\" leaves", |c| c.log_path = "/x.log".to_owned()),
        (Internal, "open log /", |c| c.log_path = ".".to_owned()),
        (InvalidArgument, "stop signal 99 is unknown", |c| c.stop_signal = 99),
        (InvalidArgument, "cpu_shares -7 is negative", |c| resources(c).cpu_shares = -7),
        (InvalidArgument, "write \"1\" to /", |c| resources(c).cpu_quota = 1),
        (InvalidArgument, "write \"900-901\" to /", |c| {
            resources(c).cpuset_cpus = "900-901".to_owned();
        }),
        (InvalidArgument, "linux.resources.memory.limit: 1 is less than a page", |c| {
            resources(c).memory_limit_in_bytes = 1;
        }),
        (InvalidArgument, "run_as_user: no such id -5", |c| {
            security(c).run_as_user = Some(Int64Value { value: -5 });
        }),
        (InvalidArgument, "user \"nobody-here\" is not in the container's /etc/passwd", |c| {
            security(c).run_as_username = "nobody-here".to_owned();
        }),
        (InvalidArgument, "capability \"CAP_NOPE\" is unknown", |c| {
            let add_capabilities = vec!["CAP_NOPE".to_owned()];
            let capabilities = Capability { add_capabilities, ..Default::default() };
            security(c).capabilities = Some(capabilities);
        }),
        (InvalidArgument, "namespace mode 9 is unknown", |c| {
            security(c).namespace_options = Some(NamespaceOption { pid: 9, ..Default::default() });
        }),
        (NotFound, "seccomp profile /none.json: not found", |c| {
            security(c).seccomp = localhost("/none.json");
        }),
        (InvalidArgument, "seccomp profile: /etc/passwd: expected", |c| {
            security(c).seccomp = localhost("/etc/passwd");
        }),
        (InvalidArgument, "seccomp profile \"../x\" is no file below /", |c| {
            security(c).seccomp = localhost("../x");
        }),
        (NotFound, "device /dev/none: not found", |c| {
            let host_path = "/dev/none".to_owned();
            c.devices = vec![Device { host_path, ..Default::default() }];
        }),
        (InvalidArgument, "mount /bin/work: ENOTDIR", |c| {
            c.mounts = vec![mount("/tmp", "/bin/work")]
        }),
        (InvalidArgument, "mount /bin: EISDIR", |c| {
            c.mounts = vec![mount("/etc/passwd", "/bin")];
        }),
        (InvalidArgument, "mount /a: propagation 7 is unknown", |c| {
            c.mounts = vec![Mount { propagation: 7, ..mount("/tmp", "/a") }];
        }),
        (InvalidArgument, "mount /a: image: no image given", |c| {
            let image = Some(ImageSpec::default());
            c.mounts = vec![Mount { image, ..mount("", "/a") }];
        }),
    ]
}
