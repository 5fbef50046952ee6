//! A pod in one line (`printPod` of kubectl's `pkg/printers/internalversion`).

use super::{ContainerStatus, PodStatus, State};
use crate::model::PodSpec;

/// What the columns of a list say of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Containers that are ready: regular ones and sidecars.
    pub ready: usize,
    /// Containers that can be ready.
    pub total: usize,
    /// The phase, or the reason that says more: `Init:0/1`, `CrashLoopBackOff`, `Completed`, …
    pub reason: String,
    /// Restarts: of init containers while those run, afterwards of all others.
    pub restarts: u32,
}

/// Sums a status up as kubectl does, with one difference: a pod that was failed as a whole
/// (`Evicted`, `DeadlineExceeded`) says why, and not how its containers ended of that.
pub fn summarize(spec: &PodSpec, status: &PodStatus, stopping: bool) -> Summary {
    let sidecars: Vec<bool> = spec.init_containers.iter().map(|c| c.is_sidecar()).collect();
    let is_sidecar = |i: usize| sidecars.get(i).copied().unwrap_or(false);
    let init = status.init_containers.iter().enumerate();
    let mut ready = init
        .clone()
        .take_while(|(i, c)| unfinished(c, is_sidecar(*i)).is_none())
        .filter(|(i, c)| is_sidecar(*i) && c.ready)
        .count();
    let initializing = init.clone().find_map(|(i, c)| {
        let what = unfinished(c, is_sidecar(i))?;
        Some(what.unwrap_or_else(|| format!("{i}/{}", spec.init_containers.len())))
    });
    let initialized = status.conditions.iter().any(|c| c.kind == "Initialized" && c.status);
    let regular = initializing.is_none() || initialized;
    let mut reason = match initializing {
        Some(what) => format!("Init:{what}"),
        None if status.reason.is_empty() => status.phase.as_str().to_owned(),
        None => status.reason.clone(),
    };
    if regular {
        ready += status.containers.iter().filter(|c| runs(c) && c.ready).count();
        if let Some(found) = of_containers(&status.containers, status.is_ready()) {
            reason = found;
        }
    }
    if status.phase.is_terminal() && !status.reason.is_empty() {
        reason.clone_from(&status.reason);
    } else if stopping && !status.phase.is_terminal() {
        reason = "Terminating".to_owned();
    }
    let restarts = init.filter(|(i, _)| !regular || is_sidecar(*i)).map(|(_, c)| c.restart_count);
    let others = status.containers.iter().filter(|_| regular).map(|c| c.restart_count);
    Summary {
        ready,
        total: spec.containers.len() + sidecars.iter().filter(|sidecar| **sidecar).count(),
        reason,
        restarts: restarts.chain(others).sum(),
    }
}

fn runs(container: &ContainerStatus) -> bool {
    matches!(container.state, State::Running { .. })
}

/// Whether the containers after this init container have to wait, and for what if that is known.
fn unfinished(container: &ContainerStatus, is_sidecar: bool) -> Option<Option<String>> {
    match &container.state {
        State::Terminated(end) if end.exit_code == 0 => None,
        _ if is_sidecar && container.started == Some(true) => None,
        State::Terminated(end) => Some(Some(ended(&end.reason, end.exit_code))),
        State::Waiting { reason, .. } if !matches!(reason.as_str(), "" | "PodInitializing") => {
            Some(Some(reason.clone()))
        }
        _ => Some(None),
    }
}

/// What regular containers say; nothing when all that matters of them is that they run.
fn of_containers(containers: &[ContainerStatus], pod_is_ready: bool) -> Option<String> {
    let (mut reason, mut error) = (None, None);
    for container in containers.iter().rev() {
        match &container.state {
            State::Waiting { reason: why, .. } if !why.is_empty() => reason = Some(why.clone()),
            State::Terminated(end) => {
                reason = Some(ended(&end.reason, end.exit_code));
                if end.exit_code != 0 {
                    error.clone_from(&reason);
                }
            }
            _ => {}
        }
    }
    let some_ready = containers.iter().any(|c| runs(c) && c.ready);
    match reason.as_deref() {
        Some("Completed") if some_ready && pod_is_ready => Some("Running".to_owned()),
        Some("Completed") if error.is_some() => error,
        Some("Completed") if some_ready => Some("NotReady".to_owned()),
        _ => reason,
    }
}

