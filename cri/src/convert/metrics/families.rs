//! The metrics, by their names, units and labels in cAdvisor, which what reads them knows.

use rrun_cri_api::v1::{MetricDescriptor, MetricType};

/// The labels that every sample has, in this order; its own come behind them.
pub(super) const LABELS: [&str; 5] = ["id", "image", "namespace", "pod", "container"];

/// A metric of many samples.
pub(super) struct Family {
    pub(super) name: &'static str,
    help: &'static str,
    pub(super) kind: MetricType,
    /// The labels that its samples have beside those of all.
    pub(super) labels: &'static [&'static str],
}

impl Family {
    const fn of(kind: MetricType, name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind, labels: &[] }
    }

    const fn counter(name: &'static str, help: &'static str) -> Family {
        Family::of(MetricType::Counter, name, help)
    }

    const fn gauge(name: &'static str, help: &'static str) -> Family {
        Family::of(MetricType::Gauge, name, help)
    }

    const fn by(self, labels: &'static [&'static str]) -> Family {
        Family { labels, ..self }
    }

    pub(super) fn descriptor(&self) -> MetricDescriptor {
        let labels = LABELS.iter().chain(self.labels);
        MetricDescriptor {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            label_keys: labels.map(|label| (*label).to_owned()).collect(),
        }
    }
}

pub(super) static CPU_USER: Family = Family::counter(
    "container_cpu_user_seconds_total",
    "Cumulative user cpu time consumed in seconds.",
);
pub(super) static CPU_SYSTEM: Family = Family::counter(
    "container_cpu_system_seconds_total",
    "Cumulative system cpu time consumed in seconds.",
);
pub(super) static CPU_USAGE: Family = Family::counter(
    "container_cpu_usage_seconds_total",
    "Cumulative cpu time consumed in seconds.",
)
.by(&["cpu"]);
pub(super) static CPU_PERIODS: Family = Family::counter(
    "container_cpu_cfs_periods_total",
    "Number of elapsed enforcement period intervals.",
);
pub(super) static CPU_THROTTLED_PERIODS: Family = Family::counter(
    "container_cpu_cfs_throttled_periods_total",
    "Number of throttled period intervals.",
);
pub(super) static CPU_THROTTLED: Family = Family::counter(
    "container_cpu_cfs_throttled_seconds_total",
    "Total time duration the container has been throttled.",
);
pub(super) static MEMORY_CACHE: Family =
    Family::gauge("container_memory_cache", "Number of bytes of page cache memory.");
pub(super) static MEMORY_RSS: Family =
    Family::gauge("container_memory_rss", "Size of RSS in bytes.");
pub(super) static MEMORY_KERNEL: Family =
    Family::gauge("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.");
pub(super) static MEMORY_MAPPED_FILE: Family =
    Family::gauge("container_memory_mapped_file", "Size of memory mapped files in bytes.");
pub(super) static MEMORY_SWAP: Family =
    Family::gauge("container_memory_swap", "Container swap usage in bytes.");
pub(super) static MEMORY_LIMIT_HITS: Family =
    Family::counter("container_memory_failcnt", "Number of memory usage hits limits.");
pub(super) static MEMORY_USAGE: Family = Family::gauge(
    "container_memory_usage_bytes",
    "Current memory usage in bytes, including all memory regardless of when it was accessed.",
);
pub(super) static MEMORY_PEAK: Family =
    Family::gauge("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes.");
pub(super) static MEMORY_WORKING_SET: Family =
    Family::gauge("container_memory_working_set_bytes", "Current working set in bytes.");
pub(super) static MEMORY_FAULTS: Family = Family::counter(
    "container_memory_failures_total",
    "Cumulative count of memory allocation failures.",
)
.by(&["failure_type", "scope"]);
pub(super) static OOM_KILLS: Family = Family::counter(
    "container_oom_events_total",
    "Count of out of memory events observed for the container.",
);
pub(super) static HUGE_PAGES: Family =
    Family::gauge("container_hugetlb_usage_bytes", "Current hugepage usage in bytes.")
        .by(&["pagesize"]);
