//! What a pod waits for, and why it is not ready: what its records say of that.

use crate::clock::Timestamp;
use crate::events::{Event, Level, Reason};
use crate::model::{Container, ContainerKind, Pod, Probe, VolumeSource};
use crate::probe::ProbeKind;
use crate::state::{Ending, PodState};
use crate::status::{ContainerStatus, State};

/// One thing that keeps a pod where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The container that it is about; none for the pod.
    pub container: Option<String>,
    /// In words.
    pub what: String,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// When it was said, or happened.
    pub at: Option<Timestamp>,
    /// When it is over, or something is tried again.
    pub until: Option<Timestamp>,
}

impl Cause {
    fn of(container: Option<&str>, what: impl Into<String>) -> Cause {
        let (container, what) = (container.map(str::to_owned), what.into());
        Cause { container, what, since: None, at: None, until: None }
    }

    fn at(self, at: Timestamp) -> Cause {
        Cause { at: (!at.is_zero()).then_some(at), ..self }
    }

    fn since(self, at: Timestamp) -> Cause {
        Cause { since: (!at.is_zero()).then_some(at), ..self }
    }

    fn until(self, at: Option<Timestamp>) -> Cause {
        Cause { until: at, ..self }
    }
}

/// All of them, the pod's before the containers'. None of a pod that is ready.
pub fn causes(pod: &Pod, state: &PodState, events: &[Event]) -> Vec<Cause> {
    let status = &state.status;
    if status.phase.is_terminal() {
        let words = [status.phase.as_str(), &status.reason, &status.message];
        let said: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        return vec![Cause::of(None, format!("it has ended: {}", said.join(": ")))];
    }
    let mut causes: Vec<Cause> = Vec::new();
    for call in &state.pending {
        let what = format!("it waits for {}", call.call);
        causes.push(Cause::of(None, what).since(call.since));
    }
    if state.ending != Ending::No {
        causes.push(Cause::of(None, "it is being ended"));
    }
    causes.extend(trouble(state, events));
    for (kind, container) in pod.spec.all() {
        if let Some(found) = status.container(&container.name) {
            let one = One { pod, kind, container, found, state, events };
            causes.extend(one.causes());
        }
    }
    for gate in &pod.spec.readiness_gates {
        let is_open = status.conditions.iter().any(|c| c.kind == *gate && c.status);
        if !is_open {
            let what = format!("nobody here sets its condition {gate}, which it is to have");
            causes.push(Cause::of(None, what));
        }
    }
    causes
}

/// The last thing that went wrong with the pod as a whole, while it has no sandbox.
fn trouble(state: &PodState, events: &[Event]) -> Option<Cause> {
    let ready = state.status.conditions.iter().find(|c| c.kind == "PodReadyToStartContainers");
    if ready.is_some_and(|condition| condition.status) || state.ending != Ending::No {
        return None;
    }
    let last = events.iter().rev().find(|event| event.container.is_none())?;
    let is_bad = last.level == Level::Warning;
    is_bad.then(|| Cause::of(None, &last.message).at(last.at))
}

/// A container and what is known of it.
struct One<'a> {
    pod: &'a Pod,
    kind: ContainerKind,
    container: &'a Container,
    found: &'a ContainerStatus,
    state: &'a PodState,
    events: &'a [Event],
}

