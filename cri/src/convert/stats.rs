//! Messages about what containers and pods use.

use super::{container, pod};
use rrun_cri_api::v1;
use rrun_engine::stats::{
    ContainerStats, FsUsage, InterfaceUsage, PodStats, Pressure, Stall, Usage,
};

/// `ContainerStats`
pub fn container_stats(stats: &ContainerStats) -> v1::ContainerStats {
    let usage = stats.usage.as_deref();
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: stats.id.to_string(),
            metadata: Some(container::metadata(&stats.config)),
            labels: stats.config.labels.clone(),
            annotations: stats.config.annotations.clone(),
        }),
        // The kubelet derives its use from two readings; one of ours would win over that.
        cpu: usage.map(|usage| cpu(usage, None)),
        memory: usage.map(memory),
        writable_layer: stats.writable_layer.as_ref().map(filesystem),
        swap: usage.map(swap),
        io: usage.map(io),
    }
}

/// `PodSandboxStats`
pub fn pod_stats(stats: &PodStats) -> v1::PodSandboxStats {
    let usage = stats.usage.as_deref();
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
            cpu: usage.map(|usage| cpu(usage, usage.nano_cores)),
            memory: usage.map(memory),
            // A client takes what has a network to have a default interface.
            network: interfaces.next().map(|default| v1::NetworkUsage {
                timestamp: at,
                default_interface: Some(default),
                interfaces: interfaces.collect(),
            }),
            process: Some(v1::ProcessUsage {
                timestamp: at,
                process_count: value(usage.and_then(|usage| usage.figures.pids)),
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

fn cpu(usage: &Usage, nano_cores: Option<u64>) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp: usage.at,
        usage_core_nano_seconds: value(usage.figures.cpu_usage_ns),
        usage_nano_cores: value(nano_cores),
        psi: usage.figures.pressure.map(|all| psi(&all.cpu)),
    }
}

fn memory(usage: &Usage) -> v1::MemoryUsage {
    let memory = usage.figures.memory.as_ref();
    let available = memory.and_then(|m| Some(m.limit?.saturating_sub(m.working_set)));
    v1::MemoryUsage {
        timestamp: usage.at,
        working_set_bytes: value(memory.map(|m| m.working_set)),
        available_bytes: value(available),
        usage_bytes: value(memory.map(|m| m.usage)),
        rss_bytes: value(memory.map(|m| m.rss)),
        page_faults: value(memory.map(|m| m.page_faults)),
        major_page_faults: value(memory.map(|m| m.major_page_faults)),
        psi: usage.figures.pressure.map(|all| psi(&all.memory)),
    }
}

/// What is available is told under a limit only, as it is for memory.
fn swap(usage: &Usage) -> v1::SwapUsage {
    let swap = usage.figures.swap.as_ref();
    let available = swap.and_then(|swap| Some(swap.limit?.saturating_sub(swap.usage)));
    v1::SwapUsage {
        timestamp: usage.at,
        swap_available_bytes: value(available),
        swap_usage_bytes: value(swap.map(|swap| swap.usage)),
    }
}

fn io(usage: &Usage) -> v1::IoUsage {
    v1::IoUsage { timestamp: usage.at, psi: usage.figures.pressure.map(|all| psi(&all.io)) }
}

/// The kernel counts microseconds and hundredths of a percent, the CRI nanoseconds and percent.
fn psi(pressure: &Pressure) -> v1::PsiStats {
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    let line = |stall: &Stall| v1::PsiData {
        total: stall.total_us.saturating_mul(1000),
        avg10: percent(stall.avg10),
        avg60: percent(stall.avg60),
        avg300: percent(stall.avg300),
    };
    v1::PsiStats { full: Some(line(&pressure.full)), some: Some(line(&pressure.some)) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_engine::stats::{Pressures, Stats, Swap};
    use std::sync::Arc;

    fn pod(interfaces: Vec<InterfaceUsage>) -> v1::LinuxPodSandboxStats {
        let some = Stall { avg10: 150, total_us: 7, ..Stall::default() };
        let cpu = Pressure { some, ..Pressure::default() };
        let pressure = Some(Pressures { cpu, ..Pressures::default() });
        let figures = Stats { pressure, pids: Some(3), ..Stats::default() };
        let stats = PodStats {
            id: "0".repeat(64).parse().unwrap(),
            config: Arc::default(),
            usage: Some(Arc::new(Usage { at: 1, figures, nano_cores: Some(9) })),
            interfaces: Arc::new(interfaces),
            containers: Vec::new(),
        };
        pod_stats(&stats).linux.unwrap()
    }

    #[test]
    fn a_pod_without_an_interface_has_no_network() {
        assert_eq!(pod(Vec::new()).network, None);
        let network = pod(vec![InterfaceUsage::default()]).network.unwrap();
        assert!(network.default_interface.is_some() && network.interfaces.is_empty());
    }

    #[test]
    fn available_swap_is_told_under_a_limit_only() {
        let told = |limit| {
            let figures = Stats { swap: Some(Swap { usage: 30, limit }), ..Stats::default() };
            let swap = swap(&Usage { at: 1, figures, nano_cores: None });
            let bytes = |value: Option<v1::UInt64Value>| value.map(|value| value.value);
            (bytes(swap.swap_usage_bytes), bytes(swap.swap_available_bytes))
        };
        assert_eq!(told(Some(100)), (Some(30), Some(70)));
        assert_eq!(told(Some(0)), (Some(30), Some(0)));
        assert_eq!(told(None), (Some(30), None));
    }

    #[test]
    fn pressure_is_told_in_nanoseconds_and_percent() {
        let pod = pod(Vec::new());
        let cpu = pod.cpu.unwrap();
        assert_eq!(cpu.usage_nano_cores.unwrap().value, 9);
        let some = cpu.psi.unwrap().some.unwrap();
        assert_eq!((some.total, some.avg10), (7000, 1.5));
        assert_eq!(pod.process.unwrap().process_count.unwrap().value, 3);
    }
}
