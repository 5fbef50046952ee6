//! What an engine knows of a pod that the runtime could not tell it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::ephemeral::Ephemeral;
use crate::model::{Container, Pod};
use crate::probe::{ProbeKind, Verdict};
use crate::resize::Actuated;
use crate::status::{PodStatus, StartFailure, Terminated};

/// Waits and last errors of pulls, by image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulls {
    pub(crate) backoff: Backoff,
    pub(crate) errors: BTreeMap<String, String>,
}

/// A call that has not been answered for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCall {
    /// Of the runtime by its name, with what it is about: `PullImage a.test/web:1`; else in words.
    pub call: String,
    /// When it was made.
    pub since: Timestamp,
}

/// A call that has been answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneCall {
    /// As [`PendingCall::call`].
    pub call: String,
    /// When it was made.
    pub since: Timestamp,
    /// When it was answered.
    pub until: Timestamp,
}

/// How far the end of a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It has not begun.
    No,
    /// Nothing is started any more.
    Begun,
    /// Every container has ended; what the pod used may still be there.
    Done,
}

/// A pod as one engine leaves it and the next one takes it up: with it, the times of conditions,
/// the start time, back-offs, the last phase and readiness stay as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// As it was last published.
    pub status: PodStatus,
    /// How far its end has come.
    pub ending: Ending,
    pub(crate) crashes: Backoff,
    pub(crate) pulls: Pulls,
    pub(crate) failures: BTreeMap<String, StartFailure>,
    pub(crate) verdicts: Vec<(String, ProbeKind, Verdict)>,
    /// Calls that its worker waits for, once that takes long.
    #[serde(default)]
    pub pending: Vec<PendingCall>,
    /// What containers and the pod's own group have of CPU and memory.
    #[serde(default)]
    pub(crate) actuated: Actuated,
    /// Ephemeral containers that were added to it, in their order.
    #[serde(default)]
    pub ephemeral: Vec<Ephemeral>,
    /// The first calls that its workers have waited for, in the order of their answers.
    #[serde(default)]
    pub calls: Vec<DoneCall>,
    /// Its addresses, from the moment that its sandbox is made.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How runs ended that a restart of all containers has removed, and the restart count of those
    /// after them.
    #[serde(default)]
    pub(crate) before_restart: BTreeMap<String, (u32, Terminated)>,
}

impl PodState {
    /// Of a pod that was never taken up before `now`.
    pub fn new(pod: &Pod, now: Timestamp) -> Self {
        PodState {
            status: PodStatus::new(pod, now),
            ending: Ending::No,
            crashes: Backoff::default(),
            pulls: Pulls::default(),
            failures: BTreeMap::new(),
            verdicts: Vec::new(),
            pending: Vec::new(),
            actuated: Actuated::default(),
            ephemeral: Vec::new(),
            calls: Vec::new(),
            addresses: Vec::new(),
            before_restart: BTreeMap::new(),
        }
    }

    /// When the back-off of a container that ended then is over.
    pub fn next_start(&self, container: &Container, ended: Timestamp) -> Option<Timestamp> {
        self.crashes.ends_after(&crash_key(container), ended)
    }

    /// What the probes of a run have come to.
    pub fn verdicts(&self, run: &str) -> impl Iterator<Item = (ProbeKind, Verdict)> {
        let of_run = move |(id, kind, verdict): &(String, ProbeKind, Verdict)| {
            (id == run).then_some((*kind, *verdict))
        };
        self.verdicts.iter().filter_map(of_run)
    }

    /// When the back-off of an image that could not be pulled is over.
    pub fn next_pull(&self, image: &str) -> Option<Timestamp> {
        self.pulls.backoff.ends(image)
    }
}

