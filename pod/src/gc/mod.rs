//! Which dead runs and sandboxes are too many (`kuberuntime_gc.go`).
//!
//! Two collect, as at the kubelet. A pod's worker removes at once what of a container is dead and not
//! among the newest ([`surplus_runs`], `pod_container_deletor.go`); once a minute the supervision
//! collects over all pods of the machine by the [`policy`]. Both leave a tombstone of each run that
//! they remove ([`removal`]).
//!
//! Images are not collected here: they belong to every pod of the machine, and to whoever owns
//! the image store.

pub mod policy;
pub(crate) mod removal;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::sync::observe::{Observed, Run, RunState, Sandbox};

/// How long after its end a run is kept in any case: the kubelet collects once a minute, so that
/// whoever follows a log reads the output of a run to its end, however short the run was.
const FRESH: Duration = Duration::from_secs(10);

/// Runs of a pod to remove at once: all dead ones of a container but the newest `kept`. A run that was
/// made and never started is dead as soon as a newer one is there.
pub(crate) fn surplus_runs(seen: &Observed, kept: usize, now: Timestamp) -> Vec<&Run> {
    let mut newer: BTreeMap<&str, usize> = BTreeMap::new();
    let mut dead: BTreeMap<&str, usize> = BTreeMap::new();
    let mut surplus = Vec::new();
    for run in &seen.runs {
        let is_dead = match run.state {
            RunState::Exited => true,
            RunState::Created => newer.contains_key(run.name.as_str()),
            RunState::Running | RunState::Unknown => false,
        };
        *newer.entry(&run.name).or_default() += 1;
        if is_dead {
            let count = dead.entry(&run.name).or_default();
            *count += 1;
            let ended = run.finished_at.max(run.created_at);
            if *count > kept && now.since(ended) >= FRESH {
                surplus.push(run);
            }
        }
    }
    surplus
}

/// Sandboxes to remove: those that are over and empty, except the newest, whose attempt counts.
pub(crate) fn sandboxes(seen: &Observed) -> Vec<&Sandbox> {
    let empty = |s: &&Sandbox| !s.ready && !seen.runs.iter().any(|run| run.sandbox == s.id);
    seen.sandboxes.iter().skip(1).filter(empty).collect()
}
