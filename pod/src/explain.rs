//! What would be done with a pod, in words; nothing is done.
//!
//! All of it comes from the functions by which it is done: the messages to the runtime, the
//! environment, the limits.

use std::fmt::Write as _;
use std::path::Path;

use rrun_cri_api::v1;

use crate::addresses::Addresses;
use crate::env::{self, Environment, FileValues};
use crate::error::Result;
use crate::hosts;
use crate::model::{
    Container, ContainerKind, EnvSource, Handler, ObjectSource, Pod, PullPolicy, RestartPolicy,
    SubPath, VolumeSource,
};
use crate::node::NodeFacts;
use crate::resources;
use crate::security::{ImageUser, namespaces};
use crate::translate::container::{Parts, config, mount};
use crate::users::IDS;

/// No stop signal without at least this much time to heed it, in seconds.
const MINIMUM_GRACE: u32 = 2;

/// The whole life of a pod on this node.
///
/// # Errors
/// What would fail at each start: a name that is too long for the kernel, an object without a key.
pub fn explain(pod: &Pod, node: &NodeFacts) -> Result<String> {
    let mut out = String::new();
    about_pod(&mut out, pod, node)?;
    volumes(&mut out, pod);
    starts(&mut out, pod);
    for (kind, container) in pod.spec.all() {
        about_container(&mut out, pod, (kind, container), node)?;
    }
    stops(&mut out, pod);
    Ok(out)
}

fn line(out: &mut String, indent: usize, text: impl AsRef<str>) {
    let _ = writeln!(out, "{:indent$}{}", "", text.as_ref());
}

fn about_pod(out: &mut String, pod: &Pod, node: &NodeFacts) -> Result<()> {
    let meta = &pod.meta;
    line(out, 0, format!("Pod {}/{} (uid {})", meta.namespace, meta.name, meta.uid));
    let spec = &pod.spec;
    if spec.host_network {
        line(out, 2, "host name: the node's");
    } else {
        line(out, 2, format!("host name: {}", hosts::kernel_hostname(pod)?));
    }
    let options = namespaces(pod, None);
    let whose = |mode: i32| match v1::NamespaceMode::try_from(mode) {
        Ok(v1::NamespaceMode::Node) => "the node's",
        Ok(v1::NamespaceMode::Container) => "each container's own",
        _ => "the pod's",
    };
    for (name, mode) in [("network", options.network), ("PID", options.pid), ("IPC", options.ipc)] {
        line(out, 2, format!("{name} namespace: {}", whose(mode)));
    }
    if !spec.host_users {
        line(out, 2, format!("user namespace: the pod's, of {IDS} ids; root in it is nobody here"));
    }
    let limits = resources::pod_cgroup(pod, &node.hugepage_sizes);
    let class = resources::qos(pod).as_str();
    let words = cgroup(limits.shares, limits.quota.unwrap_or(0), limits.memory.unwrap_or(0));
    line(out, 2, format!("control group: {class}, {words}"));
    for (name, value) in &spec.security.sysctls {
        line(out, 2, format!("sysctl: {name}={value}"));
    }
    for port in spec.containers.iter().flat_map(|c| &c.ports).filter(|port| port.host_port != 0) {
        let (from, to) = (port.host_port, port.container_port);
        line(out, 2, format!("port of the node: {}:{from} leads to {to}", port.host_ip));
    }
    if let Some(job) = &pod.job {
        let (name, limit) = (&job.name, job.backoff_limit);
        line(out, 2, format!("Job {name}: made anew if it fails, for {limit} failures in all"));
    }
    for service in pod.objects.services.iter() {
        let behind: Vec<&str> = service.pods.iter().map(|pod| pod.name.as_str()).collect();
        let behind = if behind.is_empty() { "nothing".to_owned() } else { behind.join(", ") };
        line(out, 2, format!("host name {}: leads to {behind}", service.name));
    }
    if let Some(seconds) = spec.active_deadline {
        line(out, 2, format!("fails {seconds} s after its start (DeadlineExceeded)"));
    }
    Ok(())
}

/// As the runtime is told, which makes of the shares what its kernel has.
fn cgroup(shares: i64, quota: i64, memory: i64) -> String {
    let mut words = vec![format!("CPU shares {shares}")];
    if quota > 0 {
        words.push(format!("CPU quota {quota} of {} µs", resources::CPU_PERIOD));
    }
    if memory > 0 {
        words.push(format!("memory {memory} bytes"));
    }
    words.join(", ")
}

fn volumes(out: &mut String, pod: &Pod) {
    if pod.spec.volumes.is_empty() {
        return;
    }
    line(out, 0, "Volumes, made before anything is started");
    for volume in &pod.spec.volumes {
        let words = match &volume.source {
            VolumeSource::EmptyDir(dir) => {
                let limit = dir.size_limit.map(|limit| format!(", {} at most", limit.canonical()));
                let medium = format!("{:?}", dir.medium).to_lowercase();
                format!("an empty folder on {medium}{}", limit.unwrap_or_default())
            }
            VolumeSource::HostPath { path, kind } => format!("{path} of the node ({kind:?})"),
            VolumeSource::Projected { sources, default_mode, in_memory } => {
                let medium = if *in_memory { "memory" } else { "disk" };
                format!("files of {} sources on {medium}, mode {default_mode:04o}", sources.len())
            }
            VolumeSource::Claim { claim, .. } => format!("the claim {claim}, which stays"),
            VolumeSource::Image { reference, pull_policy } => {
                format!("the image {reference}, {}", pulled(*pull_policy))
            }
        };
        line(out, 2, format!("{}: {words}", volume.name));
    }
}

