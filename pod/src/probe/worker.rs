//! One task per probe, for the life of the pod (`prober/worker.go`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rrun_cri_api::Cri;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{ProbeKind, ProbeResult, ProbedContainer, Results, Verdict, check};
use crate::clock::{Clock, Timestamp};
use crate::events::{Reason, Recorder};
use crate::model::{Container, Pod, Probe};
use crate::status::{ContainerStatus, PodStatus, State};

/// How often a try is made again at once when it could not be made at all.
const TRIES: usize = 3;

/// What every worker of a pod shares.
#[derive(Clone)]
pub struct ProbeContext {
    /// The runtime.
    pub cri: Arc<dyn Cri>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The time.
    pub clock: Clock,
    /// Where unhealthy probes are told.
    pub events: Recorder,
    /// Where verdicts go.
    pub results: Arc<Results>,
    /// The pod's status as last published.
    pub status: watch::Receiver<PodStatus>,
    /// Becomes true when the pod is being stopped.
    pub stopping: watch::Receiver<bool>,
}

/// The probe workers of a pod; dropped, they end.
pub struct ProbeWorkers {
    _tasks: JoinSet<()>,
    triggers: BTreeMap<String, Arc<Notify>>,
}

impl ProbeWorkers {
    /// Starts a worker for every probe.
    pub fn start(context: &ProbeContext) -> Self {
        let mut tasks = JoinSet::new();
        let mut triggers = BTreeMap::new();
        for (_, container) in context.pod.spec.all() {
            let probes = [
                (ProbeKind::Startup, &container.startup),
                (ProbeKind::Readiness, &container.readiness),
                (ProbeKind::Liveness, &container.liveness),
            ];
            for (kind, probe) in probes {
                let Some(probe) = probe else { continue };
                let trigger = Arc::new(Notify::new());
                if kind == ProbeKind::Readiness {
                    triggers.insert(container.name.clone(), trigger.clone());
                }
                let worker = ProbeWorker {
                    context: context.clone(),
                    container: container.clone(),
                    probe: probe.clone(),
                    kind,
                    run: None,
                    last: None,
                    in_a_row: 0,
                    on_hold: false,
                };
                tasks.spawn(worker.run(trigger));
            }
        }
        ProbeWorkers { _tasks: tasks, triggers }
    }

    /// Lets the readiness probe of a container run at once.
    pub fn trigger(&self, container: &str) {
        if let Some(trigger) = self.triggers.get(container) {
            trigger.notify_one();
        }
    }
}

struct ProbeWorker {
    context: ProbeContext,
    container: Container,
    probe: Probe,
    kind: ProbeKind,
    run: Option<String>,
    last: Option<Verdict>,
    in_a_row: u32,
    on_hold: bool,
}

impl ProbeWorker {
    async fn run(mut self, trigger: Arc<Notify>) {
        let period = Duration::from_secs(self.probe.period.into());
        let mut ticker = interval_at(Instant::now() + period, period);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.once().await {
            tokio::select! {
                _ = ticker.tick() => {}
                () = trigger.notified() => ticker.reset(),
            }
        }
        if let Some(id) = self.run.take() {
            let last_word = self.context.results.get(&id, self.kind);
            // A quiet end: what was said of a run stays until the pod is gone, except for
            // readiness, which a pod that ended has not.
            if self.kind == ProbeKind::Readiness && last_word.is_some() {
                self.context.results.remove(&id, self.kind);
            }
        }
    }

    /// Begins with another run; one that an engine before this one judged stays as it was.
    fn take_up(&mut self, id: &str) {
        match self.context.results.get(id, self.kind) {
            Some(known) => {
                self.on_hold = self.kind == ProbeKind::Startup && known != Verdict::Unknown;
            }
            None => {
                self.set(id, initial(self.kind));
                self.on_hold = false;
            }
        }
    }

    fn set(&self, id: &str, verdict: Verdict) {
        self.context.results.set(id, self.kind, verdict);
    }

