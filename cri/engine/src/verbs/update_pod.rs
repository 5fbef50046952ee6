//! UpdatePodSandboxResources: the client writes the pod's group itself, and plugins hear of it.

use super::PodAt;
use crate::check;
use crate::error::{Context, Error, Result};
use crate::id::Owner;
use crate::model::Resources;
use crate::phase::PodPhase;
use crate::ports::Moment;
use crate::record::{PodRecord, Resized};
use crate::table::Shared;
use std::sync::Arc;
use tracing::Instrument;

/// Keeps what a pod is said to cost and to have, after plugins have heard of it.
pub(crate) async fn update(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    [overhead, resources]: [Option<Resources>; 2],
) -> Result<()> {
    let pod = engine.table.pod(owner, id).context(|| "update pod")?;
    let what = format!("update pod {}", pod.config.full_name());
    let at = PodAt { engine: Arc::clone(engine), pod };
    for limits in [&overhead, &resources].into_iter().flatten() {
        check::limits(limits).context(|| what.clone())?;
    }
    let (queue, span) = (at.pod.queue.clone(), at.span("UpdatePodSandboxResources"));
    let update = async move {
        if at.pod.record().phase != PodPhase::Ready {
            return Err(Error::precondition("it is not ready"));
        }
        let told = Box::new([overhead.clone(), resources.clone()]);
        at.tell_plugins(Moment::UpdatePod(told)).await?;
        let change = move |record: &mut PodRecord| {
            record.resized = Some(Resized { overhead, resources });
        };
        at.pod.record.change(change).await?;
        at.note_to_plugins(Moment::UpdatedPod).await;
        Ok(())
    };
    queue.run(update).instrument(span).await.context(|| what)
}
