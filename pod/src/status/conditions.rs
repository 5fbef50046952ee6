//! The pod's conditions (`pkg/kubelet/status/generate.go`).

use super::{Condition, ContainerStatus, Inputs, Phase, PodStatus, State, restarting};
use crate::sync::actions::sandbox_changed;

/// A condition before it is known since when it is so.
struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn is_true() -> Self {
        Verdict { status: true, reason: "", message: String::new() }
    }

    fn is_false(reason: &'static str, message: String) -> Self {
        Verdict { status: false, reason, message }
    }
}

/// All conditions, in the kubelet's order.
pub fn conditions(inputs: &Inputs<'_>, status: &PodStatus) -> Vec<Condition> {
    let (no_sandbox, ..) = sandbox_changed(inputs.pod, inputs.seen);
    let network = Verdict { status: !no_sandbox, ..Verdict::is_true() };
    let resize = resize_in_progress(inputs, status).map(|found| ("PodResizeInProgress", found));
    let list = [
        ("PodReadyToStartContainers", network),
        ("Initialized", initialised(inputs, status)),
        ("Ready", ready(inputs, status)),
        ("ContainersReady", containers_ready(inputs, status)),
        ("PodScheduled", Verdict::is_true()),
    ];
    let all_restart = all_restart(inputs, status).map(|found| (restarting::CONDITION, found));
    resize
        .into_iter()
        .chain(list)
        .chain(all_restart)
        .map(|(kind, verdict)| {
            let before = inputs.old.conditions.iter().find(|c| c.kind == kind);
            let same = before.filter(|c| c.status == verdict.status);
            Condition {
                kind: kind.to_owned(),
                status: verdict.status,
                reason: verdict.reason.to_owned(),
                message: verdict.message,
                since: same.map_or(inputs.now, |c| c.since),
            }
        })
        .collect()
}

/// Told only while it is so.
fn resize_in_progress(inputs: &Inputs<'_>, status: &PodStatus) -> Option<Verdict> {
    let error = inputs.resize.clone().filter(|_| !status.phase.is_terminal())?;
    let reason = if error.is_empty() { "" } else { "Error" };
    Some(Verdict { status: true, reason, message: error })
}

/// Only of a pod of which an end of a container may be that.
fn all_restart(inputs: &Inputs<'_>, status: &PodStatus) -> Option<Verdict> {
    let Inputs { pod, seen, old, .. } = inputs;
    if !pod.spec.may_restart_all() {
        return None;
    }
    if status.phase == Phase::Failed {
        return Some(Verdict::is_false("PodFailed", String::new()));
    }
    if !restarting::is_due(pod, seen, old) || restarting::is_cleaned_up(pod, seen) {
        return Some(Verdict::is_false("", String::new()));
    }
    let (reason, message) =
        ("RestartAllContainersStarted", "container exited with restart policy rule".to_owned());
    Some(Verdict { status: true, reason, message })
}

/// Go's `%s` of a list: `[a b]`.
fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialised(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    let incomplete = |c: &&ContainerStatus| {
        let sidecar =
            inputs.pod.spec.init_containers.iter().any(|i| i.name == c.name && i.is_sidecar());
        if sidecar { c.started != Some(true) } else { !c.ready }
    };
    let open: Vec<&str> =
        status.init_containers.iter().filter(incomplete).map(|c| c.name.as_str()).collect();
    if status.phase == Phase::Succeeded {
        return Verdict { reason: "PodCompleted", ..Verdict::is_true() };
    }
    let ran = |c: &ContainerStatus| !matches!(c.state, State::Waiting { .. });
    // What was initialized once stays so, also while its init containers run again.
    let was = inputs.old.conditions.iter().any(|c| c.kind == "Initialized" && c.status);
    if open.is_empty() || was || status.containers.iter().any(ran) {
        return Verdict::is_true();
    }
    let message = format!("containers with incomplete status: {}", listed(&open));
    Verdict::is_false("ContainersNotInitialized", message)
}

fn containers_ready(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    match status.phase {
        Phase::Succeeded => return Verdict::is_false("PodCompleted", String::new()),
        Phase::Failed => return Verdict::is_false("PodFailed", String::new()),
        _ => {}
    }
    let spec = &inputs.pod.spec;
    let sidecars = spec.init_containers.iter().filter(|c| c.is_sidecar());
    let unready: Vec<&str> = sidecars
        .chain(&spec.containers)
        .filter(|c| !status.container(&c.name).is_some_and(|s| s.ready))
        .map(|c| c.name.as_str())
        .collect();
    if unready.is_empty() {
        return Verdict::is_true();
    }
    let message = format!("containers with unready status: {}", listed(&unready));
    Verdict::is_false("ContainersNotReady", message)
}

/// Readiness gates are conditions that someone else sets; here nobody does, so a pod that has
/// one is never Ready, and says why.
fn ready(inputs: &Inputs<'_>, status: &PodStatus) -> Verdict {
    let containers = containers_ready(inputs, status);
    if !containers.status {
        return containers;
    }
    let missing: Vec<String> = inputs
        .pod
        .spec
        .readiness_gates
        .iter()
        .map(|gate| {
            format!("corresponding condition of pod readiness gate {gate:?} does not exist.")
        })
        .collect();
    if missing.is_empty() {
        Verdict::is_true()
    } else {
        Verdict::is_false("ReadinessGatesNotReady", missing.join(", "))
    }
}
