//! The removal of one dead container: its tombstone, its log, itself.

use rrun_cri_api::{Cri, v1};
use tonic::Code;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::Meta;
use crate::node::Node;
use crate::sync::observe::{Run, RunState};
use crate::sync::termination_messages::{LOG_WINDOW, log_end};
use crate::tombstone::{Cause, Tombstone};

/// The time that a container gets to end which the runtime does not know to have ended, in seconds.
const GRACE: i64 = 2;

/// What a container is removed from.
pub(crate) struct Removal<'a> {
    /// The runtime.
    pub cri: &'a dyn Cri,
    /// The node with its log.
    pub node: &'a dyn Node,
    /// Its pod.
    pub pod: &'a Meta,
    /// Now.
    pub now: Timestamp,
}

impl Removal<'_> {
    /// Removes a run. The log goes before its container: a container without a log is harmless, a log
    /// without a container is never found again.
    pub async fn remove(&self, run: &Run, cause: Cause) -> Result<()> {
        if run.state == RunState::Unknown {
            self.stop(run).await?;
        }
        if let Err(e) = self.leave_tombstone(run, cause).await {
            // A full disk is no reason to keep what fills it.
            tracing::warn!(pod = %self.pod.name, "tombstone of {}: {e}", run.name);
        }
        if !run.log_path.as_os_str().is_empty() {
            self.node.remove_log(&run.log_path).await?;
        }
        self.remove_container(run).await
    }

    /// Removes a run, and leaves its log.
    pub async fn remove_container(&self, run: &Run) -> Result<()> {
        let request = v1::RemoveContainerRequest { container_id: run.id.clone() };
        match self.cri.remove_container(request).await {
            Err(e) if e.code() != Code::NotFound => {
                Err(Error::status(format!("remove {}", run.name), &e))
            }
            _ => Ok(()),
        }
    }

    /// It may be running.
    async fn stop(&self, run: &Run) -> Result<()> {
        let request = v1::StopContainerRequest { container_id: run.id.clone(), timeout: GRACE };
        match self.cri.stop_container(request).await {
            Err(e) if e.code() != Code::NotFound => {
                let what = format!(
                    "Container is in unknown state, try killing it before removal: stop {}",
                    run.name
                );
                Err(Error::status(what, &e))
            }
            _ => Ok(()),
        }
    }

    /// Puts on record what is about to be removed.
    pub async fn leave_tombstone(&self, run: &Run, cause: Cause) -> Result<()> {
        let log_end = if run.log_path.as_os_str().is_empty() {
            String::new()
        } else {
            let log = self.node.read_tail(&run.log_path, LOG_WINDOW).await;
            log.map_or_else(|e| format!("({e})\n"), |log| log_end(&log))
        };
        let ended = run.state == RunState::Exited;
        self.node
            .leave_tombstone(Tombstone {
                id: run.id.clone(),
                container: run.name.clone(),
                namespace: self.pod.namespace.clone(),
                pod: self.pod.name.clone(),
                uid: self.pod.uid.to_string(),
                image: run.image.clone(),
                restart_count: run.restart_count,
                ended,
                exit_code: run.exit_code,
                reason: run.reason.clone(),
                message: run.message.clone(),
                created_at: run.created_at,
                started_at: run.started_at,
                finished_at: run.finished_at,
                removed_at: self.now,
                cause,
                log_end,
            })
            .await
    }
}
