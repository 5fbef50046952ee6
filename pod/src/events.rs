//! What happened to a pod, in the kubelet's words.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

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
const CAPACITY: usize = 1_024;

/// How many past events a new reader gets.
const HISTORY: usize = 256;

/// Where events go. Nobody waits for a reader.
#[derive(Clone, Debug)]
pub struct Recorder {
    clock: Clock,
    sender: broadcast::Sender<Event>,
    history: Arc<Mutex<VecDeque<Event>>>,
}

impl Recorder {
    /// A recorder without readers.
    pub fn new(clock: Clock) -> Self {
        Recorder { clock, sender: broadcast::Sender::new(CAPACITY), history: Default::default() }
    }

    /// A reader of what was recorded, up to the last 256 events, and of what will be.
    pub fn subscribe(&self) -> Events {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        Events { past: history.clone(), live: self.sender.subscribe() }
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
        // Sent under the lock: a reader that begins now gets it once, from here or from there.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        // No reader is no error.
        let _ = self.sender.send(event);
    }
}

/// A reader of a pod's events.
#[derive(Debug)]
pub struct Events {
    past: VecDeque<Event>,
    live: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event.
    ///
    /// # Errors
    /// `Lagged` with how many were missed; `Closed` when the pod is over.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        match self.past.pop_front() {
            Some(event) => Ok(event),
            None => self.live.recv().await,
        }
    }

    /// The next event if there is one now.
    pub fn next_now(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        loop {
            match self.live.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(lost)) => {
                    tracing::warn!("{lost} events came faster than they were read");
                }
                Err(_) => return None,
            }
        }
    }
}
