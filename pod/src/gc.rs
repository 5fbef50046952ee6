//! Which dead runs and sandboxes of a pod are too many (`kuberuntime_gc.go`, with its defaults: one
//! dead run of each container is kept, for its log and its last state). Pure.
//!
//! A run that has just ended is kept as well: the kubelet collects once a minute, so that whoever
//! follows a log reads the output of a run to its end, however short the run was.
//!
//! Images are not collected here: they belong to every pod of the machine, and to whoever owns
//! the image store.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::sync::observe::{Observed, Run, RunState, Sandbox};

/// Dead runs of each container that are kept.
const KEPT: usize = 1;

/// How long after its end a run is kept in any case.
const FRESH: Duration = Duration::from_secs(10);

/// Runs to remove: all dead ones of a container but the newest. A run that was made and never
/// started is dead as soon as a newer one is there.
pub fn runs(seen: &Observed, now: Timestamp) -> Vec<&Run> {
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
            if *count > KEPT && now.since(ended) >= FRESH {
                surplus.push(run);
            }
        }
    }
    surplus
}

/// Sandboxes to remove: those that are over and empty, except the newest, whose attempt counts.
pub fn sandboxes(seen: &Observed) -> Vec<&Sandbox> {
    let empty = |s: &&Sandbox| !s.ready && !seen.runs.iter().any(|run| run.sandbox == s.id);
    seen.sandboxes.iter().skip(1).filter(empty).collect()
}
