//! What of a pod may be another in a new edition of its manifest, while it is there: what an API server
//! takes of an update of the pod and of its resources, in its words. Pure.

use crate::error::{Error, Kind, Result};
use crate::model::{Container, Objects, Pod, PodSpec, ResourceList};
use crate::node::NodeFacts;
use crate::resources::{pod_requests, qos};

type Refusal = (String, String);

/// What may change, as the API server lists it, and what its subresource `resize` takes.
const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative),\
    `spec.containers[*].resources`,`spec.initContainers[*].resources`,`spec.resources`";

/// The pod as it is to be from now on: the new edition, with what a pod that is there keeps. Its claims
/// are bound, and its Services are those that it was made among.
///
/// # Errors
/// `Invalid` with the path of what may not change, or of what this node can never give it.
pub fn apply(old: &Pod, new: &Pod, node: &NodeFacts) -> Result<Pod> {
    let mut next = new.clone();
    next.meta.uid = old.meta.uid.clone();
    next.objects.claims.clone_from(&old.objects.claims);
    next.objects.services = old.objects.services.clone();
    next.notes.clone_from(&old.notes);
    objects(&old.objects, &next.objects)?;
    let refused = |(path, why): Refusal| {
        let text = format!("The Pod {:?} is invalid: {path}: {why}", old.meta.name);
        Error::new(Kind::Invalid, text)
    };
    spec(old, &next).map_err(refused)?;
    fits(&next, node).map_err(refused)?;
    Ok(next)
}

fn forbidden<T>(path: impl Into<String>, why: &str) -> std::result::Result<T, Refusal> {
    Err((path.into(), format!("Forbidden: {why}")))
}

/// ConfigMaps and Secrets that say that they never change.
fn objects(old: &Objects, new: &Objects) -> Result<()> {
    let refuse = |kind: &str, name: &str, field: &str| {
        let why = "Forbidden: field is immutable when `immutable` is set";
        Err(Error::new(Kind::Invalid, format!("The {kind} {name:?} is invalid: {field}: {why}")))
    };
    for (name, old) in old.config_maps.iter().filter(|(_, map)| map.immutable) {
        match new.config_maps.get(name) {
            Some(new) if !new.immutable => return refuse("ConfigMap", name, "immutable"),
            Some(new) if new != old => return refuse("ConfigMap", name, "data"),
            _ => {}
        }
    }
    for (name, old) in old.secrets.iter().filter(|(_, secret)| secret.immutable) {
        match new.secrets.get(name) {
            Some(new) if !new.immutable => return refuse("Secret", name, "immutable"),
            Some(new) if new.data != old.data => return refuse("Secret", name, "data"),
            _ => {}
        }
    }
    Ok(())
}

fn spec(old: &Pod, new: &Pod) -> std::result::Result<(), Refusal> {
    let lists = [
        ("spec.initContainers", &old.spec.init_containers, &new.spec.init_containers),
        ("spec.containers", &old.spec.containers, &new.spec.containers),
    ];
    for (list, old, new) in lists {
        if old.len() != new.len() {
            return forbidden(list, "pod updates may not add or remove containers");
        }
    }
    let deadline = "spec.activeDeadlineSeconds";
    let invalid = |value: String, why: &str| {
        Err((deadline.to_owned(), format!("Invalid value: {value}: {why}")))
    };
    match (old.spec.active_deadline, new.spec.active_deadline) {
        (Some(_), None) => {
            return invalid("null".into(), "must not update from a positive integer to nil value");
        }
        (Some(old), Some(new)) if new > old => {
            return invalid(new.to_string(), "must be less than or equal to previous value");
        }
        _ => {}
    }
    for (list, old, new) in lists {
        for (i, (old, new)) in old.iter().zip(new).enumerate() {
            container(&format!("{list}[{i}]"), old, new)?;
        }
    }
    resources(
        "spec.resources",
        &old.spec.resources.requests,
        &new.spec.resources.requests,
        "requests",
    )?;
    resources("spec.resources", &old.spec.resources.limits, &new.spec.resources.limits, "limits")?;
    if let Some(field) = other_field(&old.spec, &new.spec) {
        return other(&format!("spec.{field}"));
    }
    if munged(&old.spec, &new.spec) != old.spec {
        return other("spec");
    }
    let (before, after) = (qos(old).as_str(), qos(new).as_str());
    if before != after {
        let why = "Pod QOS Class may not change as a result of resizing";
        return Err(("spec".into(), format!("Invalid value: {after:?}: {why} (it is {before})")));
    }
    Ok(())
}

fn other<T>(path: &str) -> std::result::Result<T, Refusal> {
    let why =
        format!("pod updates may not change fields other than {MAY_CHANGE}: {path} is another");
    forbidden("spec", &why)
}

fn container(at: &str, old: &Container, new: &Container) -> std::result::Result<(), Refusal> {
    if let Some(field) = other_field_of_container(old, new) {
        return other(&format!("{at}.{field}"));
    }
    let path = format!("{at}.resources");
    resources(&path, &old.resources.requests, &new.resources.requests, "requests")?;
    resources(&path, &old.resources.limits, &new.resources.limits, "limits")
}

