//! What containers and pods use.

use super::{container, pod};
use rrun_cri_api::v1;
use rrun_engine::stats::{ContainerStats, FsUsage, InterfaceUsage, PodStats, Psi, PsiLine, Usage};

/// `ContainerStats`
pub fn container_stats(stats: &ContainerStats) -> v1::ContainerStats {
    let usage = stats.usage.as_ref();
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: stats.id.to_string(),
            metadata: Some(container::metadata(&stats.config)),
            labels: stats.config.labels.clone(),
            annotations: stats.config.annotations.clone(),
        }),
        cpu: usage.map(cpu),
        memory: usage.map(memory),
        writable_layer: stats.writable_layer.as_ref().map(filesystem),
        swap: usage.map(|usage| v1::SwapUsage {
            timestamp: usage.at,
            swap_available_bytes: value(usage.memory.swap_available),
            swap_usage_bytes: value(usage.memory.swap_usage),
        }),
        io: usage.map(io),
    }
}

/// `PodSandboxStats`
pub fn pod_stats(stats: &PodStats) -> v1::PodSandboxStats {
    let usage = stats.usage.as_ref();
    let at = usage.map_or(0, |usage| usage.at);
    let mut interfaces = stats.interfaces.iter().map(interface);
    v1::PodSandboxStats {
        attributes: Some(v1::PodSandboxAttributes {
            id: stats.id.to_string(),
            metadata: Some(pod::metadata(&stats.config)),
            labels: stats.config.labels.clone(),
            annotations: stats.config.annotations.clone(),
        }),
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: usage.map(cpu),
            memory: usage.map(memory),
            network: Some(v1::NetworkUsage {
                timestamp: at,
                default_interface: interfaces.next(),
                interfaces: interfaces.collect(),
            }),
            process: Some(v1::ProcessUsage {
                timestamp: at,
                process_count: value(stats.processes),
            }),
            containers: stats.containers.iter().map(container_stats).collect(),
            io: usage.map(io),
        }),
        windows: None,
    }
}

/// `FilesystemUsage`
pub fn filesystem(usage: &FsUsage) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp: usage.at,
        fs_id: Some(v1::FilesystemIdentifier {
            mountpoint: usage.mountpoint.to_string_lossy().into_owned(),
        }),
        used_bytes: value(Some(usage.bytes)),
        inodes_used: value(Some(usage.inodes)),
    }
}

fn cpu(usage: &Usage) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp: usage.at,
        usage_core_nano_seconds: value(usage.cpu_ns),
        // The kubelet derives it from two readings; one of ours would win over that.
        usage_nano_cores: None,
        psi: usage.cpu_psi.as_ref().map(psi),
    }
}

fn memory(usage: &Usage) -> v1::MemoryUsage {
    let memory = &usage.memory;
    v1::MemoryUsage {
        timestamp: usage.at,
        working_set_bytes: value(memory.working_set),
        available_bytes: value(memory.available),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.faults),
        major_page_faults: value(memory.major_faults),
        psi: memory.psi.as_ref().map(psi),
    }
}

fn io(usage: &Usage) -> v1::IoUsage {
    v1::IoUsage { timestamp: usage.at, psi: usage.io_psi.as_ref().map(psi) }
}

fn psi(psi: &Psi) -> v1::PsiStats {
    let line = |line: &PsiLine| v1::PsiData {
        total: line.total,
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
    };
    v1::PsiStats { full: Some(line(&psi.full)), some: Some(line(&psi.some)) }
}

fn interface(usage: &InterfaceUsage) -> v1::NetworkInterfaceUsage {
    v1::NetworkInterfaceUsage {
        name: usage.name.clone(),
        rx_bytes: value(Some(usage.rx_bytes)),
        rx_errors: value(Some(usage.rx_errors)),
        tx_bytes: value(Some(usage.tx_bytes)),
        tx_errors: value(Some(usage.tx_errors)),
    }
}

fn value(value: Option<u64>) -> Option<v1::UInt64Value> {
    value.map(|value| v1::UInt64Value { value })
}