pub(super) static HUGE_PAGES_PEAK: Family =
    Family::gauge("container_hugetlb_max_usage_bytes", "Maximum hugepage usage recorded in bytes.")
        .by(&["pagesize"]);
pub(super) static FS_INODES_FREE: Family =
    Family::gauge("container_fs_inodes_free", "Number of available inodes.").by(&["device"]);
pub(super) static FS_INODES: Family =
    Family::gauge("container_fs_inodes_total", "Number of inodes.").by(&["device"]);
pub(super) static FS_LIMIT: Family = Family::gauge(
    "container_fs_limit_bytes",
    "Number of bytes that can be consumed by the container on this filesystem.",
)
.by(&["device"]);
pub(super) static FS_USAGE: Family = Family::gauge(
    "container_fs_usage_bytes",
    "Number of bytes that are consumed by the container on this filesystem.",
)
.by(&["device"]);
pub(super) static FS_READ_BYTES: Family =
    Family::counter("container_fs_reads_bytes_total", "Cumulative count of bytes read.")
        .by(&["device"]);
pub(super) static FS_READS: Family =
    Family::counter("container_fs_reads_total", "Cumulative count of reads completed.")
        .by(&["device"]);
pub(super) static FS_WRITTEN_BYTES: Family =
    Family::counter("container_fs_writes_bytes_total", "Cumulative count of bytes written.")
        .by(&["device"]);
pub(super) static FS_WRITES: Family =
    Family::counter("container_fs_writes_total", "Cumulative count of writes completed.")
        .by(&["device"]);
pub(super) static DEVICE_USAGE: Family =
    Family::counter("container_blkio_device_usage_total", "Blkio device bytes usage.").by(&[
        "device",
        "major",
        "minor",
        "operation",
    ]);
pub(super) static RX_BYTES: Family =
    Family::counter("container_network_receive_bytes_total", "Cumulative count of bytes received.")
        .by(&["interface"]);
pub(super) static RX_PACKETS: Family = Family::counter(
    "container_network_receive_packets_total",
    "Cumulative count of packets received.",
)
.by(&["interface"]);
pub(super) static RX_DROPPED: Family = Family::counter(
    "container_network_receive_packets_dropped_total",
    "Cumulative count of packets dropped while receiving.",
)
.by(&["interface"]);
pub(super) static RX_ERRORS: Family = Family::counter(
    "container_network_receive_errors_total",
    "Cumulative count of errors encountered while receiving.",
)
.by(&["interface"]);
pub(super) static TX_BYTES: Family = Family::counter(
    "container_network_transmit_bytes_total",
    "Cumulative count of bytes transmitted.",
)
.by(&["interface"]);
pub(super) static TX_PACKETS: Family = Family::counter(
    "container_network_transmit_packets_total",
    "Cumulative count of packets transmitted.",
)
.by(&["interface"]);
pub(super) static TX_DROPPED: Family = Family::counter(
    "container_network_transmit_packets_dropped_total",
    "Cumulative count of packets dropped while transmitting.",
)
.by(&["interface"]);
pub(super) static TX_ERRORS: Family = Family::counter(
    "container_network_transmit_errors_total",
    "Cumulative count of errors encountered while transmitting.",
)
.by(&["interface"]);
pub(super) static PROCESSES: Family =
    Family::gauge("container_processes", "Number of processes running inside the container.");
pub(super) static DESCRIPTORS: Family = Family::gauge(
    "container_file_descriptors",
    "Number of open file descriptors for the container.",
);
pub(super) static SOCKETS: Family =
    Family::gauge("container_sockets", "Number of open sockets for the container.");
pub(super) static THREADS: Family =
    Family::gauge("container_threads", "Number of threads running inside the container.");
pub(super) static THREADS_MAX: Family = Family::gauge(
    "container_threads_max",
    "Maximum number of threads allowed inside the container, infinity if value is zero.",
);
pub(super) static ULIMITS: Family =
    Family::gauge("container_ulimits_soft", "Soft ulimit values for the container root process.")
        .by(&["ulimit"]);
