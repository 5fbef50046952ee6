//! What happened to a pod, in the kubelet's words.

use std::fmt;

use tokio::sync::broadcast;

use crate::clock::{Clock, Timestamp};

/// Normal or a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As expected.
    Normal,
    /// Not as expected.
    Warning,
}

/// The reasons that this crate gives (`pkg/kubelet/events/event.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    BackOff,
    Created,
    DeadlineExceeded,
    DnsConfigForming,
    Failed,
    FailedCreatePodSandBox,
    FailedKillPod,
    FailedMount,
    FailedPostStartHook,
    FailedPreStopHook,
    FailedSync,
    InspectFailed,
    ErrImageNeverPull,
    Killing,
    LifecycleHttpFallback,
    ProbeWarning,
    Pulled,
    Pulling,
    SandboxChanged,
    Started,
    Unhealthy,
}

impl Reason {
    /// As printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BackOff => "BackOff",
            Reason::Created => "Created",
            Reason::DeadlineExceeded => "DeadlineExceeded",
            Reason::DnsConfigForming => "DNSConfigForming",
            Reason::Failed => "Failed",
            Reason::FailedCreatePodSandBox => "FailedCreatePodSandBox",
            Reason::FailedKillPod => "FailedKillPod",
            Reason::FailedMount => "FailedMount",
            Reason::FailedPostStartHook => "FailedPostStartHook",
            Reason::FailedPreStopHook => "FailedPreStopHook",
            Reason::FailedSync => "FailedSync",
            Reason::InspectFailed => "InspectFailed",
            Reason::ErrImageNeverPull => "ErrImageNeverPull",
            Reason::Killing => "Killing",
            Reason::LifecycleHttpFallback => "LifecycleHTTPFallback",
            Reason::ProbeWarning => "ProbeWarning",
            Reason::Pulled => "Pulled",
            Reason::Pulling => "Pulling",
            Reason::SandboxChanged => "SandboxChanged",
            Reason::Started => "Started",
            Reason::Unhealthy => "Unhealthy",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Where events go. Nobody waits for a reader.
#[derive(Clone, Debug)]
pub struct Recorder {
    clock: Clock,
    sender: broadcast::Sender<Event>,
}

impl Recorder {
    /// A recorder without readers.
    pub fn new(clock: Clock) -> Self {
        Recorder { clock, sender: broadcast::Sender::new(CAPACITY) }
    }

    /// A reader of what is recorded from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
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
        // No reader is no error.
        let _ = self.sender.send(Event { at: self.clock.now(), level, reason, container, message });
    }
}
