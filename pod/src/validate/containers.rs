//! Names, ports and mounts of containers.

use std::collections::{BTreeSet, HashSet};

use super::{Refusal, objects, refuse, users};
use crate::model::{
    Container, EnvSource, Handler, MountPropagation, Pod, PortRef, Probe, RestartPolicy,
};

/// Checks every container of the pod.
pub fn check(pod: &Pod) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    // Containers that run together may not share a port of the node; an init container is over
    // before the next one listens.
    let mut together = HashSet::new();
    let lists = [
        ("spec.initContainers", &pod.spec.init_containers),
        ("spec.containers", &pod.spec.containers),
    ];
    for (list, containers) in lists {
        for (i, container) in containers.iter().enumerate() {
            let at = format!("{list}[{i}]");
            if !names.insert(container.name.as_str()) {
                return refuse(
                    format!("{at}.name"),
                    format!("{:?} is given twice", container.name),
                );
            }
            let mut alone = HashSet::new();
            let init = list == "spec.initContainers" && !container.is_sidecar();
            ports(pod, container, &at, if init { &mut alone } else { &mut together })?;
            mounts(pod, container, &at)?;
            named_ports(container, &at)?;
            resource_refs(pod, container, &at)?;
            objects::environment(pod, container, &at)?;
            users::container(pod, container, &at)?;
            if container.lifecycle.stop_signal.is_some() && !pod.spec.names_its_os {
                return refuse(
                    format!("{at}.lifecycle.stopSignal"),
                    "may not be set for containers with empty `spec.os.name`",
                );
            }
            if container.stdin_once && !container.stdin {
                return refuse(format!("{at}.stdinOnce"), "needs stdin: true");
            }
        }
    }
    policies(pod)
}

fn policies(pod: &Pod) -> Result<(), Refusal> {
    let restarts = |c: &Container| c.resize_policy.cpu_restarts || c.resize_policy.memory_restarts;
    let never = pod.spec.restart_policy == RestartPolicy::Never;
    let lists =
        [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)];
    for (list, containers) in lists {
        for (i, container) in containers.iter().enumerate().filter(|(_, c)| restarts(c)) {
            let at = format!("spec.{list}[{i}].resizePolicy");
            let why = "Invalid value: \"RestartContainer\": must";
            if never {
                let why = format!("{why} be 'NotRequired' when pod `restartPolicy` is 'Never'");
                return refuse(at, why);
            }
            if list == "initContainers" && !container.is_sidecar() {
                let to = "not be set to 'RestartContainer' for non-sidecar initContainers";
                return refuse(at, format!("{why} {to}"));
            }
        }
    }
    for (i, container) in pod.spec.init_containers.iter().enumerate() {
        // Always makes it a sidecar; the others are the container's own restart policy.
        if container.restart_policy == Some(RestartPolicy::Always) && container.stdin_once {
            return refuse(format!("spec.initContainers[{i}].stdinOnce"), "is not for sidecars");
        }
    }
    Ok(())
}

fn ports<'a>(
    pod: &'a Pod,
    container: &'a Container,
    at: &str,
    host_ports: &mut HashSet<(crate::model::Protocol, &'a str, u16)>,
) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for (i, port) in container.ports.iter().enumerate() {
        let at = format!("{at}.ports[{i}]");
        if let Some(name) = &port.name
            && !names.insert(name)
        {
            return refuse(format!("{at}.name"), format!("{name:?} is given twice"));
        }
        if pod.spec.host_network && port.host_port != 0 && port.host_port != port.container_port {
            return refuse(
                format!("{at}.hostPort"),
                "must equal containerPort when hostNetwork is true",
            );
        }
        let key = (port.protocol, port.host_ip.as_str(), port.host_port);
        if port.host_port != 0 && !host_ports.insert(key) {
            return refuse(format!("{at}.hostPort"), format!("{} is given twice", port.host_port));
        }
    }
    Ok(())
}

fn mounts(pod: &Pod, container: &Container, at: &str) -> Result<(), Refusal> {
    let mut paths = BTreeSet::new();
    for (i, mount) in container.mounts.iter().enumerate() {
        let at = format!("{at}.volumeMounts[{i}]");
        let Some(volume) = pod.spec.volumes.iter().find(|v| v.name == mount.name) else {
            return refuse(format!("{at}.name"), format!("no volume is named {:?}", mount.name));
        };
        if !paths.insert(mount.mount_path.trim_end_matches('/')) {
            return refuse(
                format!("{at}.mountPath"),
                format!("{:?} is given twice", mount.mount_path),
            );
        }
        let privileged = container.security.privileged == Some(true);
        if mount.propagation == MountPropagation::Bidirectional && !privileged {
            return refuse(
                format!("{at}.mountPropagation"),
                "Bidirectional is for privileged containers only",
            );
        }
        let image = matches!(volume.source, crate::model::VolumeSource::Image { .. });
        if image && mount.propagation == MountPropagation::Bidirectional {
            let text = "Bidirectional: nothing can be mounted in an image";
            return refuse(format!("{at}.mountPropagation"), text);
        }
    }
    Ok(())
}

fn named_ports(container: &Container, at: &str) -> Result<(), Refusal> {
    let probes = [
        ("livenessProbe", container.liveness.as_ref()),
        ("readinessProbe", container.readiness.as_ref()),
        ("startupProbe", container.startup.as_ref()),
    ];
    for (field, probe) in probes {
        if let Some(Probe { handler, .. }) = probe {
            named_port(container, handler, &format!("{at}.{field}"))?;
        }
    }
    let hooks = [
        ("postStart", container.lifecycle.post_start.as_ref()),
        ("preStop", container.lifecycle.pre_stop.as_ref()),
    ];
    for (field, hook) in hooks {
        if let Some(handler) = hook {
            named_port(container, handler, &format!("{at}.lifecycle.{field}"))?;
        }
    }
    Ok(())
}

/// Kubernetes accepts a name that no port has and then fails every probe; that is never meant.
fn named_port(container: &Container, handler: &Handler, at: &str) -> Result<(), Refusal> {
    let (field, port) = match handler {
        Handler::HttpGet(get) => ("httpGet", &get.port),
        Handler::TcpSocket { port, .. } => ("tcpSocket", port),
        _ => return Ok(()),
    };
    match port {
        PortRef::Name(name) if container.port_named(name).is_none() => refuse(
            format!("{at}.{field}.port"),
            format!("the container has no port named {name:?}"),
        ),
        _ => Ok(()),
    }
}

fn resource_refs(pod: &Pod, container: &Container, at: &str) -> Result<(), Refusal> {
    for (i, var) in container.env.iter().enumerate() {
        if let EnvSource::Resource(reference) = &var.source
            && let Some(name) = &reference.container
            && pod.spec.find(name).is_none()
        {
            let path = format!("{at}.env[{i}].valueFrom.resourceFieldRef.containerName");
            return refuse(path, format!("no container is named {name:?}"));
        }
    }
    Ok(())
}