fn pulled(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "asked of its registry at each start",
        PullPolicy::IfNotPresent => "pulled if it is not here",
        PullPolicy::Never => "which must be here",
    }
}

fn starts(out: &mut String, pod: &Pod) {
    line(out, 0, "Start");
    let mut step = 0;
    let mut next = |text: String| {
        step += 1;
        line(out, 2, format!("{step}. {text}"));
    };
    for container in &pod.spec.init_containers {
        let name = &container.name;
        next(match (container.is_sidecar(), &container.startup) {
            (false, _) => format!("{name}, to its end with exit code 0"),
            (true, None) => format!("{name}, until it runs"),
            (true, Some(_)) => format!("{name}, until its startup probe succeeds"),
        });
    }
    for container in &pod.spec.containers {
        let hook = container.lifecycle.post_start.as_ref();
        let hook = hook.map(|hook| format!(", and its postStart hook ({hook})"));
        next(format!("{}{}", container.name, hook.unwrap_or_default()));
    }
    let gates = &pod.spec.readiness_gates;
    if !gates.is_empty() {
        next(format!("ready only with the conditions {}", gates.join(", ")));
    }
}

fn about_container(
    out: &mut String,
    pod: &Pod,
    (kind, container): (ContainerKind, &Container),
    node: &NodeFacts,
) -> Result<()> {
    let kind = match kind {
        ContainerKind::Init => "Init container",
        ContainerKind::Sidecar => "Sidecar",
        ContainerKind::Regular => "Container",
    };
    line(out, 0, format!("{kind} {}", container.name));
    line(out, 2, format!("image: {}, {}", container.image, pulled(container.pull_policy)));
    let environment = environment(pod, container, node)?;
    let parts = Parts {
        pod,
        container,
        restart_count: 0,
        image_ref: container.image.clone(),
        image_user: ImageUser::default(),
        environment,
        mounts: container.mounts.iter().map(|m| mount(m, Path::new(""), false)).collect(),
        users: None,
        target: None,
    };
    let config = config(parts, node)?;
    let or_image = |words: &[String]| {
        if words.is_empty() { "the image's".to_owned() } else { format!("{words:?}") }
    };
    line(out, 2, format!("command: {}", or_image(&config.command)));
    line(out, 2, format!("arguments: {}", or_image(&config.args)));
    if !config.working_dir.is_empty() {
        line(out, 2, format!("working directory: {}", config.working_dir));
    }
    let linux = config.linux.unwrap_or_default();
    security(out, &linux.security_context.unwrap_or_default());
    let limits = linux.resources.unwrap_or_default();
    let words = cgroup(limits.cpu_shares, limits.cpu_quota, limits.memory_limit_in_bytes);
    let score = limits.oom_score_adj;
    line(out, 2, format!("control group: {words}; oom_score_adj {score}"));
    variables(out, pod, container, &config.envs);
    mounts(out, pod, container);
    for (name, probe) in [
        ("startup", &container.startup),
        ("liveness", &container.liveness),
        ("readiness", &container.readiness),
    ] {
        if let Some(probe) = probe {
            line(out, 2, format!("{name} probe: {probe}"));
        }
    }
    let policy = match pod.spec.restart_policy_of(container) {
        RestartPolicy::Always => "whatever its exit code",
        RestartPolicy::OnFailure => "if its exit code is not 0",
        RestartPolicy::Never => "not at all",
    };
    line(out, 2, format!("started again: {policy}"));
    Ok(())
}

fn security(out: &mut String, context: &v1::LinuxContainerSecurityContext) {
    let id = |id: &Option<v1::Int64Value>| id.as_ref().map(|id| id.value.to_string());
    let user = id(&context.run_as_user).unwrap_or_else(|| "the image's".to_owned());
    let group = id(&context.run_as_group).map(|group| format!(", group {group}"));
    line(out, 2, format!("user: {user}{}", group.unwrap_or_default()));
    if !context.supplemental_groups.is_empty() {
        line(out, 2, format!("further groups: {:?}", context.supplemental_groups));
    }
    let capabilities = context.capabilities.clone().unwrap_or_default();
    let (add, drop) = (capabilities.add_capabilities, capabilities.drop_capabilities);
    if context.privileged {
        line(out, 2, "privileged: all capabilities and devices, nothing masked");
    } else {
        let list = |sign: &str, names: Vec<String>| {
            names.into_iter().map(|name| format!(" {sign}{name}")).collect::<String>()
        };
        let (add, drop) = (list("+", add), list("-", drop));
        line(out, 2, format!("capabilities: the runtime's default set{add}{drop}"));
    }
    let profile = context.seccomp.as_ref().map(|profile| match profile.profile_type() {
        v1::security_profile::ProfileType::RuntimeDefault => "RuntimeDefault".to_owned(),
        v1::security_profile::ProfileType::Unconfined => "Unconfined".to_owned(),
        v1::security_profile::ProfileType::Localhost => profile.localhost_ref.clone(),
    });
    line(out, 2, format!("seccomp: {}", profile.unwrap_or_else(|| "Unconfined".to_owned())));
    if context.no_new_privs {
        line(out, 2, "no new privileges");
    }
    if context.readonly_rootfs {
        line(out, 2, "root file system: read-only");
    }
}

