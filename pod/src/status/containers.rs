//! Runs → container statuses (`convertToAPIContainerStatuses`).

use super::{ContainerStatus, Inputs, State, Terminated, details, restarting};
use crate::model::Container;
use crate::sync::actions::{regular_was_created, restarts};
use crate::sync::observe::{Run, RunState};

/// What a container that was running and is gone is said to have ended with.
const LOST: &str = "The container could not be located when the pod was terminated";
const LOST_REASON: &str = "ContainerStatusUnknown";

/// One status for each of `list`, in its order.
pub fn statuses(inputs: &Inputs<'_>, list: &[Container], init: bool) -> Vec<ContainerStatus> {
    list.iter().map(|container| status(inputs, container, init)).collect()
}

fn status(inputs: &Inputs<'_>, container: &Container, init: bool) -> ContainerStatus {
    let mut runs = inputs.seen.runs.iter().filter(|run| run.name == container.name);
    let old = inputs.old.container(&container.name);
    let mut found = match runs.next() {
        Some(run) => {
            let mut found = from_run(container, run, old);
            found.last = runs.next().and_then(terminated).or_else(|| before(&found, old?));
            found
        }
        None => without_run(inputs, container, old),
    };
    let latest = inputs.seen.latest(&container.name);
    found.volume_mounts = details::mounts(container, inputs.recursive_read_only, latest);
    // One that is done is not started again, and a sidecar that ended well is told as it is.
    if init && matches!(&found.state, State::Terminated(end) if end.exit_code == 0) {
        return found;
    }
    if init && !container.is_sidecar() {
        let forgotten = inputs.seen.latest(&container.name).is_none();
        if forgotten
            && regular_was_created(inputs.pod, inputs.seen)
            && matches!(found.state, State::Waiting { .. })
        {
            found.state = State::Terminated(completed());
            return found;
        }
    }
    waiting(inputs, container, found)
}

/// How the run before has ended, which was removed: the status before knows it.
fn before(found: &ContainerStatus, old: &ContainerStatus) -> Option<Terminated> {
    match &old.state {
        State::Terminated(end) if old.container_id != found.container_id => Some(end.clone()),
        _ => old.last.clone(),
    }
}

fn completed() -> Terminated {
    Terminated {
        exit_code: 0,
        reason: "Completed".into(),
        message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally".into(),
        started_at: Default::default(),
        finished_at: Default::default(),
        container_id: String::new(),
    }
}

/// A container that is to be started and could not be is Waiting, with the reason.
fn waiting(
    inputs: &Inputs<'_>,
    container: &Container,
    mut found: ContainerStatus,
) -> ContainerStatus {
    let starts = !inputs.stopping && restarts(inputs.pod, container, inputs.seen);
    let Some(failure) = inputs.failures.get(&container.name).filter(|_| starts) else {
        return found;
    };
    let state = State::Waiting { reason: failure.reason.clone(), message: failure.message.clone() };
    if let State::Terminated(end) = std::mem::replace(&mut found.state, state) {
        found.last = Some(end);
    }
    found
}

fn from_run(container: &Container, run: &Run, old: Option<&ContainerStatus>) -> ContainerStatus {
    let was_running = old.is_some_and(|old| matches!(old.state, State::Running { .. }));
    let state = match run.state {
        RunState::Running => State::Running { started_at: run.started_at },
        RunState::Exited => State::Terminated(ended(run)),
        RunState::Unknown if was_running => State::Terminated(lost()),
        RunState::Created | RunState::Unknown => {
            State::Waiting { reason: String::new(), message: String::new() }
        }
    };
    let lost = run.state == RunState::Unknown && was_running;
    ContainerStatus {
        // A run that was removed with its log counts all the same.
        restart_count: old.map_or(0, |old| old.restart_count).max(run.restart_count)
            + u32::from(lost),
        image: run.image.clone(),
        image_id: run.image_ref.clone(),
        container_id: Some(run.id.clone()),
        resources: Some(details::in_force(container, run)),
        allocated_resources: details::amounts(&container.resources.requests),
        user: run.user.clone(),
        ..ContainerStatus::new(&run.name, state)
    }
}

fn without_run(
    inputs: &Inputs<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let has_init = !inputs.pod.spec.init_containers.is_empty();
    let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let state = State::Waiting { reason: reason.to_owned(), message: String::new() };
    let mut found = ContainerStatus {
        image: container.image.clone(),
        ..ContainerStatus::new(&container.name, state)
    };
    let Some(old) = old else { return found };
    let waits = matches!(old.state, State::Waiting { .. });
    if !waits && restarting::is_due(inputs.pod, inputs.seen, inputs.old) {
        found.restart_count = old.restart_count + 1;
        (found.state, found.last) = (restarting::waiting(), Some(restarting::removed()));
        return found;
    }
    if matches!(old.state, State::Terminated(_)) {
        return old.clone();
    }
    found.restart_count = old.restart_count;
    found.last.clone_from(&old.last);
    if matches!(old.state, State::Running { .. }) && found.last.is_none() {
        // It ran, and nobody can say how it ended: it has ended all the same.
        found.last = Some(lost());
        found.restart_count += 1;
    }
    found
}

pub(super) fn lost() -> Terminated {
    Terminated {
        exit_code: 137,
        reason: LOST_REASON.into(),
        message: LOST.into(),
        started_at: Default::default(),
        finished_at: Default::default(),
        container_id: String::new(),
    }
}

/// How a run has ended.
pub(crate) fn ended(run: &Run) -> Terminated {
    Terminated {
        exit_code: run.exit_code,
        reason: run.reason.clone(),
        message: run.message.clone(),
        started_at: run.started_at,
        finished_at: run.finished_at,
        container_id: run.id.clone(),
    }
}

fn terminated(run: &Run) -> Option<Terminated> {
    (run.state == RunState::Exited).then(|| ended(run))
}
