//! All containers of a pod made anew because one has ended as its rule says (`RestartAllContainers`):
//! the condition that a pod has of the end of that container until the last of them is removed, and
//! what is told of the removed.

use super::{PodStatus, State, Terminated};
use crate::model::{Container, Pod};
use crate::sync::observe::{Observed, Run, RunState};

/// The condition.
pub const CONDITION: &str = "AllContainersRestarting";
/// Why a container waits, and how it has ended before.
const REASON: &str = "RestartingAllContainers";
const REMOVED: &str = "The container is removed because RestartAllContainers in place";

/// Whether the condition is told as true.
pub fn is_told(status: &PodStatus) -> bool {
    status.conditions.iter().any(|c| c.kind == CONDITION && c.status)
}

/// Whether a run has ended so that all are to be made anew.
pub fn asks(pod: &Pod, run: &Run) -> bool {
    let container = pod.spec.find(&run.name).map(|(_, container)| container);
    let by_rule = container.and_then(|container| container.rule_after(run.exit_code));
    run.state == RunState::Exited && by_rule.is_some_and(|rule| rule.all)
}

/// Whether all containers are to be made anew, or are on the way there (`ShouldAllContainersRestart`).
pub fn is_due(pod: &Pod, seen: &Observed, old: &PodStatus) -> bool {
    let told_so = |container: &Container| {
        let known = old.container(&container.name).map(|known| &known.state);
        let Some(State::Terminated(end)) = known else { return false };
        container.rule_after(end.exit_code).is_some_and(|rule| rule.all)
    };
    let has_ended_so = |name: &str| seen.latest(name).is_some_and(|run| asks(pod, run));
    is_told(old) || pod.spec.all().any(|(_, c)| has_ended_so(&c.name) || told_so(c))
}

/// Whether nothing is left of the containers (`AllContainersRestartCleanedUp`).
pub fn is_cleaned_up(pod: &Pod, seen: &Observed) -> bool {
    pod.spec.all().all(|(_, c)| seen.latest(&c.name).is_none())
}

/// Of a container that was removed and is made anew.
pub fn waiting() -> State {
    State::Waiting { reason: REASON.to_owned(), message: REMOVED.to_owned() }
}

/// How such a one has ended.
pub fn removed() -> Terminated {
    Terminated {
        exit_code: 137,
        reason: REASON.to_owned(),
        message: REMOVED.to_owned(),
        started_at: Default::default(),
        finished_at: Default::default(),
        container_id: String::new(),
    }
}

/// Whether that is an end after which a container comes back whatever its policy.
pub fn comes_back(end: &Terminated) -> bool {
    end.reason == REASON
}
