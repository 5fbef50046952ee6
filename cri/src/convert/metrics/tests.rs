use super::*;
use rrun_engine::model::{ContainerConfig, ImageSpec, PodConfig};
use rrun_engine::stats::{
    CpuTimes, FileSystem, HugePages, Memory, Pressures, Stall, Swap, Throttling,
};
use std::collections::BTreeSet;
use std::sync::Arc;

const AT: i64 = 1_700_000_000_500_000_000;

fn counts() -> Counts {
    let stall =
        |seconds: u64| Stall { total_us: seconds * 1_000_000 + 999_999, ..Stall::default() };
    let pressure = |seconds: u64| Pressure { some: stall(seconds), full: stall(seconds + 1) };
    let io = DeviceIo { major: 8, minor: 1, read_bytes: 10, write_bytes: 20, reads: 1, writes: 2 };
    let figures = Stats {
        cpu_usage_ns: Some(7_900_000_000),
        throttling: Some(Throttling {
            periods: 5,
            throttled_periods: 4,
            throttled_ns: 3_000_000_000,
        }),
        memory: Some(Memory {
            usage: 100,
            working_set: 90,
            rss: 80,
            page_faults: 70,
            major_page_faults: 60,
            limit: Some(200),
            oom_kills: Some(2),
        }),
        swap: Some(Swap { usage: 30, limit: None }),
        pids: Some(4),
        pressure: Some(Pressures { cpu: pressure(10), memory: pressure(20), io: pressure(30) }),
        ..Stats::default()
    };
    let details = Details {
        cpu: Some(CpuTimes { user_ns: 5_100_000_000, system_ns: 2_800_000_000 }),
        memory: Some(MemoryDetails {
            cache: 11,
            mapped_file: 12,
            kernel: Some(13),
            peak: Some(14),
            limit_hits: Some(15),
            own_page_faults: 16,
            own_major_page_faults: 17,
        }),
        pids_limit: Some(64),
        huge_pages: vec![HugePages { size: "2MB".to_owned(), usage: 21, peak: Some(22) }],
    };
    let opened =
        Opened { processes: 3, descriptors: Some(40), sockets: Some(5), files_limit: Some(1024) };
    Counts { figures, details, opened: Some(opened), devices: vec![("/dev/sda".to_owned(), io)] }
}

fn container() -> ContainerMetrics {
    let image = ImageSpec {
        image: "sha256:1".into(),
        user_specified: "web:1".into(),
        ..Default::default()
    };
    let config = ContainerConfig { name: "main".into(), image, ..Default::default() };
    let file_system =
        FileSystem { device: "/dev/vda1".into(), bytes: 1000, inodes: 100, inodes_free: 99 };
    let layer = FsUsage {
        at: AT - 1,
        mountpoint: "/m".into(),
        bytes: 50,
        inodes: 2,
        file_system: Some(file_system),
    };
    ContainerMetrics {
        id: "1".repeat(64).parse().unwrap(),
        config: Arc::new(config),
        base: None,
        started_at: 1_600_000_000_000_000_001,
        resources: Resources {
            cpu_period: 50_000,
            cpu_quota: 25_000,
            cpu_shares: 512,
            memory_limit: 64 << 20,
            memory_swap_limit: -1,
            unified: [("memory.min".to_owned(), "4096".to_owned())].into(),
            ..Default::default()
        },
        counts: Some((AT, Arc::new(counts()))),
        writable_layer: Some(layer),
    }
}

fn pod(container: ContainerMetrics) -> PodMetrics {
    let config = PodConfig { name: "web".into(), namespace: "shop".into(), ..Default::default() };
    let interface = InterfaceUsage {
        name: "eth0".into(),
        rx_bytes: 1,
        rx_packets: 2,
        rx_errors: 3,
        rx_dropped: 4,
        tx_bytes: 5,
        tx_packets: 6,
        tx_errors: 7,
        tx_dropped: 8,
    };
    PodMetrics {
        id: "0".repeat(64).parse().unwrap(),
        config: Arc::new(config),
        interfaces: Some((AT, Arc::new(vec![interface]))),
        containers: vec![container],
    }
}

fn all(of: &v1::PodSandboxMetrics) -> Vec<&v1::Metric> {
    let containers = of.container_metrics.iter().flat_map(|container| &container.metrics);
    of.metrics.iter().chain(containers).collect()
}

fn value(of: &v1::PodSandboxMetrics, name: &str, own: &[&str]) -> Option<u64> {
    let found = all(of).into_iter().find(|metric| {
        metric.name == format!("container_{name}") && metric.label_values[LABELS.len()..] == *own
    });
    found.and_then(|metric| metric.value.map(|value| value.value))
}

