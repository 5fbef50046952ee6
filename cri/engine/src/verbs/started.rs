//! A start comes on record: by the shim's answer to it, by its report after a connection was lost, or
//! by the exit record of a container that has ended since.

use super::ContainerAt;
use crate::blocking::blocking;
use crate::error::{Context, Result};
use crate::event::EventKind;
use crate::phase::ContainerPhase;
use crate::record::ContainerRecord;
use crate::steps::run_step;
use rrun_shim_protocol::exit_record;

impl ContainerAt {
    /// Puts a start on record and tells it; a second time is done. Only within the pod's queue.
    pub(crate) async fn has_started(&self, started_at: i64) -> Result<()> {
        if self.container.record().phase != ContainerPhase::Created {
            return Ok(());
        }
        let change = |record: &mut ContainerRecord| {
            record.phase = ContainerPhase::Running;
            record.started_at = started_at;
        };
        // Until this is on disk, a later daemon learns of it from the shim.
        self.container.record.note(change)?;
        self.at.tell(EventKind::Started, Some(&self.container.id));
        Ok(())
    }

    /// The same for a start that was told otherwise than by the answer to it.
    pub(crate) async fn note_start(&self, started_at: i64) {
        let start = self.has_started(started_at);
        if let Err(error) = run_step("engine.reconnect.running", start).await {
            tracing::warn!(container = %self.container.id, %error, "start is not on record");
        }
    }

    /// The same for a container whose end is heard of before the answer to its start.
    pub(crate) async fn note_start_before_end(&self) {
        if self.container.record().phase != ContainerPhase::Created {
            return;
        }
        let (run, id) = (self.at.pod.dirs.run.clone(), self.container.id.clone());
        let read = blocking(move || {
            exit_record::read(&run, id.as_str()).context(|| format!("exit record of {id}"))
        });
        if let Ok(Some((started_at @ 1.., _))) = read.await {
            self.note_start(started_at).await;
        }
    }
}
