//! Containers and their small parts.

use std::collections::BTreeMap;

use super::fields::{Fields, Item, Read};
use super::values::{
    PROTOCOLS, PULL_POLICIES, address, default_pull_policy, image_name, local_path_fault,
};
use super::{env, probe, security};
use crate::ids;
use crate::model::{
    Container, ContainerPort, MountPropagation, Protocol, RecursiveReadOnly, ResizePolicy,
    ResourceList, Resources, RestartPolicy, RestartRule, SubPath, TerminationMessagePolicy,
    VolumeMount,
};
use crate::probe::ProbeKind;
use crate::quantity::Quantity;

/// The words of `restartPolicy`.
pub const RESTART_POLICIES: &[(&str, RestartPolicy)] = &[
    ("Always", RestartPolicy::Always),
    ("OnFailure", RestartPolicy::OnFailure),
    ("Never", RestartPolicy::Never),
];

/// One container; `init` says in which list it stands.
pub fn container(item: &Item<'_>, init: bool) -> Read<Container> {
    item.object(|f| {
        let name = f.need("name", |i| i.checked(ids::label_fault))?;
        let image = f.need("image", image_name)?;
        f.refuse(&["volumeDevices"])?;
        let restart_policy = f.word("restartPolicy", |i| i.one_of(RESTART_POLICIES))?;
        let restart_rules = f.list("restartPolicyRules", restart_rule)?;
        if restart_policy.is_none() && !restart_rules.is_empty() {
            return Err(f.here().fault("restartPolicyRules need a restartPolicy beside them"));
        }
        let lasting = !init || restart_policy == Some(RestartPolicy::Always);
        for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            if !lasting && let Some(item) = f.get(field) {
                return Err(
                    item.fault("may not be set for init containers without restartPolicy: Always")
                );
            }
        }
        let resources = f.or("resources", resources, Resources::default())?;
        let policies = [
            ("File", TerminationMessagePolicy::File),
            ("FallbackToLogsOnError", TerminationMessagePolicy::FallbackToLogsOnError),
        ];
        Ok(Container {
            command: f.list("command", Item::text)?,
            args: f.list("args", Item::text)?,
            working_dir: f.or("workingDir", Item::text, String::new())?,
            ports: f.list("ports", port)?,
            env_from: f.list("envFrom", env::from)?,
            env: f.list("env", env::var)?,
            resources,
            resize_policy: f.or("resizePolicy", resize_policy, ResizePolicy::default())?,
            restart_policy,
            restart_rules,
            mounts: f.list("volumeMounts", mount)?,
            liveness: f.opt("livenessProbe", |i| probe::probe(i, ProbeKind::Liveness))?,
            readiness: f.opt("readinessProbe", |i| probe::probe(i, ProbeKind::Readiness))?,
            startup: f.opt("startupProbe", |i| probe::probe(i, ProbeKind::Startup))?,
            lifecycle: f.opt("lifecycle", probe::lifecycle)?.unwrap_or_default(),
            termination_message_path: f.word_or(
                "terminationMessagePath",
                absolute,
                "/dev/termination-log".to_owned(),
            )?,
            termination_message_policy: f.word_or(
                "terminationMessagePolicy",
                |i| i.one_of(&policies),
                TerminationMessagePolicy::File,
            )?,
            pull_policy: f.word_or(
                "imagePullPolicy",
                |i| i.one_of(PULL_POLICIES),
                default_pull_policy(&image),
            )?,
            security: f.opt("securityContext", security::container)?.unwrap_or_default(),
            stdin: f.flag("stdin")?,
            stdin_once: f.flag("stdinOnce")?,
            tty: f.flag("tty")?,
            name,
            image,
        })
    })
}