/// What is there may become more or less, and does not go. Only CPU and memory are told to what runs.
fn resources(
    path: &str,
    old: &ResourceList,
    new: &ResourceList,
    what: &str,
) -> std::result::Result<(), Refusal> {
    let gone = [(old.cpu, new.cpu), (old.memory, new.memory)];
    if gone.iter().any(|(old, new)| old.is_some() && new.is_none()) {
        return forbidden(format!("{path}.{what}"), &format!("resource {what} cannot be removed"));
    }
    if old.ephemeral_storage != new.ephemeral_storage || old.hugepages != new.hugepages {
        return forbidden(
            "spec",
            &format!("only cpu and memory resources are mutable: {path}.{what}"),
        );
    }
    Ok(())
}

/// A node gives a pod all that it has at most. Other pods are not counted: nobody gives them a share of
/// the node either.
fn fits(pod: &Pod, node: &NodeFacts) -> std::result::Result<(), Refusal> {
    let asked = pod_requests(pod, true);
    let (cpu, memory) = (asked.cpu.map_or(0, |q| q.milli()), asked.memory.map_or(0, |q| q.value()));
    for (name, asked, has) in [("cpu", cpu, node.cpu_milli), ("memory", memory, node.memory_bytes)]
    {
        if asked > has {
            let text = "Node didn't have enough resource";
            let figures = format!("requested: {asked}, used: 0, capacity: {has}");
            return Err(("spec".into(), format!("{text}: {name}, {figures}")));
        }
    }
    Ok(())
}

/// The new edition without what may be another: a field that no list here names is found so.
fn munged(old: &PodSpec, new: &PodSpec) -> PodSpec {
    let mut munged = new.clone();
    munged.active_deadline = old.active_deadline;
    munged.resources = old.resources.clone();
    let lists = [
        (&mut munged.init_containers, &old.init_containers),
        (&mut munged.containers, &old.containers),
    ];
    for (munged, old) in lists {
        for (munged, old) in munged.iter_mut().zip(old) {
            munged.image.clone_from(&old.image);
            munged.pull_policy = old.pull_policy;
            munged.resources = old.resources.clone();
        }
    }
    munged
}

/// The first field but those that may change which is another.
fn other_field(old: &PodSpec, new: &PodSpec) -> Option<&'static str> {
    let same = [
        ("os", old.names_its_os == new.names_its_os),
        ("volumes", old.volumes == new.volumes),
        ("restartPolicy", old.restart_policy == new.restart_policy),
        (
            "terminationGracePeriodSeconds",
            old.termination_grace_period == new.termination_grace_period,
        ),
        ("dnsPolicy", old.dns_policy == new.dns_policy),
        ("dnsConfig", old.dns_config == new.dns_config),
        ("hostNetwork", old.host_network == new.host_network),
        ("hostPID", old.host_pid == new.host_pid),
        ("hostIPC", old.host_ipc == new.host_ipc),
        ("hostUsers", old.host_users == new.host_users),
        ("shareProcessNamespace", old.share_process_namespace == new.share_process_namespace),
        ("securityContext", old.security == new.security),
        ("hostname", old.hostname == new.hostname),
        ("subdomain", old.subdomain == new.subdomain),
        ("setHostnameAsFQDN", old.hostname_as_fqdn == new.hostname_as_fqdn),
        ("hostnameOverride", old.hostname_override == new.hostname_override),
        ("hostAliases", old.host_aliases == new.host_aliases),
        ("imagePullSecrets", old.image_pull_secrets == new.image_pull_secrets),
        ("runtimeClassName", old.runtime_class == new.runtime_class),
        ("nodeName", old.node_name == new.node_name),
        ("serviceAccountName", old.service_account == new.service_account),
        ("enableServiceLinks", old.enable_service_links == new.enable_service_links),
        ("readinessGates", old.readiness_gates == new.readiness_gates),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}

/// The same of a container.
fn other_field_of_container(old: &Container, new: &Container) -> Option<&'static str> {
    // Its default depends on the tag.
    let same_policy = old.pull_policy == new.pull_policy || old.image != new.image;
    let same = [
        ("name", old.name == new.name),
        ("command", old.command == new.command),
        ("args", old.args == new.args),
        ("workingDir", old.working_dir == new.working_dir),
        ("ports", old.ports == new.ports),
        ("envFrom", old.env_from == new.env_from),
        ("env", old.env == new.env),
        ("resizePolicy", old.resize_policy == new.resize_policy),
        ("restartPolicy", old.restart_policy == new.restart_policy),
        ("restartPolicyRules", old.restart_rules == new.restart_rules),
        ("volumeMounts", old.mounts == new.mounts),
        ("livenessProbe", old.liveness == new.liveness),
        ("readinessProbe", old.readiness == new.readiness),
        ("startupProbe", old.startup == new.startup),
        ("lifecycle", old.lifecycle == new.lifecycle),
        ("terminationMessagePath", old.termination_message_path == new.termination_message_path),
        (
            "terminationMessagePolicy",
            old.termination_message_policy == new.termination_message_policy,
        ),
        ("imagePullPolicy", same_policy),
        ("securityContext", old.security == new.security),
        ("stdin", old.stdin == new.stdin),
        ("stdinOnce", old.stdin_once == new.stdin_once),
        ("tty", old.tty == new.tty),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}

#[cfg(test)]
mod tests;
