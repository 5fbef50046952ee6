//! Pod → `PodSandboxConfig`.

use rrun_cri_api::v1;

use super::labels;
use crate::dns::ResolvConf;
use crate::error::Result;
use crate::model::{Pod, Protocol};
use crate::node::PodPlace;
use crate::resources::{self, CPU_PERIOD};
use crate::{dns, hosts, security};

/// The sandbox's config for its `attempt`; a warning if resolv.conf had to be cut.
pub fn config(
    pod: &Pod,
    attempt: u32,
    place: &PodPlace,
    resolv: &ResolvConf,
) -> Result<(v1::PodSandboxConfig, Option<String>)> {
    let (resolv, warning) = dns::config(pod, resolv);
    let hostname = if pod.spec.host_network { String::new() } else { hosts::kernel_hostname(pod)? };
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.meta.name.clone(),
            uid: pod.meta.uid.to_string(),
            namespace: pod.meta.namespace.clone(),
            attempt,
        }),
        hostname,
        log_directory: place.log_directory.to_string_lossy().into_owned(),
        dns_config: Some(v1::DnsConfig {
            servers: resolv.servers,
            searches: resolv.searches,
            options: resolv.options,
        }),
        port_mappings: ports(pod),
        labels: labels::pod(&pod.meta),
        annotations: pod.meta.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        linux: Some(linux(pod, place)),
        ..Default::default()
    };
    Ok((config, warning))
}

fn linux(pod: &Pod, place: &PodPlace) -> v1::LinuxPodSandboxConfig {
    let requests = resources::pod_requests(pod, true);
    let limits = resources::pod_limits(pod);
    let milli = |q: Option<crate::quantity::Quantity>| q.map_or(0, |q| q.milli());
    v1::LinuxPodSandboxConfig {
        cgroup_parent: place.cgroup_parent.clone(),
        security_context: Some(security::sandbox(pod, place.users)),
        sysctls: pod.spec.security.sysctls.iter().cloned().collect(),
        overhead: Some(v1::LinuxContainerResources::default()),
        resources: Some(v1::LinuxContainerResources {
            cpu_period: CPU_PERIOD,
            cpu_quota: resources::quota(milli(limits.cpu)),
            cpu_shares: resources::shares(milli(requests.cpu.or(limits.cpu))),
            memory_limit_in_bytes: limits.memory.map_or(0, |q| q.value()),
            ..Default::default()
        }),
    }
}

/// Of the regular containers only (`kuberuntime_sandbox.go`), and once per port and protocol.
fn ports(pod: &Pod) -> Vec<v1::PortMapping> {
    let all = pod.spec.containers.iter().flat_map(|c| &c.ports);
    let mut mappings: Vec<v1::PortMapping> = Vec::new();
    for port in all {
        let protocol = match port.protocol {
            Protocol::Tcp => v1::Protocol::Tcp,
            Protocol::Udp => v1::Protocol::Udp,
            Protocol::Sctp => v1::Protocol::Sctp,
        };
        let mapping = v1::PortMapping {
            protocol: protocol as i32,
            container_port: port.container_port.into(),
            host_port: port.host_port.into(),
            host_ip: port.host_ip.clone(),
        };
        if !mappings.contains(&mapping) {
            mappings.push(mapping);
        }
    }
    mappings
}
