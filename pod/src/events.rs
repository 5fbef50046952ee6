//! What happened to a pod, in the kubelet's words.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};

/// Normal or a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// As expected.
    Normal,
    /// Not as expected.
    Warning,
}

/// The reasons that this crate gives (`pkg/kubelet/events/event.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reason {
    BackOff,
    ContainerGcFailed,
    Created,
    DeadlineExceeded,
    DnsConfigForming,
    Failed,
    FailedCreatePodSandBox,
    FailedKillPod,
    FailedMount,
    FailedPostStartHook,
    FailedPreStopHook,
    FreeDiskSpaceFailed,
    ImageGcFailed,
    InspectFailed,
    ErrImageNeverPull,
    Evicted,
    Killing,
    LifecycleHttpFallback,
    ProbeWarning,
    Pulled,
    Pulling,
    ResizeCompleted,
    ResizeError,
    ResizeStarted,
    SandboxChanged,
    Started,
    Unhealthy,
}

impl Reason {
    /// As printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BackOff => "BackOff",
            Reason::ContainerGcFailed => "ContainerGCFailed",
            Reason::Created => "Created",
            Reason::DeadlineExceeded => "DeadlineExceeded",
            Reason::DnsConfigForming => "DNSConfigForming",
            Reason::Failed => "Failed",
            Reason::FailedCreatePodSandBox => "FailedCreatePodSandBox",
            Reason::FailedKillPod => "FailedKillPod",
            Reason::FailedMount => "FailedMount",
            Reason::FailedPostStartHook => "FailedPostStartHook",
            Reason::FailedPreStopHook => "FailedPreStopHook",
            Reason::FreeDiskSpaceFailed => "FreeDiskSpaceFailed",
            Reason::ImageGcFailed => "ImageGCFailed",
            Reason::InspectFailed => "InspectFailed",
            Reason::ErrImageNeverPull => "ErrImageNeverPull",
            Reason::Evicted => "Evicted",
            Reason::Killing => "Killing",
            Reason::LifecycleHttpFallback => "LifecycleHTTPFallback",
            Reason::ProbeWarning => "ProbeWarning",
            Reason::Pulled => "Pulled",
            Reason::Pulling => "Pulling",
            Reason::ResizeCompleted => "ResizeCompleted",
            Reason::ResizeError => "ResizeError",
            Reason::ResizeStarted => "ResizeStarted",
            Reason::SandboxChanged => "SandboxChanged",
            Reason::Started => "Started",
            Reason::Unhealthy => "Unhealthy",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// How bad.
    pub level: Level,
    /// What kind.
    pub reason: Reason,
    /// The container it is about; `None` for the pod.
    pub container: Option<String>,
    /// The text.
    pub message: String,
}

/// `Warning BackOff web: Back-off restarting failed container …`
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.level, self.reason.as_str())?;
        if let Some(container) = &self.container {
            write!(f, " {container}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How many events a slow reader may lag behind before it misses the oldest.
const KEPT: usize = 1_024;

/// How many past events a new reader gets.
const HISTORY: usize = 256;

/// Where events go. Nobody waits for a reader, and a pod that has few events has no room for many.
#[derive(Clone, Debug)]
pub struct Recorder {
    clock: Clock,
    told: Arc<watch::Sender<Told>>,
}

/// The last events.
#[derive(Debug, Default)]
struct Told {
    /// How many came before the first of `last`.
    before: usize,
    last: VecDeque<Event>,
}

impl Told {
    /// How many there were before those that a new reader gets.
    fn history(&self) -> usize {
        self.before + self.last.len().saturating_sub(HISTORY)
    }

    fn push(&mut self, event: Event) {
        if self.last.len() == KEPT {
            self.last.pop_front();
            self.before += 1;
        }
        self.last.push_back(event);
    }
}

impl Recorder {
    /// A recorder without readers.
    pub fn new(clock: Clock) -> Self {
        Recorder { clock, told: Arc::default() }
    }

    /// A reader of what was recorded, up to the last 256 events, and of what will be.
    pub fn subscribe(&self) -> Events {
        let told = self.told.subscribe();
        let next = told.borrow().history();
        Events { told, next }
    }

    /// Records what is as expected.
    pub fn normal(&self, container: Option<&str>, reason: Reason, message: impl Into<String>) {
        self.record(Level::Normal, container, reason, message.into());
    }

    /// Records what is not.
    pub fn warning(&self, container: Option<&str>, reason: Reason, message: impl Into<String>) {
        self.record(Level::Warning, container, reason, message.into());
    }

    fn record(&self, level: Level, container: Option<&str>, reason: Reason, message: String) {
        let container = container.map(str::to_owned);
        let event = Event { at: self.clock.now(), level, reason, container, message };
        self.told.send_modify(|told| told.push(event));
    }
}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// So many were lost: they came faster than they were read.
    Lost(usize),
    /// The pod is over, and all were read.
    Over,
}

/// A reader of a pod's events.
#[derive(Debug)]
pub struct Events {
    told: watch::Receiver<Told>,
    /// How many there were before the next one.
    next: usize,
}

impl Events {
    /// The next event.
    ///
    /// # Errors
    /// How many were missed, once; that the pod is over.
    pub async fn recv(&mut self) -> Result<Event, Missed> {
        loop {
            if let Some(next) = self.read() {
                return next;
            }
            if self.told.changed().await.is_err() {
                // The last ones may have come since.
                return self.read().unwrap_or(Err(Missed::Over));
            }
        }
    }

    /// The next event if there is one now.
    pub fn next_now(&mut self) -> Option<Event> {
        loop {
            match self.read()? {
                Ok(event) => return Some(event),
                Err(Missed::Lost(lost)) => {
                    tracing::warn!("{lost} events came faster than they were read");
                }
                Err(Missed::Over) => return None,
            }
        }
    }

    fn read(&mut self) -> Option<Result<Event, Missed>> {
        let told = self.told.borrow_and_update();
        let lost = told.before.saturating_sub(self.next);
        if lost > 0 {
            self.next = told.before;
            return Some(Err(Missed::Lost(lost)));
        }
        let event = told.last.get(self.next - told.before)?.clone();
        self.next += 1;
        Some(Ok(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(recorder: &Recorder, events: std::ops::Range<usize>) {
        events.for_each(|n| recorder.normal(None, Reason::Pulled, n.to_string()));
    }

    #[tokio::test]
    async fn a_reader_gets_the_last_256_then_each_new_one_once_and_then_the_end() {
        let recorder = Recorder::new(Clock::system());
        record(&recorder, 0..300);
        let mut events = recorder.subscribe();
        record(&recorder, 300..301);
        for n in 44..301 {
            assert_eq!(events.recv().await.unwrap().message, n.to_string());
        }
        assert_eq!(events.next_now(), None);
        record(&recorder, 301..302);
        drop(recorder);
        assert_eq!(events.recv().await.unwrap().message, "301");
        assert_eq!(events.recv().await, Err(Missed::Over));
    }

    #[tokio::test]
    async fn a_reader_that_lags_is_told_how_many_it_missed_and_goes_on_with_the_oldest() {
        let recorder = Recorder::new(Clock::system());
        let mut events = recorder.subscribe();
        record(&recorder, 0..KEPT + 7);
        assert_eq!(events.recv().await, Err(Missed::Lost(7)));
        assert_eq!(events.recv().await.unwrap().message, "7");
    }

    #[test]
    fn a_pod_without_events_has_no_room_for_them() {
        let recorder = Recorder::new(Clock::system());
        let _events = recorder.subscribe();
        assert_eq!(recorder.told.borrow().last.capacity(), 0);
    }
}
