//! A pod in one line.

use crate::age;
use crate::context::Context;
use rrun_pod::clock::{Clock, Timestamp};
use rrun_pod::state::Ending;
use rrun_pod::status::{PodStatus, Summary, summarize};
use rrun_pod::supervise::Entry;

/// What lists say of a pod.
pub struct Row {
    pub namespace: String,
    pub name: String,
    pub ready: String,
    pub status: String,
    pub restarts: u32,
    /// When a container last ended that was started again.
    pub restarted: Option<Timestamp>,
    pub since: Option<Timestamp>,
    pub ip: String,
    pub node: String,
    pub uid: String,
    /// Which runtime has it.
    pub endpoint: String,
}

impl Row {
    pub async fn of(context: &Context, pod: &Entry) -> Row {
        let attended = pod.phase().is_terminal() || context.store.is_locked(pod).await;
        let state = pod.state.as_ref();
        let summary = state.zip(pod.pod().ok()).map(|(state, defined)| {
            summarize(&defined.spec, &state.status, state.ending != Ending::No)
        });
        let (ready, restarts, mut status) = match summary {
            Some(Summary { ready, total, reason, restarts }) => {
                (format!("{ready}/{total}"), restarts, reason)
            }
            None => ("0/0".to_owned(), 0, pod.phase().as_str().to_owned()),
        };
        // What runs without its rrun is not probed and not restarted.
        if !attended {
            status = "Unattended".to_owned();
        }
        let or_none = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), String::clone);
        Row {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            ready,
            status,
            restarts,
            restarted: state.and_then(|state| restarted(&state.status)),
            since: state.map(|state| state.status.start_time),
            ip: or_none(state.and_then(|state| state.status.pod_ips.first())),
            node: or_none(state.and_then(|state| state.status.host_ips.first())),
            uid: pod.uid.to_string(),
            endpoint: or_none(pod.definition.endpoint.as_ref()),
        }
    }

    /// How long it has been there.
    pub fn age(&self) -> String {
        self.since.map_or_else(|| "-".to_owned(), ago)
    }

    /// Restarts as kubectl has them: `3 (5m ago)`.
    pub fn restarts_ago(&self) -> String {
        match self.restarted.filter(|_| self.restarts > 0) {
            Some(at) => format!("{} ({} ago)", self.restarts, ago(at)),
            None => self.restarts.to_string(),
        }
    }
}

fn ago(at: Timestamp) -> String {
    age::of(Clock::system().now().since(at))
}

fn restarted(status: &PodStatus) -> Option<Timestamp> {
    let all = status.init_containers.iter().chain(&status.containers);
    all.filter_map(|container| Some(container.last.as_ref()?.finished_at)).max()
}
