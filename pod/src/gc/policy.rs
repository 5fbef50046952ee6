//! Which dead containers of all pods are too many: a pure function.
//!
//! A unit is what a pod has of one container. First each unit keeps its newest ones; then, if there
//! are still too many in all, each keeps an equal share, at least one; then the oldest of all go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::go_duration;
use crate::tombstone::Cause;

const SECOND: i64 = 1_000_000_000;

/// How many dead containers are kept, and how old they must be to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcPolicy {
    /// Nanoseconds since a container was made.
    min_age: i64,
    /// Of one container; `None` for any number.
    per_container: Option<usize>,
    /// Of all pods together; `None` for any number.
    total: Option<usize>,
}

/// `--minimum-container-ttl-duration=1m --maximum-dead-containers-per-container=2
/// --maximum-dead-containers=100`.
impl Default for GcPolicy {
    fn default() -> Self {
        GcPolicy { min_age: 60 * SECOND, per_container: Some(2), total: Some(100) }
    }
}

impl GcPolicy {
    /// By the kubelet's three values. `min_age` is in nanoseconds; a negative number of containers is
    /// no limit, and 0 keeps none.
    ///
    /// # Errors
    /// `Invalid` for a negative age, as the kubelet says it.
    pub fn new(min_age: i64, per_container: i32, total: i32) -> Result<GcPolicy> {
        if min_age < 0 {
            let age = go_duration::format(min_age);
            let text = format!("invalid minimum garbage collection age: {age}");
            return Err(Error::new(Kind::Invalid, text));
        }
        let limit = |n: i32| usize::try_from(n).ok();
        Ok(GcPolicy { min_age, per_container: limit(per_container), total: limit(total) })
    }

    /// How many dead runs of a container its pod's worker leaves: one at least, which has the
    /// container's last state (`minDeadContainerInPod`), also where any number may stay.
    pub(crate) fn kept_at_once(&self) -> usize {
        self.per_container.unwrap_or(0).max(1)
    }
}

/// A container that does not run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dead {
    /// Its pod's uid.
    pub pod: String,
    /// Its name in the pod.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// When it was made: the kubelet counts from there, not from the end.
    pub created_at: Timestamp,
}

type Units<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Dead>>;

/// The dead containers to remove, each unit's oldest first, and why.
pub fn surplus<'a>(policy: &GcPolicy, dead: &'a [Dead], now: Timestamp) -> Vec<(&'a Dead, Cause)> {
    let newest = now.nanos().saturating_sub(policy.min_age);
    let mut units = Units::new();
    for one in dead.iter().filter(|one| one.created_at.nanos() <= newest) {
        units.entry((one.pod.as_str(), one.name.as_str())).or_default().push(one);
    }
    units.values_mut().for_each(|unit| newest_first(unit));
    let mut gone = Vec::new();
    if let Some(kept) = policy.per_container {
        trim(&mut units, kept, &Cause::PerContainer { kept }, &mut gone);
    }
    let Some(maximum) = policy.total.filter(|maximum| count(&units) > *maximum) else {
        return gone;
    };
    let share = (maximum / units.len()).max(1);
    trim(&mut units, share, &Cause::Share { maximum, share }, &mut gone);
    let mut all: Vec<&Dead> = units.into_values().flatten().collect();
    newest_first(&mut all);
    while all.len() > maximum {
        gone.extend(all.pop().map(|one| (one, Cause::Oldest { maximum })));
    }
    gone
}

fn newest_first(containers: &mut [&Dead]) {
    containers.sort_by_key(|one| std::cmp::Reverse(one.created_at));
}

fn count(units: &Units<'_>) -> usize {
    units.values().map(Vec::len).sum()
}

/// Takes the oldest of each unit until `kept` are left.
fn trim<'a>(units: &mut Units<'a>, kept: usize, cause: &Cause, gone: &mut Vec<(&'a Dead, Cause)>) {
    for unit in units.values_mut() {
        while unit.len() > kept {
            gone.extend(unit.pop().map(|one| (one, cause.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