    /// One round; false when the worker's work is over.
    async fn once(&mut self) -> bool {
        let (found, address) = {
            let status = self.context.status.borrow();
            if status.phase.is_terminal() {
                return false;
            }
            let Some(found) = status.container(&self.container.name) else { return true };
            (found.clone(), status.pod_ips.first().cloned().unwrap_or_default())
        };
        let Some(id) = found.container_id.clone() else { return true };
        if self.run.as_ref() != Some(&id) {
            if let Some(old) = self.run.replace(id.clone()) {
                self.context.results.remove(&old, self.kind);
            }
            self.take_up(&id);
        }
        if self.on_hold {
            return true;
        }
        let started_at = match &found.state {
            State::Running { started_at } => *started_at,
            other => {
                self.set(&id, Verdict::Failure);
                return self.comes_back(other);
            }
        };
        if *self.context.stopping.borrow() && self.kind != ProbeKind::Readiness {
            self.set(&id, Verdict::Success);
            return false;
        }
        if !self.due(&found, started_at) {
            return true;
        }
        if let Some(verdict) = self.attempt(&id, &address).await {
            self.count(&id, verdict);
        }
        true
    }

    fn comes_back(&self, state: &State) -> bool {
        match state {
            State::Terminated(end) => {
                self.context.pod.spec.restarts_after(&self.container, end.exit_code)
            }
            _ => true,
        }
    }

    /// Whether this probe is to run now: after its delay, and before or after the start-up.
    fn due(&self, found: &ContainerStatus, started_at: Timestamp) -> bool {
        let age = self.context.clock.now().since(started_at).as_secs();
        let started = found.started == Some(true);
        age >= u64::from(self.probe.initial_delay) && started != (self.kind == ProbeKind::Startup)
    }

    async fn attempt(&self, id: &str, address: &str) -> Option<Verdict> {
        let container = ProbedContainer { container: &self.container, id, address };
        let mut result = ProbeResult::Error(String::new());
        for _ in 0..TRIES {
            // Apart from the worker, which mostly waits for the next one: a request is large.
            result = Box::pin(check(&*self.context.cri, &self.probe, container)).await;
            if !matches!(result, ProbeResult::Error(_)) {
                break;
            }
        }
        let (events, name) = (&self.context.events, Some(self.container.name.as_str()));
        let kind = self.kind.as_str();
        match result {
            ProbeResult::Success(_) => Some(Verdict::Success),
            ProbeResult::Warning(text) => {
                events.warning(name, Reason::ProbeWarning, format!("{kind} probe warning: {text}"));
                Some(Verdict::Success)
            }
            ProbeResult::Failure(text) => {
                events.warning(name, Reason::Unhealthy, format!("{kind} probe failed: {text}"));
                Some(Verdict::Failure)
            }
            ProbeResult::Error(text) => {
                let message = format!("{kind} probe errored and resulted in unknown state: {text}");
                events.warning(name, Reason::Unhealthy, message);
                None
            }
        }
    }

    fn count(&mut self, id: &str, verdict: Verdict) {
        if self.last == Some(verdict) {
            self.in_a_row += 1;
        } else {
            self.last = Some(verdict);
            self.in_a_row = 1;
        }
        let threshold = match verdict {
            Verdict::Failure => self.probe.failure_threshold,
            _ => self.probe.success_threshold,
        };
        if self.in_a_row < threshold {
            return;
        }
        self.set(id, verdict);
        let fatal = self.kind == ProbeKind::Liveness && verdict == Verdict::Failure;
        if fatal || self.kind == ProbeKind::Startup {
            // The run is judged; the next one is probed again.
            self.on_hold = true;
            self.in_a_row = 0;
        }
    }
}

fn initial(kind: ProbeKind) -> Verdict {
    match kind {
        ProbeKind::Readiness => Verdict::Failure,
        ProbeKind::Liveness => Verdict::Success,
        ProbeKind::Startup => Verdict::Unknown,
    }
}