fn resize_policy(item: &Item<'_>) -> Read<ResizePolicy> {
    let one = |item: &Item<'_>| {
        item.object(|f| {
            let is_cpu =
                f.need("resourceName", |i| i.one_of(&[("cpu", true), ("memory", false)]))?;
            let policies = [("NotRequired", false), ("RestartContainer", true)];
            let restarts = f.need("restartPolicy", |i| i.one_of(&policies))?;
            Ok((is_cpu, restarts))
        })
    };
    let all = item.list(one)?;
    let of = |cpu: bool| all.iter().filter(move |(is_cpu, _)| *is_cpu == cpu);
    for (name, cpu) in [("cpu", true), ("memory", false)] {
        if of(cpu).count() > 1 {
            return Err(item.fault(format!("Duplicate value: {name:?}")));
        }
    }
    let restarts = |cpu: bool| of(cpu).any(|(_, restarts)| *restarts);
    Ok(ResizePolicy { cpu_restarts: restarts(true), memory_restarts: restarts(false) })
}

fn restart_rule(item: &Item<'_>) -> Read<RestartRule> {
    item.object(|f| {
        let actions = [("Restart", false), ("RestartAllContainers", true)];
        let all = f.need("action", |i| i.one_of(&actions))?;
        f.need("exitCodes", |i| {
            i.object(|f| {
                let operators = [("In", true), ("NotIn", false)];
                let listed = f.need("operator", |i| i.one_of(&operators))?;
                let code = |i: &Item<'_>| Ok(i.int(i32::MIN.into(), i32::MAX.into())? as i32);
                Ok(RestartRule { all, listed, exit_codes: f.list("values", code)? })
            })
        })
    })
}

fn absolute(item: &Item<'_>) -> Read<String> {
    let path = item.text()?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(item.fault("must be an absolute path without '..'"));
    }
    Ok(path)
}

fn port(item: &Item<'_>) -> Read<ContainerPort> {
    item.object(|f| {
        Ok(ContainerPort {
            name: f.word("name", |i| i.checked(ids::port_name_fault))?,
            container_port: f.need("containerPort", Item::port)?,
            host_port: f.or("hostPort", |i| Ok(i.int(0, 65_535)? as u16), 0)?,
            host_ip: f.word_or("hostIP", address, String::new())?,
            protocol: f.word_or("protocol", |i| i.one_of(PROTOCOLS), Protocol::Tcp)?,
        })
    })
}

fn mount(item: &Item<'_>) -> Read<VolumeMount> {
    let ways = [
        ("None", MountPropagation::None),
        ("HostToContainer", MountPropagation::HostToContainer),
        ("Bidirectional", MountPropagation::Bidirectional),
    ];
    item.object(|f| {
        let path = f.opt("subPath", Item::text)?.filter(|p| !p.is_empty());
        let expr = f.opt("subPathExpr", Item::text)?.filter(|p| !p.is_empty());
        let local = |p: &String| {
            local_path_fault(p).map(|why| f.here().fault(format!("subPath {p:?} {why}")))
        };
        if let Some(fault) = path.as_ref().or(expr.as_ref()).and_then(local) {
            return Err(fault);
        }
        let sub_path = match (path, expr) {
            (None, None) => SubPath::Whole,
            (Some(path), None) => SubPath::Path(path),
            (None, Some(expr)) => SubPath::Expr(expr),
            (Some(_), Some(_)) => {
                return Err(f.here().fault("subPath and subPathExpr may not be set together"));
            }
        };
        let read_only = f.flag("readOnly")?;
        let propagation =
            f.word_or("mountPropagation", |i| i.one_of(&ways), MountPropagation::None)?;
        let words = [
            ("Disabled", RecursiveReadOnly::Disabled),
            ("IfPossible", RecursiveReadOnly::IfPossible),
            ("Enabled", RecursiveReadOnly::Enabled),
        ];
        let plain = read_only && propagation == MountPropagation::None;
        let recursive = |i: &Item<'_>| match i.one_of(&words)? {
            RecursiveReadOnly::Disabled => Ok(RecursiveReadOnly::Disabled),
            _ if !plain => Err(i.fault("needs readOnly: true and mountPropagation: None")),
            asked => Ok(asked),
        };
        let recursive_read_only =
            f.word_or("recursiveReadOnly", recursive, RecursiveReadOnly::Disabled)?;
        Ok(VolumeMount {
            name: f.need("name", Item::text)?,
            mount_path: f.need("mountPath", |i| {
                let path = i.text()?;
                if path.is_empty() || path.contains('\0') {
                    return Err(i.fault("must be a path"));
                }
                Ok(path)
            })?,
            sub_path,
            read_only,
            recursive_read_only,
            propagation,
        })
    })
}