pub(super) static CPU_STALLED: Family = Family::counter(
    "container_pressure_cpu_stalled_seconds_total",
    "Total time duration no tasks in the container could make progress due to CPU congestion.",
);
pub(super) static CPU_WAITING: Family = Family::counter(
    "container_pressure_cpu_waiting_seconds_total",
    "Total time duration tasks in the container have waited due to CPU congestion.",
);
pub(super) static MEMORY_STALLED: Family = Family::counter(
    "container_pressure_memory_stalled_seconds_total",
    "Total time duration no tasks in the container could make progress due to memory congestion.",
);
pub(super) static MEMORY_WAITING: Family = Family::counter(
    "container_pressure_memory_waiting_seconds_total",
    "Total time duration tasks in the container have waited due to memory congestion.",
);
pub(super) static IO_STALLED: Family = Family::counter(
    "container_pressure_io_stalled_seconds_total",
    "Total time duration no tasks in the container could make progress due to IO congestion.",
);
pub(super) static IO_WAITING: Family = Family::counter(
    "container_pressure_io_waiting_seconds_total",
    "Total time duration tasks in the container have waited due to IO congestion.",
);
pub(super) static LAST_SEEN: Family =
    Family::gauge("container_last_seen", "Last time a container was seen by the exporter.");
pub(super) static START_TIME: Family = Family::gauge(
    "container_start_time_seconds",
    "Start time of the container since unix epoch in seconds.",
);
pub(super) static SPEC_CPU_PERIOD: Family =
    Family::gauge("container_spec_cpu_period", "CPU period of the container.");
pub(super) static SPEC_CPU_QUOTA: Family =
    Family::gauge("container_spec_cpu_quota", "CPU quota of the container.");
pub(super) static SPEC_CPU_SHARES: Family =
    Family::gauge("container_spec_cpu_shares", "CPU share of the container.");
pub(super) static SPEC_MEMORY_LIMIT: Family =
    Family::gauge("container_spec_memory_limit_bytes", "Memory limit for the container.");
pub(super) static SPEC_MEMORY_SWAP_LIMIT: Family =
    Family::gauge("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.");
pub(super) static SPEC_MEMORY_RESERVATION: Family = Family::gauge(
    "container_spec_memory_reservation_limit_bytes",
    "Memory reservation limit for the container.",
);

/// All of them.
pub(super) static ALL: [&Family; 56] = [
    &CPU_USER,
    &CPU_SYSTEM,
    &CPU_USAGE,
    &CPU_PERIODS,
    &CPU_THROTTLED_PERIODS,
    &CPU_THROTTLED,
    &MEMORY_CACHE,
    &MEMORY_RSS,
    &MEMORY_KERNEL,
    &MEMORY_MAPPED_FILE,
    &MEMORY_SWAP,
    &MEMORY_LIMIT_HITS,
    &MEMORY_USAGE,
    &MEMORY_PEAK,
    &MEMORY_WORKING_SET,
    &MEMORY_FAULTS,
    &OOM_KILLS,
    &HUGE_PAGES,
    &HUGE_PAGES_PEAK,
    &FS_INODES_FREE,
    &FS_INODES,
    &FS_LIMIT,
    &FS_USAGE,
    &FS_READ_BYTES,
    &FS_READS,
    &FS_WRITTEN_BYTES,
    &FS_WRITES,
    &DEVICE_USAGE,
    &RX_BYTES,
    &RX_PACKETS,
    &RX_DROPPED,
    &RX_ERRORS,
    &TX_BYTES,
    &TX_PACKETS,
    &TX_DROPPED,
    &TX_ERRORS,
    &PROCESSES,
    &DESCRIPTORS,
    &SOCKETS,
    &THREADS,
    &THREADS_MAX,
    &ULIMITS,
    &CPU_STALLED,
    &CPU_WAITING,
    &MEMORY_STALLED,
    &MEMORY_WAITING,
    &IO_STALLED,
    &IO_WAITING,
    &LAST_SEEN,
    &START_TIME,
    &SPEC_CPU_PERIOD,
    &SPEC_CPU_QUOTA,
    &SPEC_CPU_SHARES,
    &SPEC_MEMORY_LIMIT,
    &SPEC_MEMORY_SWAP_LIMIT,
    &SPEC_MEMORY_RESERVATION,
];
