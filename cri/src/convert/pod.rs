//! Messages about pods.

use super::{info, refuse_windows, resources, security};
use rrun_cri_api::v1;
use rrun_engine::model::{Dns, PodConfig, PortMapping, Protocol};
use rrun_engine::status::{PodFilter, PodItem, PodStatus};
use rrun_engine::{Error, Result};

/// `PodSandboxConfig`
pub fn pod_config(mut wire: v1::PodSandboxConfig) -> Result<PodConfig> {
    let metadata = wire.metadata.take();
    let metadata = metadata.ok_or_else(|| Error::invalid("run pod: its config has no metadata"))?;
    let what = format!("run pod {}/{}", metadata.namespace, metadata.name);
    with_metadata(metadata, wire).map_err(|error| error.context(what))
}

fn with_metadata(
    metadata: v1::PodSandboxMetadata,
    wire: v1::PodSandboxConfig,
) -> Result<PodConfig> {
    refuse_windows(wire.windows.as_ref())?;
    let linux = wire.linux.unwrap_or_default();
    let dns = |dns: v1::DnsConfig| Dns {
        servers: dns.servers,
        searches: dns.searches,
        options: dns.options,
    };
    Ok(PodConfig {
        name: metadata.name,
        uid: metadata.uid,
        namespace: metadata.namespace,
        attempt: metadata.attempt,
        hostname: wire.hostname,
        log_directory: wire.log_directory,
        dns: wire.dns_config.map(dns),
        ports: wire.port_mappings.into_iter().map(port).collect::<Result<_>>()?,
        labels: wire.labels,
        annotations: wire.annotations,
        cgroup_parent: linux.cgroup_parent,
        sysctls: linux.sysctls.into_iter().collect(),
        security: security::pod(linux.security_context.unwrap_or_default())?,
        overhead: linux.overhead.map(resources::resources),
        resources: linux.resources.map(resources::resources),
    })
}

fn port(wire: v1::PortMapping) -> Result<PortMapping> {
    let protocol = match v1::Protocol::try_from(wire.protocol) {
        Ok(v1::Protocol::Tcp) => Protocol::Tcp,
        Ok(v1::Protocol::Udp) => Protocol::Udp,
        Ok(v1::Protocol::Sctp) => Protocol::Sctp,
        Err(_) => {
            return Err(Error::invalid(format!("port protocol {} is unknown", wire.protocol)));
        }
    };
    Ok(PortMapping {
        protocol,
        container_port: wire.container_port,
        host_port: wire.host_port,
        host_ip: wire.host_ip,
    })
}

/// `PodSandboxFilter`
pub fn pod_filter(wire: Option<v1::PodSandboxFilter>) -> PodFilter {
    let wire = wire.unwrap_or_default();
    PodFilter {
        id: Some(wire.id).filter(|id| !id.is_empty()),
        ready: wire.state.map(|s| s.state == v1::PodSandboxState::SandboxReady as i32),
        labels: wire.label_selector,
    }
}

/// `PodSandbox`
pub fn pod_item(item: &PodItem) -> v1::PodSandbox {
    v1::PodSandbox {
        id: item.id.to_string(),
        metadata: Some(metadata(&item.config)),
        state: state(item.ready),
        created_at: item.created_at,
        labels: item.config.labels.clone(),
        annotations: item.config.annotations.clone(),
        runtime_handler: item.handler.clone(),
    }
}

/// `PodSandboxStatus`, with the `info` of a verbose answer.
pub fn pod_status(
    pod: &PodStatus,
) -> (v1::PodSandboxStatus, std::collections::BTreeMap<String, String>) {
    let mut ips = pod.ips.iter().map(ToString::to_string);
    let ip = ips.next().unwrap_or_default();
    let options = security::wire_namespaces(&pod.config.security.namespaces);
    let status = v1::PodSandboxStatus {
        id: pod.id.to_string(),
        metadata: Some(metadata(&pod.config)),
        state: state(pod.is_ready()),
        created_at: pod.created_at,
        network: Some(v1::PodSandboxNetworkStatus {
            ip,
            additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
        }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace { options: Some(options) }),
        }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    };
    (status, info(pod.info.as_ref()))
}

pub(super) fn metadata(config: &PodConfig) -> v1::PodSandboxMetadata {
    v1::PodSandboxMetadata {
        name: config.name.clone(),
        uid: config.uid.clone(),
        namespace: config.namespace.clone(),
        attempt: config.attempt,
    }
}

fn state(ready: bool) -> i32 {
    let state = if ready {
        v1::PodSandboxState::SandboxReady
    } else {
        v1::PodSandboxState::SandboxNotready
    };
    state as i32
}