fn ended(reason: &str, code: i32) -> String {
    if reason.is_empty() { format!("ExitCode:{code}") } else { reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::status::{Condition, Phase, Terminated};
    use crate::testing;

    /// `running`, `started`, `ready`, `ended <code> [<reason>]` or `waiting [<reason>]`, with
    /// ` x<restarts>` behind it.
    fn container(text: &str) -> ContainerStatus {
        let (what, restarts) = text.split_once(" x").unwrap_or((text, "0"));
        let words: Vec<&str> = what.split(' ').collect();
        let at = Timestamp::from_nanos(1);
        let state = match words[..] {
            ["waiting", ref reason @ ..] => {
                State::Waiting { reason: reason.concat(), message: String::new() }
            }
            ["ended", code, ref reason @ ..] => State::Terminated(Terminated {
                exit_code: code.parse().unwrap(),
                reason: reason.concat(),
                message: String::new(),
                started_at: at,
                finished_at: at,
                container_id: String::new(),
            }),
            _ => State::Running { started_at: at },
        };
        ContainerStatus {
            started: Some(["started", "ready"].contains(&what)),
            ready: what == "ready",
            restart_count: restarts.parse().unwrap(),
            ..ContainerStatus::new("c", state)
        }
    }

    /// Containers are separated by commas; an init container with a `+` before it is a sidecar.
    fn summary(init: &str, regular: &str, conditions: &str, phase: (Phase, &str)) -> String {
        let list = |text: &str| -> Vec<String> {
            text.split(", ").filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let (init, regular) = (list(init), list(regular));
        let mut spec = String::from("  initContainers:\n");
        for (i, text) in init.iter().enumerate() {
            let restart = if text.starts_with('+') { ", restartPolicy: Always" } else { "" };
            spec.push_str(&format!("  - {{name: i{i}, image: i{restart}}}\n"));
        }
        spec.push_str("  containers:\n");
        for i in 0..regular.len() {
            spec.push_str(&format!("  - {{name: c{i}, image: i}}\n"));
        }
        let pod = testing::pod(&spec);
        let mut status = PodStatus::new(&pod, Timestamp::from_nanos(1));
        status.init_containers =
            init.iter().map(|t| container(t.trim_start_matches('+'))).collect();
        status.containers = regular.iter().map(|text| container(text)).collect();
        status.conditions = list(conditions).into_iter().map(condition).collect();
        (status.phase, status.reason) =
            (phase.0, phase.1.trim_start_matches("stopping").to_owned());
        let Summary { ready, total, reason, restarts } =
            summarize(&pod.spec, &status, phase.1 == "stopping");
        format!("{ready}/{total} {reason} {restarts}")
    }

    fn condition(kind: String) -> Condition {
        let (reason, message, since) = (String::new(), String::new(), Timestamp::from_nanos(1));
        Condition { kind, status: true, reason, message, since }
    }

    #[test]
    fn a_pod_is_summed_up_as_kubectl_does() {
        use Phase::{Failed, Pending, Running, Succeeded};
        let wait = "waiting PodInitializing";
        for (init, regular, conditions, phase, expected) in [
            ("", "waiting ContainerCreating", "", (Pending, ""), "0/1 ContainerCreating 0"),
            ("", "waiting", "", (Pending, ""), "0/1 Pending 0"),
            ("", "ready, ready x2", "Ready", (Running, ""), "2/2 Running 2"),
            ("", "running", "", (Running, ""), "0/1 Running 0"),
            ("", "waiting CrashLoopBackOff x3, ready", "", (Running, ""), "1/2 CrashLoopBackOff 3"),
            ("", "waiting ErrImagePull", "", (Pending, ""), "0/1 ErrImagePull 0"),
            ("", "ended 0 Completed", "", (Succeeded, ""), "0/1 Completed 0"),
            ("", "ended 3 Error", "", (Failed, ""), "0/1 Error 0"),
            ("", "ended 137 OOMKilled", "", (Failed, ""), "0/1 OOMKilled 0"),
            ("", "ended 3", "", (Failed, ""), "0/1 ExitCode:3 0"),
            // One has ended: the others decide whether that matters.
            ("", "ready, ended 0 Completed", "Ready", (Running, ""), "1/2 Running 0"),
            ("", "ready, ended 0 Completed", "", (Running, ""), "1/2 NotReady 0"),
            ("", "ended 0 Completed, ended 2 Error", "", (Failed, ""), "0/2 Error 0"),
            ("", "ended 2 Error, ended 0 Completed", "", (Failed, ""), "0/2 Error 0"),
            // The pod's own reason.
            ("", "ended 137 Error", "", (Failed, "Evicted"), "0/1 Evicted 0"),
            ("", "waiting", "", (Failed, "DeadlineExceeded"), "0/1 DeadlineExceeded 0"),
            ("", "ready", "Ready", (Running, "stopping"), "1/1 Terminating 0"),
            ("", "ended 0 Completed", "", (Succeeded, "stopping"), "0/1 Completed 0"),
            // Init containers, whose restarts count until they are done.
            ("running", wait, "", (Pending, ""), "0/1 Init:0/1 0"),
            (
                "ended 0 Completed, waiting PodInitializing",
                wait,
                "",
                (Pending, ""),
                "0/1 Init:1/2 0",
            ),
            ("ended 1 Error x1", wait, "", (Pending, ""), "0/1 Init:Error 1"),
            ("ended 4", wait, "", (Failed, ""), "0/1 Init:ExitCode:4 0"),
            ("waiting CrashLoopBackOff x4", wait, "", (Pending, ""), "0/1 Init:CrashLoopBackOff 4"),
            ("ended 0 Completed x2", wait, "Initialized", (Pending, ""), "0/1 PodInitializing 0"),
            (
                "ended 0 Completed x2",
                "ready x1",
                "Initialized, Ready",
                (Running, ""),
                "1/1 Running 1",
            ),
            // Sidecars count as regular ones do.
            ("+running", wait, "", (Pending, ""), "0/2 Init:0/1 0"),
            ("+ready", "ready", "Initialized, Ready", (Running, ""), "2/2 Running 0"),
            ("+started x1", "ready x1", "Initialized", (Running, ""), "1/2 Running 2"),
            (
                "+waiting CrashLoopBackOff x5",
                "ready x1",
                "Initialized",
                (Running, ""),
                "1/2 Init:CrashLoopBackOff 6",
            ),
        ] {
            let found = summary(init, regular, conditions, phase);
            assert_eq!(found, expected, "{init} | {regular} | {conditions} | {phase:?}");
        }
    }
}