/// A container's `resources`: requests are filled from limits, as the API server does.
fn resources(item: &Item<'_>) -> Read<Resources> {
    item.object(|f| {
        let Resources { mut requests, limits } = as_written(f)?;
        requests.cpu = requests.cpu.or(limits.cpu);
        requests.memory = requests.memory.or(limits.memory);
        requests.ephemeral_storage = requests.ephemeral_storage.or(limits.ephemeral_storage);
        for (size, amount) in &limits.hugepages {
            requests.hugepages.entry(size.clone()).or_insert(*amount);
        }
        consistent(f, &requests, &limits)?;
        Ok(Resources { requests, limits })
    })
}

/// The pod's own `resources`. What they leave open comes from the containers
/// ([`crate::resources::default_pod_level`]).
pub fn pod_resources(item: &Item<'_>) -> Read<Resources> {
    item.object(|f| {
        let own = as_written(f)?;
        for (field, list) in [("requests", &own.requests), ("limits", &own.limits)] {
            let path = format!("not supported yet: spec.resources.{field}");
            if let Some(size) = list.hugepages.keys().next() {
                return Err(f.here().fault(format!("{path}.hugepages-{size}")));
            }
            if list.ephemeral_storage.is_some() {
                return Err(f.here().fault("ephemeral-storage is for containers, not for pods"));
            }
        }
        consistent(f, &own.requests, &own.limits)?;
        Ok(own)
    })
}

fn as_written(f: &mut Fields<'_>) -> Read<Resources> {
    f.refuse(&["claims"])?;
    let limits = f.or("limits", list, ResourceList::default())?;
    Ok(Resources { requests: f.or("requests", list, ResourceList::default())?, limits })
}

fn consistent(f: &Fields<'_>, requests: &ResourceList, limits: &ResourceList) -> Read<()> {
    let over = |r, l| matches!((r, l), (Some(r), Some(l)) if r > l);
    let excess = [
        ("cpu", over(requests.cpu, limits.cpu)),
        ("memory", over(requests.memory, limits.memory)),
        ("ephemeral-storage", over(requests.ephemeral_storage, limits.ephemeral_storage)),
    ];
    if let Some((name, _)) = excess.iter().find(|(_, over)| *over) {
        return Err(f.here().fault(format!("requests.{name} must not be more than limits.{name}")));
    }
    if requests.hugepages != limits.hugepages {
        return Err(f.here().fault("hugepages requests must equal their limits"));
    }
    Ok(())
}

fn list(item: &Item<'_>) -> Read<ResourceList> {
    let mut found = ResourceList::default();
    let amounts: BTreeMap<String, _> = item.map(|key, item| match key {
        "cpu" | "memory" | "ephemeral-storage" => item.quantity(),
        _ if key.starts_with("hugepages-") => item.quantity(),
        // None of what nobody has here, as charts print it.
        _ if key.contains('/') && item.quantity()? == Quantity::ZERO => Ok(Quantity::ZERO),
        _ => Err(item.fault("not supported yet: extended resources")),
    })?;
    for (key, amount) in amounts {
        match key.as_str() {
            "cpu" => found.cpu = Some(amount),
            "memory" => found.memory = Some(amount),
            "ephemeral-storage" => found.ephemeral_storage = Some(amount),
            _ if key.contains('/') => {}
            _ => {
                let size = key.trim_start_matches("hugepages-").to_owned();
                found.hugepages.insert(size, amount);
            }
        }
    }
    Ok(found)
}
