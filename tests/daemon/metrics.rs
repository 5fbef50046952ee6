//! The metrics that cAdvisor would have, by the CRI.

use crate::suite::*;
use futures::StreamExt;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::WORK;

/// The metrics of one pod, with those of its containers.
struct Told(PodSandboxMetrics);

impl Told {
    async fn of(suite: &Suite, pod: &str) -> Told {
        let request = ListPodSandboxMetricsRequest {};
        let all = suite.harness.client.list_pod_sandbox_metrics(request).await.unwrap();
        let found = all.pod_metrics.into_iter().find(|told| told.pod_sandbox_id == pod);
        Told(found.unwrap_or_else(|| panic!("no metrics of {pod}")))
    }

    fn all(&self) -> impl Iterator<Item = &Metric> {
        let of_containers = self.0.container_metrics.iter().flat_map(|of| &of.metrics);
        self.0.metrics.iter().chain(of_containers)
    }

    /// The sample with these last labels of the container, or pod, that is named by `of`.
    fn find(&self, of: &str, name: &str, own: &[&str]) -> Option<u64> {
        let name = format!("container_{name}");
        let found = self
            .all()
            .find(|it| it.name == name && it.label_values[4] == of && it.label_values[5..] == *own);
        found.map(|it| it.value.unwrap().value)
    }

    fn value(&self, of: &str, name: &str, own: &[&str]) -> u64 {
        self.find(of, name, own).unwrap_or_else(|| panic!("{of}: no {name} {own:?}"))
    }
}

/// What a test's container is limited to.
fn limits() -> LinuxContainerConfig {
    let resources = LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 20_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 128 << 20,
        memory_swap_limit_in_bytes: 128 << 20,
        ..Default::default()
    };
    LinuxContainerConfig { resources: Some(resources), ..Default::default() }
}

/// Asks the pod's server often enough that its interface has counted some thousands of bytes.
async fn speak_to(suite: &Suite, pod: &str) {
    let ip = suite.pod_status(pod).await.network.unwrap().ip;
    let ask = format!(
        "for i in $(seq 20); do exec 3<>/dev/tcp/{ip}/8080 && echo >&3 $'GET / HTTP/1.0\\r\\n\\r\\n' \
         && cat <&3; done"
    );
    let answers = || suite.harness.sandbox().command("bash").args(["-c", &ask]).output().unwrap();
    let heard = async || String::from_utf8_lossy(&answers().stdout).contains("hello");
    suite.until("its server answers", heard).await;
}

#[tokio::test]
async fn metrics_are_told_of_a_pods_containers_and_interfaces_and_after_a_restart() {
    let mut suite = Suite::start().await;
    let config = suite.harness.pod("metrics");
    let pod = suite.run_pod(&config).await;
    let mut main = suite.harness.container("main", WORK, &["/bin/work", "hold", "32"]);
    main.linux = Some(limits());
    let id = suite.create(&pod, main, &config).await.unwrap();
    suite.start_container(&id).await.unwrap();
    suite.add(&pod, &config, "web", &["/bin/work", "serve", "8080", "hello"]).await;
    speak_to(&suite, &pod).await;
    let holds = async || {
        let request = ContainerStatsRequest { container_id: id.clone() };
        let stats = suite.harness.client.container_stats(request).await.unwrap().stats.unwrap();
        stats.memory.unwrap().rss_bytes.unwrap().value >= 32 << 20 && stats.writable_layer.is_some()
    };
    suite.until("it holds its memory, and its layer is measured", holds).await;

    let request = ListMetricDescriptorsRequest {};
    let descriptors = suite.harness.client.list_metric_descriptors(request).await;
    let descriptors = descriptors.unwrap().descriptors;
    assert_eq!(descriptors.len(), 56);
    let listens = async || Told::of(&suite, &pod).await.find("web", "sockets", &[]) == Some(1);
    suite.until("it has closed what it has answered", listens).await;
    let before = Told::of(&suite, &pod).await;
    assert_is_whole(&descriptors, &before);
    suite.restart().await;
    let layers = async || {
        let told = Told::of(&suite, &pod).await;
        ["main", "web"]
            .iter()
            .all(|of| told.find(of, "fs_limit_bytes", &[&device(&before)]).is_some())
    };
    suite.until("the layers are measured", layers).await;
    let after = Told::of(&suite, &pod).await;
    assert_is_whole(&descriptors, &after);
    let received = |told: &Told| told.value("", "network_receive_bytes_total", &["eth0"]);
    assert!(received(&after) >= received(&before));
    let started = |told: &Told| told.value("main", "start_time_seconds", &[]);
    assert_eq!(started(&after), started(&before));

    let request = StreamPodSandboxMetricsRequest {};
    let mut streamed = suite.harness.client.stream_pod_sandbox_metrics(request).await.unwrap();
    let first = streamed.next().await.unwrap().unwrap().pod_sandbox_metrics;
    assert_eq!(first[0].pod_sandbox_id, pod);
    assert_eq!(first[0].container_metrics.len(), 2);
    assert!(streamed.next().await.is_none());
    for (words, line) in [
        (["metricdescs"], "container_pressure_io_waiting_seconds_total"),
        (["metricsp"], "container_network_receive_bytes_total"),
    ] {
        let shown = suite.crictl(&words).output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.status.success() && text.contains(line), "{words:?}: {shown:?}");
    }
    suite.remove(&pod).await;
    let request = ListPodSandboxMetricsRequest {};
    let gone = suite.harness.client.list_pod_sandbox_metrics(request).await.unwrap();
    assert_eq!(gone.pod_metrics, []);
    suite.assert_nothing_left();
}

