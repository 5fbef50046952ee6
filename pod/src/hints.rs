//! The runtime's events: to the pod that one is about it is a reason to look at once, and not only when
//! lists are looked at again. To others it is none, as looking costs the runtime two lists.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use rrun_cri_api::{Cri, v1};
use tokio::sync::watch;
use tonic::Code;

use crate::ids::PodUid;

/// When a broken event stream is opened again.
const AGAIN: Duration = Duration::from_secs(5);

/// What a pod is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hint {
    /// How often something has happened to it.
    happened: u64,
    /// Whether it will be told of what happens.
    pub streamed: bool,
}

/// Who is told, by the pod that they work on.
#[derive(Default)]
pub(crate) struct Hints(Mutex<All>);

#[derive(Default)]
struct All {
    streamed: bool,
    told: BTreeMap<String, watch::Sender<Hint>>,
}

impl Hints {
    /// Changes when something has happened to this pod, and when events begin or cease to come.
    pub fn of(&self, pod: &PodUid) -> watch::Receiver<Hint> {
        let mut all = self.lock();
        all.told.retain(|_, told| told.receiver_count() > 0);
        let now = Hint { happened: 0, streamed: all.streamed };
        let told = all.told.entry(pod.as_str().to_owned());
        told.or_insert_with(|| watch::Sender::new(now)).subscribe()
    }

    /// Tells those whom an event is about: all, if it does not say which pod it is of.
    fn tell(&self, event: &v1::ContainerEventResponse) {
        let status = event.pod_sandbox_status.as_ref();
        let uid = status.and_then(|status| status.metadata.as_ref()).map(|pod| pod.uid.as_str());
        let all = self.lock();
        match uid.filter(|uid| !uid.is_empty()) {
            Some(uid) => all.told.get(uid).into_iter().for_each(happened),
            None => all.told.values().for_each(happened),
        }
    }

    /// Tells all that events come from now on, or no longer: what happened before, or while none came,
    /// nobody has told.
    fn set_streamed(&self, streamed: bool) {
        let mut all = self.lock();
        all.streamed = streamed;
        for told in all.told.values() {
            told.send_modify(|hint| hint.streamed = streamed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn happened(told: &watch::Sender<Hint>) {
    told.send_modify(|hint| hint.happened += 1);
}

/// Passes on the runtime's events for ever. A runtime without events is polled.
pub(crate) async fn listen(cri: Arc<dyn Cri>, hints: Arc<Hints>) {
    loop {
        match cri.get_container_events(v1::GetEventsRequest {}).await {
            Ok(mut stream) => {
                hints.set_streamed(true);
                while let Some(Ok(event)) = stream.next().await {
                    hints.tell(&event);
                }
                hints.set_streamed(false);
            }
            Err(e) if e.code() == Code::Unimplemented => return,
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(uid: &str) -> v1::ContainerEventResponse {
        let metadata = Some(v1::PodSandboxMetadata { uid: uid.to_owned(), ..Default::default() });
        let pod = v1::PodSandboxStatus { metadata, ..Default::default() };
        v1::ContainerEventResponse { pod_sandbox_status: Some(pod), ..Default::default() }
    }

    #[test]
    fn an_event_is_a_hint_to_its_own_pod_and_one_that_names_none_to_all() {
        let hints = Hints::default();
        let [one, other] = ["one", "other"].map(|uid| hints.of(&PodUid::parse(uid).unwrap()));
        let told = |event: &v1::ContainerEventResponse| {
            let mut both = [one.clone(), other.clone()];
            both.iter_mut().for_each(watch::Receiver::mark_unchanged);
            hints.tell(event);
            both.map(|pod| pod.has_changed().unwrap())
        };
        assert_eq!(told(&event("one")), [true, false]);
        assert_eq!(told(&event("stranger")), [false, false]);
        assert_eq!(told(&event("")), [true, true]);
        assert_eq!(told(&v1::ContainerEventResponse::default()), [true, true]);
    }

    #[test]
    fn pods_that_nobody_works_on_any_more_are_forgotten() {
        let hints = Hints::default();
        let [one, other] = ["one", "other"].map(|uid| PodUid::parse(uid).unwrap());
        drop(hints.of(&one));
        let _kept = hints.of(&other);
        assert_eq!(hints.lock().told.keys().collect::<Vec<_>>(), ["other"]);
    }
}