/// What a container's back-off is kept under: another image or other limits are another container,
/// which starts afresh.
pub(crate) fn crash_key(container: &Container) -> String {
    format!("{}/{}/{:?}", container.name, container.image, container.resources)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::PodState;
    use crate::clock::{Clock, Timestamp};
    use crate::engine::{PodEngine, PodHandle};
    use crate::fake::{Exec, FakeCri, FakeNode, Life};
    use crate::status::{Phase, PodStatus};
    use crate::testing;

    /// A runtime over which engines are started one after the other.
    struct Restarts {
        cri: Arc<FakeCri>,
        clock: Clock,
    }

    impl Restarts {
        fn new() -> Restarts {
            let clock = Clock::virtual_from(Timestamp::from_nanos(1_800_000_000_000_000_000));
            Restarts { cri: Arc::new(FakeCri::new(clock.clone())), clock }
        }

        /// Another engine, as after the death of the one before.
        async fn engine(&self) -> PodEngine {
            let node = Arc::new(FakeNode::default());
            PodEngine::new(self.cri.clone(), node, self.clock.clone()).await.unwrap()
        }
    }

    async fn seconds(n: u64) {
        tokio::time::sleep(Duration::from_secs(n)).await;
    }

    /// What is on disk between two engines.
    fn read_back(pod: &PodHandle) -> PodState {
        let text = serde_json::to_string(&*pod.state().borrow()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn since(status: &PodStatus) -> Vec<(String, bool, Timestamp)> {
        status.conditions.iter().map(|c| (c.kind.clone(), c.status, c.since)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn taking_a_pod_over_resets_neither_readiness_nor_times() {
        let node = Restarts::new();
        node.cri.exec("probe", |_| Exec { takes: Duration::ZERO, result: Ok(0) });
        let probe = "{periodSeconds: 5, exec: {command: [probe]}}";
        let spec = format!(
            "  containers: [{{name: a, image: x:1, readinessProbe: {probe}, startupProbe: {probe}}}]
"
        );
        let first = node.engine().await;
        let pod = first.run(testing::pod(&spec));
        seconds(30).await;
        let before = pod.status().borrow().clone();
        assert!(before.is_ready());
        let second = node.engine().await;
        let taken = second.resume(testing::pod(&spec), read_back(&pod));
        let mut status = taken.status();
        for _ in 0..10 {
            assert!(status.borrow_and_update().is_ready(), "ready all the time");
            seconds(1).await;
        }
        let after = status.borrow().clone();
        assert_eq!(since(&after), since(&before));
        assert_eq!((after.start_time, after.containers), (before.start_time, before.containers));
    }

    #[tokio::test(start_paused = true)]
    async fn a_back_off_goes_on_where_the_engine_before_left_it() {
        let node = Restarts::new();
        node.cri.script("a", &[Life::ends(1, 1)]);
        let spec = "  containers: [{name: a, image: x:1}]\n";
        let first = node.engine().await;
        let pod = first.run(testing::pod(spec));
        seconds(50).await;
        let state = read_back(&pod);
        pod.stop(Some(0));
        pod.wait().await;
        let starts = node.cri.when("start a").len();
        let second = node.engine().await;
        let _taken = second.resume(testing::pod(spec), state);
        // Fifty seconds are four starts; the next wait is 40 s, a fresh engine would wait 10 s.
        seconds(25).await;
        let more = node.cri.when("start a").len() - starts;
        assert!(more <= 1, "{more} starts within 25 s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_phase_is_the_last_for_the_next_engine_too() {
        let node = Restarts::new();
        node.cri.script("a", &[Life::ends(1, 3)]);
        let spec = "  restartPolicy: Never
  containers: [{name: a, image: x:1}]
";
        let first = node.engine().await;
        let pod = first.run(testing::pod(spec));
        let ended = pod.wait().await;
        assert_eq!(ended.phase, Phase::Failed);
        let second = node.engine().await;
        let taken = second.resume(testing::pod(spec), read_back(&pod));
        let again = taken.wait().await;
        assert_eq!((again.phase, again.containers), (ended.phase, ended.containers));
        assert_eq!(node.cri.when("start a").len(), 1);
    }
}