/// The device that the writable layers are on.
fn device(told: &Told) -> String {
    let sample = told.all().find(|metric| metric.name == "container_fs_limit_bytes").unwrap();
    sample.label_values[5].clone()
}

/// Everything that every kernel counts is there, and as large as what was done.
fn assert_is_whole(known: &[MetricDescriptor], told: &Told) {
    for metric in told.all() {
        let described = known.iter().find(|it| it.name == metric.name).unwrap();
        assert_eq!(metric.label_values.len(), described.label_keys.len(), "{metric:?}");
        assert!(metric.timestamp > 0 && metric.timestamp <= now(), "{metric:?}");
    }
    // PSI is of v2 alone and may be off, v1 may not count swap, and io and huge pages are counted
    // where there are some.
    let optional = ["pressure", "hugetlb", "blkio", "fs_reads", "fs_writes", "memory_swap"];
    for described in known {
        let of_all = described.name.strip_prefix("container_").unwrap();
        let is_there = told.all().any(|metric| metric.name == described.name);
        let may_lack = optional.iter().any(|name| of_all.starts_with(name));
        assert!(is_there || may_lack, "{} has no sample", described.name);
    }
    let main = |name| told.value("main", name, &[]);
    assert!((32 << 20..64 << 20).contains(&main("memory_rss")), "{}", main("memory_rss"));
    assert!(main("memory_usage_bytes") >= main("memory_rss"));
    assert!(main("memory_max_usage_bytes") >= 32 << 20);
    assert!(main("memory_working_set_bytes") >= 32 << 20);
    assert!(told.value("main", "memory_failures_total", &["pgfault", "hierarchy"]) >= 8192);
    assert_eq!(main("spec_memory_limit_bytes"), 128 << 20);
    assert_eq!((main("spec_cpu_period"), main("spec_cpu_quota")), (100_000, 20_000));
    assert_eq!((main("spec_cpu_shares"), main("oom_events_total")), (512, 0));
    assert_eq!((main("processes"), main("threads"), main("sockets")), (1, 1, 0));
    assert!(main("file_descriptors") >= 3);
    assert_eq!(told.value("web", "sockets", &[]), 1);
    assert!(told.value("main", "ulimits_soft", &["max_open_files"]) > 0);
    let (seen, started) = (main("last_seen"), main("start_time_seconds"));
    assert!(started <= seen && seen <= now().unsigned_abs() / 1_000_000_000);
    let device = device(told);
    assert!(told.value("main", "fs_limit_bytes", &[&device]) > 0);
    for counter in ["receive_bytes_total", "transmit_bytes_total"] {
        assert!(told.value("", &format!("network_{counter}"), &["eth0"]) > 1000, "{counter}");
    }
}