/// With words in the place of what is known only when the pod is there.
fn environment(pod: &Pod, container: &Container, node: &NodeFacts) -> Result<Environment> {
    let address = if pod.spec.host_network { node.addresses.clone() } else { Vec::new() };
    let unknown = || vec!["<the pod's address>".to_owned()];
    let mut addresses = Addresses {
        pod: if address.is_empty() { unknown() } else { address },
        ..Addresses::default()
    };
    for service in pod.objects.services.iter() {
        for selected in &service.pods {
            let words = format!("<the address of {}>", selected.name);
            addresses.others.insert(service.full_name(selected), vec![words]);
        }
    }
    let from_files = container.env.iter().filter_map(|var| match &var.source {
        EnvSource::File(reference) => {
            let words = format!("<{} of the file {}>", reference.key, reference.path);
            Some((reference.clone(), Some(words)))
        }
        _ => None,
    });
    let files: FileValues = from_files.collect();
    env::environment(pod, container, &addresses, node, &files)
}

/// What comes of a Secret is not shown, and what was put together with it neither.
fn variables(out: &mut String, pod: &Pod, container: &Container, all: &[v1::KeyValue]) {
    let mut hidden: Vec<&[u8]> = Vec::new();
    for from in &container.env_from {
        if let ObjectSource::Secret(name) = &from.source {
            let data = pod.objects.secrets.get(name).map(|secret| secret.data.values());
            hidden.extend(data.into_iter().flatten().map(Vec::as_slice));
        }
    }
    for var in &container.env {
        if let EnvSource::Key { object: ObjectSource::Secret(name), key, .. } = &var.source {
            let value = pod.objects.secrets.get(name).and_then(|secret| secret.data.get(key));
            hidden.extend(value.map(Vec::as_slice));
        }
    }
    hidden.retain(|value| !value.is_empty());
    for variable in all {
        let holds = |part: &&[u8]| variable.value.windows(part.len()).any(|found| found == *part);
        let value = if hidden.iter().any(holds) {
            "<from a Secret>".to_owned()
        } else {
            format!("{:?}", String::from_utf8_lossy(&variable.value))
        };
        line(out, 2, format!("variable: {}={value}", variable.key));
    }
}

fn mounts(out: &mut String, pod: &Pod, container: &Container) {
    let is_image = |name: &str| {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == name);
        volume.is_some_and(|volume| matches!(volume.source, VolumeSource::Image { .. }))
    };
    for mount in &container.mounts {
        let read_only = mount.read_only || is_image(&mount.name);
        let access = if read_only { "read-only" } else { "writable" };
        let part = match &mount.sub_path {
            SubPath::Whole => String::new(),
            SubPath::Path(path) | SubPath::Expr(path) => format!(", {path} of it"),
        };
        let (path, name) = (&mount.mount_path, &mount.name);
        line(out, 2, format!("mount: {path} is the volume {name}{part}, {access}"));
    }
    let path = &container.termination_message_path;
    line(out, 2, format!("mount: {path} is the file for its termination message"));
    line(out, 2, "mount: /etc/hosts, /etc/hostname and /etc/resolv.conf are the pod's");
}

fn stops(out: &mut String, pod: &Pod) {
    let grace = pod.spec.termination_grace_period;
    line(out, 0, format!("End, within {grace} s"));
    let signal = |container: &Container| {
        let signal = container.lifecycle.stop_signal.as_ref();
        signal.map_or("the image's stop signal", |signal| signal.wire().as_str_name()).to_owned()
    };
    let hook = |hook: &Handler| format!("its preStop hook ({hook}), then ");
    let hooked = |container: &Container| {
        let before = container.lifecycle.pre_stop.as_ref().filter(|_| grace > 0).map(hook);
        format!("{}{}", before.unwrap_or_default(), signal(container))
    };
    for container in &pod.spec.containers {
        line(out, 2, format!("at 0 s: {}: {}", container.name, hooked(container)));
    }
    let mut after = "the containers have".to_owned();
    for sidecar in pod.spec.init_containers.iter().rev().filter(|c| c.is_sidecar()) {
        let words = hooked(sidecar);
        line(out, 2, format!("when {after} ended: {}: {words}", sidecar.name));
        after = format!("{} has", sidecar.name);
    }
    let least = grace.max(MINIMUM_GRACE);
    line(out, 2, format!("at {least} s: SIGKILL; no sooner than {MINIMUM_GRACE} s after a signal"));
}

#[cfg(test)]
mod tests;
