//! The phase (`getPhase` of the kubelet), rule by rule.

use super::{ContainerStatus, Inputs, Phase, PodStatus, State, Terminated, restarting};
use crate::model::Container;

/// What a container's state means for the phase.
enum Seen<'a> {
    Missing,
    Running(&'a ContainerStatus),
    Ended(&'a Terminated),
    /// Waiting after a run that ended.
    Again(&'a Terminated),
    Waiting,
}

fn look<'a>(list: &'a [ContainerStatus], container: &Container) -> Seen<'a> {
    let Some(found) = list.iter().find(|c| c.name == container.name) else { return Seen::Missing };
    match (&found.state, &found.last) {
        (State::Running { .. }, _) => Seen::Running(found),
        (State::Terminated(end), _) => Seen::Ended(end),
        (State::Waiting { .. }, Some(end)) => Seen::Again(end),
        (State::Waiting { .. }, None) => Seen::Waiting,
    }
}

#[derive(Default)]
struct Count {
    pending_init: usize,
    pending_sidecars: usize,
    failed_init: bool,
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    for_good: usize,
    succeeded: usize,
}

/// The phase; `started_before`: a regular container was started in the present sandbox.
pub fn phase(inputs: &Inputs<'_>, status: &PodStatus, started_before: bool) -> Phase {
    let spec = &inputs.pod.spec;
    let mut count = Count::default();
    let stays = |container: &Container, end: &Terminated| {
        !spec.restarts_after(container, end.exit_code) && !restarting::comes_back(end)
    };
    for container in &spec.init_containers {
        let seen = look(&status.init_containers, container);
        if container.is_sidecar() {
            sidecar(&seen, &mut count, inputs);
        } else {
            match seen {
                Seen::Ended(end) | Seen::Again(end) if end.exit_code == 0 => {}
                Seen::Ended(end) | Seen::Again(end) => {
                    count.failed_init |= stays(container, end);
                }
                _ => count.pending_init += 1,
            }
        }
    }
    for container in &spec.containers {
        match look(&status.containers, container) {
            Seen::Missing => count.unknown += 1,
            Seen::Running(_) => count.running += 1,
            Seen::Waiting => count.waiting += 1,
            Seen::Ended(end) => {
                count.stopped += 1;
                count.succeeded += usize::from(end.exit_code == 0);
                count.for_good += usize::from(stays(container, end));
            }
            Seen::Again(end) => {
                count.stopped += 1;
                count.for_good += usize::from(stays(container, end));
            }
        }
    }
    decide(&count, inputs.ended, started_before)
}

fn sidecar(seen: &Seen<'_>, count: &mut Count, inputs: &Inputs<'_>) {
    match seen {
        Seen::Missing => count.unknown += 1,
        Seen::Running(found) => {
            count.running += 1;
            // `started` of this round is not known yet: the kubelet looks at the one before.
            let before = inputs
                .old
                .container(&found.name)
                .filter(|old| old.container_id == found.container_id);
            if before.and_then(|old| old.started) != Some(true) {
                count.pending_sidecars += 1;
            }
        }
        Seen::Ended(_) | Seen::Again(_) => {}
        Seen::Waiting => {
            count.pending_sidecars += 1;
            count.waiting += 1;
        }
    }
}

fn decide(count: &Count, ended: bool, started_before: bool) -> Phase {
    if count.failed_init {
        return Phase::Failed;
    }
    let initialising = count.pending_init > 0 || (count.pending_sidecars > 0 && !started_before);
    if initialising || count.waiting > 0 {
        return Phase::Pending;
    }
    if count.unknown > 0 {
        return Phase::Pending;
    }
    if count.running > 0 {
        return Phase::Running;
    }
    if count.stopped == 0 {
        return Phase::Pending;
    }
    let good = count.stopped == count.succeeded;
    match (ended || count.stopped == count.for_good, good) {
        (false, _) => Phase::Running,
        (true, true) => Phase::Succeeded,
        (true, false) => Phase::Failed,
    }
}