#[test]
fn every_metric_has_a_descriptor_and_samples_with_as_many_labels() {
    let descriptors = metric_descriptors();
    let names: BTreeSet<_> = descriptors.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names.len(), 56);
    let told = pod_metrics(&pod(container()));
    for metric in all(&told) {
        let found = descriptors.iter().find(|it| it.name == metric.name).unwrap();
        assert_eq!(metric.label_values.len(), found.label_keys.len(), "{}", metric.name);
        assert!(!found.help.is_empty());
        assert_eq!(found.label_keys[..LABELS.len()], LABELS);
    }
    let sampled: BTreeSet<_> = all(&told).into_iter().map(|it| it.name.as_str()).collect();
    assert_eq!(sampled, names, "everything that is counted is told");
}

#[test]
fn samples_say_whose_they_are_when_they_were_read_and_whether_they_only_grow() {
    let told = pod_metrics(&pod(container()));
    assert_eq!(told.pod_sandbox_id, "0".repeat(64));
    assert_eq!(told.container_metrics[0].container_id, "1".repeat(64));
    let received = &told.metrics[0];
    let labels = [&*"0".repeat(64), "", "shop", "web", "", "eth0"];
    assert_eq!(
        (&received.label_values[..], received.timestamp),
        (&labels.map(str::to_owned)[..], AT)
    );
    assert_eq!(received.metric_type(), v1::MetricType::Counter);
    let of = &told.container_metrics[0].metrics;
    let named = |name| of.iter().find(|metric| metric.name == name).unwrap();
    let seen = named("container_last_seen");
    let labels = [&*"1".repeat(64), "web:1", "shop", "web", "main"];
    assert_eq!(seen.label_values, labels);
    assert_eq!((seen.timestamp, seen.metric_type()), (AT, v1::MetricType::Gauge));
    assert_eq!(named("container_fs_usage_bytes").timestamp, AT - 1, "when it was measured");
}

#[test]
fn figures_are_in_the_units_of_their_names() {
    let told = pod_metrics(&pod(container()));
    let value = |name: &str, own: &[&str]| value(&told, name, own).unwrap();
    assert_eq!(value("last_seen", &[]), 1_700_000_000);
    assert_eq!(value("start_time_seconds", &[]), 1_600_000_000);
    assert_eq!(value("cpu_usage_seconds_total", &["total"]), 7);
    assert_eq!(value("cpu_user_seconds_total", &[]), 5);
    assert_eq!(value("cpu_cfs_throttled_seconds_total", &[]), 3);
    assert_eq!(value("pressure_cpu_waiting_seconds_total", &[]), 10);
    assert_eq!(value("pressure_io_stalled_seconds_total", &[]), 31);
    assert_eq!(value("memory_failures_total", &["pgfault", "container"]), 16);
    assert_eq!(value("memory_failures_total", &["pgmajfault", "hierarchy"]), 60);
    assert_eq!(value("memory_kernel_usage", &[]), 13);
    assert_eq!(value("hugetlb_max_usage_bytes", &["2MB"]), 22);
    assert_eq!(value("blkio_device_usage_total", &["/dev/sda", "8", "1", "Write"]), 20);
    assert_eq!(value("fs_inodes_free", &["/dev/vda1"]), 99);
    assert_eq!(value("network_transmit_packets_dropped_total", &["eth0"]), 8);
    assert_eq!(value("ulimits_soft", &["max_open_files"]), 1024);
    assert_eq!((value("threads", &[]), value("threads_max", &[])), (4, 64));
    assert_eq!(value("spec_cpu_quota", &[]), 25_000);
    assert_eq!(value("spec_memory_swap_limit_bytes", &[]), 0, "without a limit");
    assert_eq!(value("spec_memory_reservation_limit_bytes", &[]), 4096);
}

#[test]
fn what_is_not_counted_has_no_sample_and_what_nobody_limits_has_the_kernels_value() {
    let mut container = container();
    container.counts = Some((AT, Arc::default()));
    container.resources = Resources::default();
    container.writable_layer = None;
    let told = pod_metrics(&PodMetrics { interfaces: None, ..pod(container) });
    let names: Vec<_> = all(&told).into_iter().map(|it| it.name.as_str()).collect();
    let expected = [
        "container_last_seen",
        "container_start_time_seconds",
        "container_spec_cpu_period",
        "container_spec_cpu_shares",
        "container_spec_memory_limit_bytes",
        "container_spec_memory_swap_limit_bytes",
        "container_spec_memory_reservation_limit_bytes",
    ];
    assert_eq!(names, expected);
    assert_eq!(value(&told, "spec_cpu_period", &[]), Some(100_000));
    assert_eq!(value(&told, "spec_memory_limit_bytes", &[]), Some(0));
}