impl One<'_> {
    fn cause(&self, what: impl Into<String>) -> Cause {
        Cause::of(Some(&self.container.name), what)
    }

    fn causes(&self) -> Vec<Cause> {
        match &self.found.state {
            State::Waiting { reason, message } => self.waits(reason, message).into_iter().collect(),
            State::Running { started_at } => self.runs(*started_at),
            State::Terminated(_) => Vec::new(),
        }
    }

    fn waits(&self, reason: &str, message: &str) -> Option<Cause> {
        let ended = self.found.last.as_ref().map(|end| end.finished_at);
        let until = match reason {
            // Said of what it waits for.
            "ContainerCreating" | "PodInitializing" => return None,
            "CrashLoopBackOff" => ended.and_then(|at| self.state.next_start(self.container, at)),
            _ => self.images().filter_map(|image| self.state.next_pull(image)).max(),
        };
        let what =
            if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
        Some(self.cause(what).at(ended.unwrap_or_default()).until(until))
    }

    /// Its own, and those of its volumes.
    fn images(&self) -> impl Iterator<Item = &str> {
        let mounted = |name: &str| self.container.mounts.iter().any(|mount| mount.name == name);
        let volumes = self.pod.spec.volumes.iter().filter_map(move |volume| match &volume.source {
            VolumeSource::Image { reference, .. } if mounted(&volume.name) => {
                Some(reference.as_str())
            }
            _ => None,
        });
        std::iter::once(self.container.image.as_str()).chain(volumes)
    }

    fn runs(&self, started_at: Timestamp) -> Vec<Cause> {
        if self.kind == ContainerKind::Init {
            let what = "the containers after it wait for its end";
            return vec![self.cause(what).since(started_at)];
        }
        let started = self.found.started == Some(true);
        let probes = [
            (ProbeKind::Startup, self.container.startup.as_ref().filter(|_| !started)),
            (ProbeKind::Readiness, self.readiness().filter(|_| started && !self.found.ready)),
        ];
        let waits = probes.into_iter().filter_map(|(kind, probe)| Some((kind, probe?)));
        let mut causes: Vec<Cause> =
            waits.map(|(kind, probe)| self.waits_for(kind, probe, started_at)).collect();
        let fails = self.answer(ProbeKind::Liveness, started_at);
        causes.extend(fails.map(|event| self.cause(&event.message).at(event.at)));
        causes
    }

    fn readiness(&self) -> Option<&Probe> {
        self.container.readiness.as_ref()
    }

    /// The last answer to a probe that is to succeed.
    fn waits_for(&self, kind: ProbeKind, probe: &Probe, started_at: Timestamp) -> Cause {
        if let Some(answer) = self.answer(kind, started_at) {
            return self.cause(&answer.message).at(answer.at);
        }
        let delay = std::time::Duration::from_secs(probe.initial_delay.into());
        let what = format!("{} probe ({probe}) has not succeeded yet", kind.as_str());
        let first = started_at.after(delay);
        self.cause(what).since(started_at).until((probe.initial_delay > 0).then_some(first))
    }

    /// The last bad answer to a probe of this run.
    fn answer(&self, kind: ProbeKind, started_at: Timestamp) -> Option<&Event> {
        let is_of = |event: &&Event| {
            event.reason == Reason::Unhealthy
                && event.container.as_deref() == Some(&self.container.name)
                && event.message.starts_with(kind.as_str())
        };
        self.events.iter().rev().find(is_of).filter(|event| event.at >= started_at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::engine::{PodEngine, PodHandle};
    use crate::fake::{Exec, FakeCri, FakeNode, Life};
    use crate::testing;

    struct Scene {
        cri: Arc<FakeCri>,
        engine: PodEngine,
    }

    impl Scene {
        async fn new() -> Scene {
            let clock = Clock::virtual_from(Timestamp::from_nanos(1_800_000_000_000_000_000));
            let cri = Arc::new(FakeCri::new(clock.clone()));
            let node = Arc::new(FakeNode::default());
            let engine = PodEngine::new(cri.clone(), node, clock).await.unwrap();
            Scene { cri, engine }
        }
    }

    /// What is said of a pod after so many seconds.
    async fn said(spec: &str, pod: &PodHandle, after: u64) -> Vec<Cause> {
        tokio::time::sleep(Duration::from_secs(after)).await;
        let mut events = pod.events();
        let events: Vec<Event> = std::iter::from_fn(|| events.next_now()).collect();
        let state = pod.state().borrow().clone();
        causes(&testing::pod(spec), &state, &events)
    }

    fn words(causes: &[Cause]) -> Vec<String> {
        let one = |cause: &Cause| {
            format!("{}: {}", cause.container.as_deref().unwrap_or("pod"), cause.what)
        };
        causes.iter().map(one).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_back_off_is_told_with_its_end() {
        let scene = Scene::new().await;
        scene.cri.script("a", &[Life::ends(1, 3)]);
        let spec = "  containers: [{name: a, image: x:1}]\n";
        let pod = scene.engine.run(testing::pod(spec));
        let causes = said(spec, &pod, 5).await;
        assert!(
            words(&causes)[0].starts_with("a: CrashLoopBackOff: back-off 10s restarting failed")
        );
        let (at, until) = (causes[0].at.unwrap(), causes[0].until.unwrap());
        assert_eq!((causes.len(), until.since(at).as_secs()), (1, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probes_last_answer_is_told_and_a_ready_pod_waits_for_nothing() {
        let scene = Scene::new().await;
        scene.cri.exec("probe", |_| Exec { takes: Duration::ZERO, result: Ok(4) });
        let spec = "  containers: [{name: a, image: x:1, readinessProbe: {periodSeconds: 5, exec: {command: [probe]}}}]\n";
        let pod = scene.engine.run(testing::pod(spec));
        let causes = said(spec, &pod, 9).await;
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert!(words(&causes)[0].starts_with("a: Readiness probe failed: "), "{causes:?}");
        let plain = "  containers: [{name: b, image: x:1}]\n";
        let ready = Scene::new().await.engine.run(testing::pod(plain));
        let causes = said(plain, &ready, 3).await;
        assert!(causes.is_empty(), "{causes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_init_container_and_a_gate_are_what_others_wait_for() {
        let scene = Scene::new().await;
        scene.cri.script("i", &[Life::ends(60, 0)]);
        let spec = "  readinessGates: [{conditionType: a.test/b}]\n  initContainers: [{name: i, image: x:1}]\n  containers: [{name: a, image: x:1}]\n";
        let pod = scene.engine.run(testing::pod(spec));
        let gate = "pod: nobody here sets its condition a.test/b, which it is to have";
        let init = "i: the containers after it wait for its end";
        assert_eq!(words(&said(spec, &pod, 9).await), [init, gate]);
        assert_eq!(words(&said(spec, &pod, 90).await), [gate]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_that_does_not_end_is_a_pending_call_and_none_when_it_has() {
        let scene = Scene::new().await;
        scene.cri.exec("hook", |_| Exec { takes: Duration::from_secs(30), result: Ok(0) });
        let spec = "  containers: [{name: a, image: x:1, lifecycle: {postStart: {exec: {command: [hook]}}}}]\n";
        let pod = scene.engine.run(testing::pod(spec));
        let causes = said(spec, &pod, 9).await;
        assert_eq!(words(&causes), ["pod: it waits for the postStart hook of a"]);
        assert!(causes[0].since.is_some());
        let causes = said(spec, &pod, 40).await;
        assert!(causes.is_empty(), "{causes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_has_ended_says_how() {
        let scene = Scene::new().await;
        scene.cri.script("a", &[Life::ends(1, 3)]);
        let spec = "  restartPolicy: Never\n  containers: [{name: a, image: x:1}]\n";
        let pod = scene.engine.run(testing::pod(spec));
        assert_eq!(words(&said(spec, &pod, 9).await), ["pod: it has ended: Failed"]);
    }
}
