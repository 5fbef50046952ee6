//! What a Job says beside its pods.

/// A Job, as the controller of Jobs acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// DNS subdomain.
    pub name: String,
    /// Of its pods.
    pub namespace: String,
    /// Pods that must succeed; none where one that does ends the Job with those beside it.
    pub completions: Option<u32>,
    /// Pods at a time, at least 1.
    pub parallelism: u32,
    /// Failures after which no pod is made any more.
    pub backoff_limit: u32,
    /// Seconds from its start until it is failed.
    pub active_deadline: Option<u32>,
    /// Seconds from its end until its pods are removed.
    pub ttl_after_finished: Option<u32>,
}
