//! Checkpoints whose daemon has ended: criu may work on, and nobody waits for what it makes.

use super::folder::{self, Folder};
use crate::blocking::blocking;
use crate::dirs;
use crate::error::Result;
use crate::id::ContainerId;
use crate::steps::run_step;
use crate::verbs::PodAt;
use std::path::PathBuf;
use std::time::Duration;
use tracing::Instrument;

/// Between two looks at whether criu has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// Has the checkpoints of a pod removed that an earlier process has left, each as soon as its criu has
/// ended. Until then nothing is executed in the container, and no other checkpoint made.
pub(crate) async fn take_over(at: &PodAt) {
    let dirs = at.pod.dirs.clone();
    let found = match blocking(move || folder::all(&dirs)).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!(pod = %at.pod.id, %error, "its checkpoints"),
    };
    for (id, temporary) in found {
        let rows = at.engine.table.containers_of(&at.pod.id);
        let container = rows.into_iter().find(|container| container.id == id);
        let barred = container.as_ref().and_then(|container| container.sessions.bar().ok());
        let cgroup = container.map(|container| container.record().cgroup.clone());
        let (at, span) = (at.clone(), at.span("CheckpointContainer"));
        span.record("container", tracing::field::display(&id));
        let removed = async move {
            let removed = remove(&at, &id, (temporary, cgroup)).await;
            if let Err(error) = removed {
                tracing::warn!(container = %id, %error, "a checkpoint is not removed");
            }
            drop(barred);
        };
        tokio::spawn(removed.instrument(span));
    }
}

async fn remove(
    at: &PodAt,
    id: &ContainerId,
    (temporary, cgroup): (Option<PathBuf>, Option<String>),
) -> Result<()> {
    // Nobody writes that one any more, whatever criu does.
    if let Some(temporary) = temporary {
        blocking(move || dirs::remove_file(&temporary)).await?;
    }
    let folder = Folder::of(&at.pod.dirs, id);
    let lock = loop {
        let tried = folder.clone();
        match blocking(move || tried.lock()).await? {
            Some(lock) => break lock,
            None => tokio::time::sleep(PAUSE).await,
        }
    };
    if let Some(cgroup) = cgroup {
        // criu may have been killed.
        at.engine.ports.host.thaw_group(&cgroup).await?;
    }
    run_step("engine.recover.checkpoint", blocking(move || folder.remove(None))).await?;
    drop(lock);
    Ok(())
}
