//! What the probes of a pod have found.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// `livenessProbe`
    Liveness,
    /// `readinessProbe`
    Readiness,
    /// `startupProbe`
    Startup,
}

impl ProbeKind {
    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Startup => "Startup",
        }
    }
}

/// What counts of a probe, thresholds applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Not known yet (startup probes before the first threshold).
    Unknown,
    /// It succeeded often enough.
    Success,
    /// It failed often enough.
    Failure,
}

/// Verdicts by run and kind; a change can be waited for.
#[derive(Debug, Default)]
pub struct Results {
    verdicts: Mutex<HashMap<(String, ProbeKind), Verdict>>,
    version: watch::Sender<u64>,
}

impl Results {
    /// What another engine found out before.
    pub fn restored(verdicts: Vec<(String, ProbeKind, Verdict)>) -> Self {
        let verdicts = verdicts.into_iter().map(|(id, kind, verdict)| ((id, kind), verdict));
        Results { verdicts: Mutex::new(verdicts.collect()), version: watch::Sender::new(0) }
    }

    /// All verdicts, sorted.
    pub fn all(&self) -> Vec<(String, ProbeKind, Verdict)> {
        let mut all: Vec<_> = self.with(|all| {
            all.iter().map(|((id, kind), verdict)| (id.clone(), *kind, *verdict)).collect()
        });
        all.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        all
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<(String, ProbeKind), Verdict>) -> T) -> T {
        work(&mut self.verdicts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The verdict on a run.
    pub fn get(&self, id: &str, kind: ProbeKind) -> Option<Verdict> {
        self.with(|all| all.get(&(id.to_owned(), kind)).copied())
    }

    /// Sets a verdict; a new one wakes who waits.
    pub fn set(&self, id: &str, kind: ProbeKind, verdict: Verdict) {
        let before = self.with(|all| all.insert((id.to_owned(), kind), verdict));
        if before != Some(verdict) {
            self.version.send_modify(|v| *v += 1);
        }
    }

    /// Forgets a run.
    pub fn remove(&self, id: &str, kind: ProbeKind) {
        self.with(|all| all.remove(&(id.to_owned(), kind)));
    }

    /// Changes with each new verdict.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
