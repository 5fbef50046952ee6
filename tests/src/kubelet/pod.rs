//! What a pod of the suite is.

/// A pod.
#[derive(Clone, Copy)]
pub struct Pod {
    /// Its name.
    pub name: &'static str,
    /// The states that it comes to, as [`super::history`] writes them in a row.
    pub rows: &'static [&'static str],
    /// The manifest below `spec`.
    pub spec: &'static str,
}

/// The last state of a pod with one container, `main`.
pub(super) const SUCCEEDED: &str =
    "Succeeded, not ContainersReady: PodCompleted | main Completed 0 r0";
pub(super) const RUNNING: &str = "Running ready | main running r0";
