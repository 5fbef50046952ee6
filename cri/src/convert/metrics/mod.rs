//! Messages about what metrics tell, as the kubelet hands them on to Prometheus.
//!
//! A value is a whole number in this API: seconds lose their fractions. What the kernel does not
//! count on this host has a descriptor and no sample.

mod families;

use families::*;
use rrun_cri_api::v1;
use rrun_engine::model::Resources;
use rrun_engine::stats::{
    ContainerMetrics, Counts, Details, DeviceIo, FsUsage, InterfaceUsage, MemoryDetails, Opened,
    PodMetrics, Pressure, Stats,
};

/// What a CPU quota is a part of where nobody said it, microseconds.
const CPU_PERIOD: u64 = 100_000;
/// The shares of a group that nobody gave any.
const CPU_SHARES: u64 = 1024;

/// Every metric there is.
pub fn metric_descriptors() -> Vec<v1::MetricDescriptor> {
    ALL.iter().map(|family| family.descriptor()).collect()
}

/// `PodSandboxMetrics`
pub fn pod_metrics(pod: &PodMetrics) -> v1::PodSandboxMetrics {
    let config = &pod.config;
    let labels = [
        pod.id.to_string(),
        String::new(),
        config.namespace.clone(),
        config.name.clone(),
        String::new(),
    ];
    let mut samples = Samples::new(labels);
    if let Some((at, interfaces)) = &pod.interfaces {
        samples.at = *at;
        interfaces.iter().for_each(|interface| samples.interface(interface));
    }
    v1::PodSandboxMetrics {
        pod_sandbox_id: pod.id.to_string(),
        metrics: samples.metrics,
        container_metrics: pod.containers.iter().map(|row| container_metrics(pod, row)).collect(),
    }
}

fn container_metrics(pod: &PodMetrics, container: &ContainerMetrics) -> v1::ContainerMetrics {
    let (config, of) = (&container.config, &pod.config);
    // Only a kubelet says which name a person gave.
    let image = container.base.as_deref().unwrap_or(&config.image);
    let image = match image.user_specified.as_str() {
        "" => &image.image,
        given => given,
    };
    let labels = [&container.id.to_string(), image, &of.namespace, &of.name, &config.name];
    let mut samples = Samples::new(labels.map(|label| label.to_owned()));
    if let Some((at, counts)) = &container.counts {
        samples.at = *at;
        samples.add(&LAST_SEEN, seconds(*at));
        samples.add(&START_TIME, seconds(container.started_at));
        samples.limits(&container.resources);
        samples.counts(counts);
    }
    if let Some(layer) = &container.writable_layer {
        samples.at = layer.at;
        samples.layer(layer);
    }
    v1::ContainerMetrics { container_id: container.id.to_string(), metrics: samples.metrics }
}

/// Of nanoseconds since the epoch.
fn seconds(at: i64) -> Option<u64> {
    u64::try_from(at).ok().map(|at| at / 1_000_000_000)
}

/// The samples of one pod or container.
struct Samples {
    labels: [String; LABELS.len()],
    /// When what is added was read, nanoseconds since the epoch.
    at: i64,
    metrics: Vec<v1::Metric>,
}

impl Samples {
    fn new(labels: [String; LABELS.len()]) -> Samples {
        Samples { labels, at: 0, metrics: Vec::with_capacity(ALL.len()) }
    }

    fn add(&mut self, family: &Family, value: impl Into<Option<u64>>) {
        self.add_by(family, [], value);
    }

    /// With values for the labels that the family has of its own.
    fn add_by<const N: usize>(
        &mut self,
        family: &Family,
        labels: [&str; N],
        value: impl Into<Option<u64>>,
    ) {
        debug_assert_eq!(N, family.labels.len(), "{}", family.name);
        let Some(value) = value.into() else { return };
        let own = labels.into_iter().map(str::to_owned);
        self.metrics.push(v1::Metric {
            name: family.name.to_owned(),
            timestamp: self.at,
            metric_type: family.kind as i32,
            label_values: self.labels.iter().cloned().chain(own).collect(),
            value: Some(v1::UInt64Value { value }),
        });
    }

    fn interface(&mut self, of: &InterfaceUsage) {
        for (family, value) in [
            (&RX_BYTES, of.rx_bytes),
            (&RX_PACKETS, of.rx_packets),
            (&RX_DROPPED, of.rx_dropped),
            (&RX_ERRORS, of.rx_errors),
            (&TX_BYTES, of.tx_bytes),
            (&TX_PACKETS, of.tx_packets),
            (&TX_DROPPED, of.tx_dropped),
            (&TX_ERRORS, of.tx_errors),
        ] {
            self.add_by(family, [&of.name], value);
        }
    }

