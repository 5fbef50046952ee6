//! Init containers and sidecars: `computeInitContainerActions` of the kubelet. Pure.

use super::observe::{Observed, Run, RunState};
use super::plan::{Actions, KillReason, kill};
use crate::model::{Container, Pod};
use crate::probe::{ProbeKind, Results, Verdict};
use crate::resize::Actuated;
use crate::translate::labels;

/// Adds what the init containers need; whether initialisation is over.
///
/// The walk goes backwards, because only the last of the finished ones may still be known to the
/// runtime; it goes on to the first, because every sidecar before must be kept running.
pub fn compute(
    pod: &Pod,
    seen: &Observed,
    (probes, has): (&Results, &Actuated),
    actions: &mut Actions,
) -> bool {
    let list = &pod.spec.init_containers;
    if list.is_empty() {
        return true;
    }
    let initialised = regular_runs(pod, seen);
    let mut walk = Walk { pod, probes, has, initialised, passed: false };
    walk.passed = walk.initialised;
    for (i, container) in list.iter().enumerate().rev() {
        let Some(run) = seen.latest(&container.name) else {
            if walk.passed && container.is_sidecar() {
                actions.init.push(i);
            }
            continue;
        };
        if walk.passed && !container.is_sidecar() {
            continue;
        }
        if !walk.one(i, container, run, actions) {
            actions.kill_pod = true;
            actions.init.clear();
            return false;
        }
        walk.passed = true;
    }
    if !walk.passed {
        actions.init.push(0);
    }
    // Found backwards, started in the manifest's order.
    actions.init.reverse();
    walk.initialised
}

/// A regular container that runs (or is about to) proves that initialisation was over. One that
/// exited proves nothing: it may be of the sandbox before a reboot.
fn regular_runs(pod: &Pod, seen: &Observed) -> bool {
    pod.spec.containers.iter().any(|c| {
        seen.latest(&c.name)
            .is_some_and(|r| matches!(r.state, RunState::Created | RunState::Running))
    })
}

struct Walk<'a> {
    pod: &'a Pod,
    probes: &'a Results,
    has: &'a Actuated,
    /// Initialisation is over.
    initialised: bool,
    /// A later init container has been started, so this one is behind us.
    passed: bool,
}

impl Walk<'_> {
    /// Decides on one; false if the pod has failed.
    fn one(&mut self, i: usize, container: &Container, run: &Run, actions: &mut Actions) -> bool {
        match run.state {
            // Made and not started: the start failed, or the engine died between the two.
            RunState::Created => actions.init.push(i),
            RunState::Running if container.is_sidecar() => {
                self.running_sidecar(i, container, run, actions);
            }
            // None of these may say that it is to be started again for it.
            RunState::Running => drop(actions.resize.keeps(self.pod, container, run, self.has)),
            RunState::Exited if container.is_sidecar() => actions.init.push(i),
            RunState::Exited if failed(run) => {
                if !self.pod.spec.restarts_after(container, run.exit_code.max(1)) {
                    return false;
                }
                actions.init.push(i);
            }
            RunState::Exited => self.start_next(i, actions),
            RunState::Unknown => {
                if !container.is_sidecar() && !self.pod.spec.restarts_after(container, 1) {
                    return false;
                }
                let message =
                    "Init container is in \"unknown\" state, try killing it before restart";
                actions.kill.push(kill(&run.id, &container.name, message, KillReason::Other));
                actions.init.push(i);
            }
        }
        true
    }

    fn start_next(&mut self, i: usize, actions: &mut Actions) {
        if i + 1 == self.pod.spec.init_containers.len() {
            self.initialised = true;
        } else {
            actions.init.push(i + 1);
        }
    }

    fn running_sidecar(
        &mut self,
        i: usize,
        container: &Container,
        run: &Run,
        actions: &mut Actions,
    ) {
        let name = &container.name;
        let mut restart = |message: String, reason| {
            actions.kill.push(kill(&run.id, name, &message, reason));
            actions.init.push(i);
        };
        if container.startup.is_some() {
            match self.probes.get(&run.id, ProbeKind::Startup) {
                Some(Verdict::Success) => {}
                Some(Verdict::Failure) => {
                    let message = format!("Init container {name} failed startup probe");
                    return restart(message, KillReason::StartupProbe);
                }
                _ => return,
            }
        }
        let last = i + 1 == self.pod.spec.init_containers.len();
        let changed = run.hash != labels::hash(container);
        let dead = container.liveness.is_some()
            && self.probes.get(&run.id, ProbeKind::Liveness) == Some(Verdict::Failure);
        if last {
            self.initialised = true;
        } else if !self.passed {
            // The reverse at the end puts this one after a restart of `i` itself.
            actions.init.push(i + 1);
        }
        if changed {
            let message = format!("Init container {name} definition changed");
            actions.kill.push(kill(&run.id, name, &message, KillReason::Other));
            actions.init.push(i);
        } else if dead {
            let message = format!("Init container {name} failed liveness probe");
            actions.kill.push(kill(&run.id, name, &message, KillReason::LivenessProbe));
            actions.init.push(i);
        } else if !actions.resize.keeps(self.pod, container, run, self.has) {
            let message = format!("Container {name} resize requires restart");
            actions.kill.push(kill(&run.id, name, &message, KillReason::Other));
            actions.init.push(i);
        }
    }
}

fn failed(run: &Run) -> bool {
    run.reason == "OOMKilled" || run.exit_code != 0
}
