//! Phases of pods and of containers: one enum each, with one table of transitions each.

use serde::{Deserialize, Serialize};

/// Where a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodPhase {
    /// Half-made: in no list, taken back by whoever finds it without its maker.
    Making,
    /// Takes containers.
    Ready,
    /// Its shim is gone or it is being stopped; what is left of it still stands.
    Ending,
    /// Nothing runs, no namespace and no address is held.
    Stopped,
    /// Being removed: in no list.
    Removing,
}

impl PodPhase {
    /// Whether a pod may go from here to `next`.
    pub fn may_become(self, next: PodPhase) -> bool {
        use PodPhase::{Ending, Making, Ready, Removing, Stopped};
        matches!(
            (self, next),
            (Making, Ready | Removing)
                | (Ready, Ending | Stopped)
                | (Ending, Stopped)
                | (Stopped, Removing)
        )
    }

    /// Whether clients see it.
    pub fn is_listed(self) -> bool {
        matches!(self, PodPhase::Ready | PodPhase::Ending | PodPhase::Stopped)
    }
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerPhase {
    /// Half-made: in no list, taken back by whoever finds it without its maker.
    Making,
    /// Its init waits.
    Created,
    /// Its program runs.
    Running,
    /// It has ended; its exit is on record.
    Exited,
    /// Being removed: in no list.
    Removing,
}

impl ContainerPhase {
    /// Whether a container may go from here to `next`.
    pub fn may_become(self, next: ContainerPhase) -> bool {
        use ContainerPhase::{Created, Exited, Making, Removing, Running};
        matches!(
            (self, next),
            (Making, Created | Removing)
                | (Created, Running | Exited)
                | (Running, Exited)
                | (Exited, Removing)
        )
    }

    /// Whether clients see it.
    pub fn is_listed(self) -> bool {
        matches!(self, ContainerPhase::Created | ContainerPhase::Running | ContainerPhase::Exited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_moves_only_forward() {
        use PodPhase::*;
        let all = [Making, Ready, Ending, Stopped, Removing];
        for (i, from) in all.into_iter().enumerate() {
            for to in &all[..=i] {
                assert!(!from.may_become(*to), "{from:?} -> {to:?}");
            }
        }
        assert!(!Ready.may_become(Removing), "a pod is stopped before it is removed");
        assert!(!Making.may_become(Stopped));
    }

    #[test]
    fn a_container_moves_only_forward() {
        use ContainerPhase::*;
        let all = [Making, Created, Running, Exited, Removing];
        for (i, from) in all.into_iter().enumerate() {
            for to in &all[..=i] {
                assert!(!from.may_become(*to), "{from:?} -> {to:?}");
            }
        }
        assert!(!Running.may_become(Removing));
        assert!(Created.may_become(Exited), "a start that cannot execute ends the container");
    }
}