    /// 0 and less is without a limit; cAdvisor then leaves out the quota alone.
    fn limits(&mut self, limits: &Resources) {
        let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        self.add(&SPEC_CPU_PERIOD, positive(limits.cpu_period).unwrap_or(CPU_PERIOD));
        self.add(&SPEC_CPU_QUOTA, positive(limits.cpu_quota));
        self.add(&SPEC_CPU_SHARES, positive(limits.cpu_shares).unwrap_or(CPU_SHARES));
        self.add(&SPEC_MEMORY_LIMIT, positive(limits.memory_limit).unwrap_or(0));
        self.add(&SPEC_MEMORY_SWAP_LIMIT, positive(limits.memory_swap_limit).unwrap_or(0));
        let reserved = limits.unified.get("memory.min").and_then(|text| text.parse().ok());
        self.add(&SPEC_MEMORY_RESERVATION, reserved.unwrap_or(0));
    }

    fn counts(&mut self, counts: &Counts) {
        let Counts { figures, details, opened, devices } = counts;
        self.cpu(figures, details);
        if let Some(memory) = &details.memory {
            self.memory(figures, memory);
        }
        for pages in &details.huge_pages {
            self.add_by(&HUGE_PAGES, [&pages.size], pages.usage);
            self.add_by(&HUGE_PAGES_PEAK, [&pages.size], pages.peak);
        }
        for (name, io) in devices {
            self.device(name, io);
        }
        self.add(&THREADS, figures.pids);
        let most = details.pids_limit.unwrap_or(0);
        self.add(&THREADS_MAX, figures.pids.map(|_| most));
        if let Some(opened) = opened {
            self.opened(opened);
        }
        if let Some(all) = &figures.pressure {
            self.pressure((&CPU_STALLED, &CPU_WAITING), &all.cpu);
            self.pressure((&MEMORY_STALLED, &MEMORY_WAITING), &all.memory);
            self.pressure((&IO_STALLED, &IO_WAITING), &all.io);
        }
    }

    fn cpu(&mut self, figures: &Stats, details: &Details) {
        let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
        self.add_by(&CPU_USAGE, ["total"], figures.cpu_usage_ns.map(seconds));
        self.add(&CPU_USER, details.cpu.map(|times| seconds(times.user_ns)));
        self.add(&CPU_SYSTEM, details.cpu.map(|times| seconds(times.system_ns)));
        let throttling = figures.throttling.as_ref();
        self.add(&CPU_PERIODS, throttling.map(|it| it.periods));
        self.add(&CPU_THROTTLED_PERIODS, throttling.map(|it| it.throttled_periods));
        self.add(&CPU_THROTTLED, throttling.map(|it| seconds(it.throttled_ns)));
    }

    fn memory(&mut self, figures: &Stats, details: &MemoryDetails) {
        self.add(&MEMORY_CACHE, details.cache);
        self.add(&MEMORY_KERNEL, details.kernel);
        self.add(&MEMORY_MAPPED_FILE, details.mapped_file);
        self.add(&MEMORY_LIMIT_HITS, details.limit_hits);
        self.add(&MEMORY_PEAK, details.peak);
        self.add(&MEMORY_SWAP, figures.swap.as_ref().map(|swap| swap.usage));
        let Some(memory) = &figures.memory else { return };
        self.add(&MEMORY_RSS, memory.rss);
        self.add(&MEMORY_USAGE, memory.usage);
        self.add(&MEMORY_WORKING_SET, memory.working_set);
        self.add(&OOM_KILLS, memory.oom_kills);
        for (labels, value) in [
            (["pgfault", "container"], details.own_page_faults),
            (["pgfault", "hierarchy"], memory.page_faults),
            (["pgmajfault", "container"], details.own_major_page_faults),
            (["pgmajfault", "hierarchy"], memory.major_page_faults),
        ] {
            self.add_by(&MEMORY_FAULTS, labels, value);
        }
    }

    fn device(&mut self, name: &str, io: &DeviceIo) {
        self.add_by(&FS_READ_BYTES, [name], io.read_bytes);
        self.add_by(&FS_READS, [name], io.reads);
        self.add_by(&FS_WRITTEN_BYTES, [name], io.write_bytes);
        self.add_by(&FS_WRITES, [name], io.writes);
        let (major, minor) = (io.major.to_string(), io.minor.to_string());
        self.add_by(&DEVICE_USAGE, [name, &major, &minor, "Read"], io.read_bytes);
        self.add_by(&DEVICE_USAGE, [name, &major, &minor, "Write"], io.write_bytes);
    }

    fn opened(&mut self, opened: &Opened) {
        self.add(&PROCESSES, opened.processes);
        self.add(&DESCRIPTORS, opened.descriptors);
        self.add(&SOCKETS, opened.sockets);
        self.add_by(&ULIMITS, ["max_open_files"], opened.files_limit);
    }

    fn pressure(&mut self, (stalled, waiting): (&Family, &Family), pressure: &Pressure) {
        self.add(stalled, pressure.full.total_us / 1_000_000);
        self.add(waiting, pressure.some.total_us / 1_000_000);
    }

    fn layer(&mut self, layer: &FsUsage) {
        let Some(all) = &layer.file_system else { return };
        let device = [all.device.as_str()];
        self.add_by(&FS_USAGE, device, layer.bytes);
        self.add_by(&FS_LIMIT, device, all.bytes);
        self.add_by(&FS_INODES, device, all.inodes);
        self.add_by(&FS_INODES_FREE, device, all.inodes_free);
    }
}

#[cfg(test)]
mod tests;
