//! Ending containers, with hooks, order and grace (`killContainer` of the kubelet).

use std::time::Duration;

use futures::future::join_all;
use rrun_cri_api::v1;
use tonic::Code;

use super::actions::KillReason;
use super::observe::{Observed, Run, RunState};
use super::termination_order::TerminationOrder;
use super::worker::PodWorker;
use crate::error::{Error, Result};
use crate::events::Reason;
use crate::model::Container;

/// No stop signal without at least this much time to heed it, in seconds.
const MINIMUM_GRACE: u32 = 2;

/// The grace of one kill, in seconds: the caller's, else the failed probe's, else the pod's.
pub(super) fn grace(
    container: &Container,
    pod: u32,
    reason: KillReason,
    asked: Option<u32>,
) -> u32 {
    let probe = match reason {
        KillReason::LivenessProbe => container.liveness.as_ref(),
        KillReason::StartupProbe => container.startup.as_ref(),
        KillReason::Other => None,
    };
    asked.or(probe.and_then(|p| p.termination_grace_period)).unwrap_or(pod)
}

/// One container to end.
pub(super) struct ContainerToKill<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub message: String,
    pub reason: KillReason,
    /// Instead of the pod's grace.
    pub grace: Option<u32>,
}

impl PodWorker {
    /// Ends one container: hook, turn, stop signal, SIGKILL. Returns when it has ended.
    pub(super) async fn kill_container(
        &self,
        target: ContainerToKill<'_>,
        order: Option<&TerminationOrder>,
    ) -> Result<()> {
        let ContainerToKill { id, name, message, reason, grace: asked } = target;
        let found = self.pod.spec.find(name).map(|(_, container)| container);
        let pod_grace = self.pod.spec.termination_grace_period;
        let mut left = found.map_or(pod_grace, |c| grace(c, pod_grace, reason, asked));
        let message =
            if message.is_empty() { format!("Stopping container {name}") } else { message };
        self.events.normal(Some(name), Reason::Killing, message);
        let hook = found.and_then(|c| Some((c, c.lifecycle.pre_stop.as_ref()?)));
        if let Some((container, hook)) = hook.filter(|_| left > 0) {
            let begun = self.clock.now();
            let bound = Duration::from_secs(left.into());
            let call = tokio::time::timeout(bound, self.hook(id, container, hook));
            let done = self.told(format!("the preStop hook of {name}"), call).await;
            if let Ok(Err(e)) = done {
                tracing::warn!(pod = %self.pod.meta.name, container = name, "preStop: {e}");
                // The error's text may hold what only the container should know.
                self.events.warning(Some(name), Reason::FailedPreStopHook, "PreStopHook failed");
            }
            left = left.saturating_sub(self.seconds_since(begun));
        }
        if let Some(order) = order.filter(|_| left > 0) {
            let begun = self.clock.now();
            order.turn(name, Duration::from_secs(left.into())).await;
            left = left.saturating_sub(self.seconds_since(begun));
        }
        let timeout = i64::from(left.max(MINIMUM_GRACE));
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        let call = self.cri.stop_container(request);
        match self.told(format!("StopContainer {name}"), call).await {
            Err(e) if e.code() != Code::NotFound => Err(Error::status(format!("stop {name}"), &e)),
            _ => {
                if let Some(order) = order {
                    order.ended(name);
                }
                Ok(())
            }
        }
    }

    /// Whole seconds, rounded down: what was begun and not finished costs no grace.
    fn seconds_since(&self, begun: crate::clock::Timestamp) -> u32 {
        u32::try_from(self.clock.now().since(begun).as_secs()).unwrap_or(u32::MAX)
    }

    /// Ends every running container of the pod in its order, then every sandbox.
    pub(super) async fn kill_pod(&self, seen: &Observed, asked: Option<u32>) -> Result<()> {
        let alive = |run: &&Run| matches!(run.state, RunState::Running | RunState::Unknown);
        let targets: Vec<_> = seen.runs.iter().filter(alive).collect();
        self.kill_all(&targets, asked).await?;
        for sandbox in &seen.sandboxes {
            let request = v1::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            match self.told("StopPodSandbox", self.cri.stop_pod_sandbox(request)).await {
                Err(e) if e.code() != Code::NotFound => {
                    return Err(Error::status(format!("stop sandbox {}", sandbox.id), &e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends these containers in the order of their pod.
    pub(super) async fn kill_all(&self, targets: &[&Run], asked: Option<u32>) -> Result<()> {
        let names: Vec<String> = targets.iter().map(|run| run.name.clone()).collect();
        let has_sidecars = self.pod.spec.init_containers.iter().any(Container::is_sidecar);
        let order = has_sidecars.then(|| TerminationOrder::new(&self.pod, &names));
        let kills = targets.iter().map(|run| {
            let target = ContainerToKill {
                id: &run.id,
                name: &run.name,
                message: String::new(),
                reason: KillReason::Other,
                grace: asked,
            };
            self.kill_container(target, order.as_ref())
        });
        join_all(kills).await.into_iter().collect::<Result<Vec<()>>>().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn the_callers_grace_wins_over_the_probes_and_that_over_the_pods() {
        let pod = pod("  containers:
  - {name: a, image: i, livenessProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 7}}
");
        let a = &pod.spec.containers[0];
        for (reason, asked, want) in [
            (KillReason::Other, None, 30),
            (KillReason::LivenessProbe, None, 7),
            (KillReason::StartupProbe, None, 30),
            (KillReason::LivenessProbe, Some(3), 3),
        ] {
            assert_eq!(grace(a, 30, reason, asked), want);
        }
    }
}
