//! What a pod needs next: status and spec → actions. Pure.
//!
//! This is `computePodActions` of the kubelet (`kuberuntime_manager.go`), decision by decision.

use super::init;
use super::observe::{Observed, RunState};
use super::plan::kill;
pub use super::plan::{Actions, KillReason};
use crate::model::{Container, Pod, RestartPolicy};
use crate::probe::{ProbeKind, Results, Verdict};
use crate::resize::Actuated;
use crate::translate::labels;

/// Whether the pod needs another sandbox, with which attempt, and which one it has now
/// (`util.PodSandboxChanged`).
pub fn sandbox_changed(pod: &Pod, seen: &Observed) -> (bool, u32, Option<String>) {
    let Some(newest) = seen.sandboxes.first() else { return (true, 0, None) };
    let ready = seen.sandboxes.iter().filter(|s| s.ready).count();
    let id = Some(newest.id.clone());
    let no_address = !pod.spec.host_network && newest.addresses.as_ref().is_some_and(Vec::is_empty);
    if ready > 1 || !newest.ready || no_address {
        (true, newest.attempt + 1, id)
    } else if newest.host_network != pod.spec.host_network {
        (true, newest.attempt + 1, None)
    } else {
        (false, newest.attempt, id)
    }
}

/// Whether a container is to be started again (`ShouldContainerBeRestarted`).
pub fn restarts(pod: &Pod, container: &Container, seen: &Observed) -> bool {
    match seen.latest(&container.name) {
        None => true,
        Some(run) => match run.state {
            RunState::Running => false,
            RunState::Created | RunState::Unknown => true,
            RunState::Exited => pod.spec.restarts_after(container, run.exit_code),
        },
    }
}

/// Whether any regular container has ever been made.
pub fn regular_was_created(pod: &Pod, seen: &Observed) -> bool {
    let known = |c: &Container| seen.latest(&c.name).is_some_and(|r| r.state != RunState::Unknown);
    pod.spec.containers.iter().any(known)
}

/// Decides.
pub fn compute(pod: &Pod, seen: &Observed, probes: &Results, has: &Actuated) -> Actions {
    let (create, attempt, sandbox) = sandbox_changed(pod, seen);
    let mut actions = Actions {
        kill_pod: create,
        create_sandbox: create,
        attempt,
        sandbox,
        ..Actions::default()
    };
    if create {
        with_new_sandbox(pod, seen, &mut actions);
        return actions;
    }
    let initialised = init::compute(pod, seen, (probes, has), &mut actions);
    if actions.kill_pod || !initialised {
        return actions;
    }
    let mut kept = 0;
    for (i, container) in pod.spec.containers.iter().enumerate() {
        kept += usize::from(regular(pod, (i, container), seen, (probes, has), &mut actions));
    }
    if kept == 0 && actions.regular.is_empty() {
        actions.kill_pod = true;
        // Sidecars must not keep a pod alive whose work is done.
        actions.init.clear();
    }
    actions
}

fn with_new_sandbox(pod: &Pod, seen: &Observed, actions: &mut Actions) {
    let never = pod.spec.restart_policy == RestartPolicy::Never;
    // A pod that ran once is not run again; one that never got as far as a container is.
    if never && actions.attempt != 0 && !seen.runs.is_empty() {
        actions.create_sandbox = false;
        return;
    }
    let done = |c: &Container| {
        let succeeded =
            seen.latest(&c.name).is_some_and(|r| r.state == RunState::Exited && r.exit_code == 0);
        succeeded && pod.spec.restart_policy_of(c) == RestartPolicy::OnFailure
    };
    let containers = pod.spec.containers.iter().enumerate();
    let wanted: Vec<usize> = containers.filter(|(_, c)| !done(c)).map(|(i, _)| i).collect();
    if wanted.is_empty() && regular_was_created(pod, seen) {
        actions.create_sandbox = false;
    } else if pod.spec.init_containers.is_empty() {
        actions.regular = wanted;
    } else {
        actions.init = vec![0];
    }
}

/// Decides on one regular container; whether it is kept as it is.
fn regular(
    pod: &Pod,
    (i, container): (usize, &Container),
    seen: &Observed,
    (probes, has): (&Results, &Actuated),
    actions: &mut Actions,
) -> bool {
    let name = &container.name;
    let Some(run) = seen.latest(name).filter(|r| r.state == RunState::Running) else {
        if restarts(pod, container, seen) {
            actions.regular.push(i);
            // Nobody knows whether it still runs: two copies at once would be worse.
            if let Some(run) = seen.latest(name).filter(|r| r.state == RunState::Unknown) {
                let message = "Container is in \"unknown\" state, try killing it before restart";
                actions.kill.push(kill(&run.id, name, message, KillReason::Other));
            }
        }
        return false;
    };
    let failed = |kind| probes.get(&run.id, kind) == Some(Verdict::Failure);
    let (message, reason, restart) = if run.hash != labels::hash(container) {
        (format!("Container {name} definition changed"), KillReason::Other, true)
    } else if failed(ProbeKind::Liveness) {
        let restart = pod.spec.restart_policy_of(container) != RestartPolicy::Never;
        (format!("Container {name} failed liveness probe"), KillReason::LivenessProbe, restart)
    } else if failed(ProbeKind::Startup) {
        let restart = pod.spec.restart_policy_of(container) != RestartPolicy::Never;
        (format!("Container {name} failed startup probe"), KillReason::StartupProbe, restart)
    } else if actions.resize.keeps(pod, container, run, has) {
        return true;
    } else {
        actions.regular.push(i);
        let message = format!("Container {name} resize requires restart");
        actions.kill.push(kill(&run.id, name, &message, KillReason::Other));
        return false;
    };
    let message = if restart { format!("{message}, will be restarted") } else { message };
    if restart {
        actions.regular.push(i);
    }
    actions.kill.push(kill(&run.id, name, &message, reason));
    false
}
