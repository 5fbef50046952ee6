//! The way to the runtime of a pod that another process may run.

use std::sync::Arc;

use async_trait::async_trait;
use rrun_cri_api::Cri;

use super::store::{Entry, LockedPod};
use crate::error::Result;

/// How the runtime of any pod on record is reached.
#[async_trait]
pub trait Reach: Send + Sync {
    /// The runtime that has the pod.
    async fn reach(&self, pod: &Entry) -> Result<Reached>;
}

/// A runtime with a pod in it.
pub struct Reached {
    /// The runtime.
    pub cri: Arc<dyn Cri>,
    /// The pod, where nobody else works on it.
    pub locked: Option<LockedPod>,
}
