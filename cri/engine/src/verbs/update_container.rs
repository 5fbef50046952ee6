//! UpdateContainerResources.

use super::{ContainerAt, PodAt};
use crate::blocking::blocking;
use crate::check;
use crate::error::{Context, Error, Result};
use crate::id::Owner;
use crate::model::Resources;
use crate::phase::ContainerPhase;
use crate::record::ContainerRecord;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use rrun_runtime::cgroup::Resources as Limits;
use rrun_runtime::plan::Cgroups;
use rrun_shim_protocol::{Reply, Request, Update};
use std::sync::Arc;
use tracing::Instrument;

struct UpdateContainer {
    at: ContainerAt,
    asked: Resources,
    planned: Option<Planned>,
}

struct Planned {
    /// What will be in force.
    after: Limits,
    change: Cgroups,
    back: Cgroups,
}

impl Verb for UpdateContainer {
    type OnRecord = ContainerAt;

    fn on_record(&self) -> &ContainerAt {
        &self.at
    }
}

/// Whoever dies between the two has told its client nothing: the same update again writes all of
/// it again. The shim takes back what it could write only in part.
static UPDATE_CONTAINER: List<UpdateContainer> = List {
    intent: &[],
    effects: &[
        Step {
            name: "engine.update-container.limits",
            apply: |verb| Box::pin(verb.limits()),
            undo: None,
        },
        Step {
            name: "engine.update-container.record",
            apply: |verb| Box::pin(verb.record()),
            undo: None,
        },
    ],
};

/// Changes limits of a created or running container; fields that are 0 or empty stay.
pub(crate) async fn update(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    asked: Resources,
) -> Result<()> {
    let (pod, container) = engine.table.container(owner, id).context(|| "update container")?;
    let what = format!("update container {}", container.config.name);
    let at = PodAt { engine: Arc::clone(engine), pod };
    check::limits(&asked).context(|| what.clone())?;
    let queue = at.pod.queue.clone();
    let at = at.with(&container);
    let span = at.span("UpdateContainerResources");
    queue
        .run(async move {
            let phase = at.container.record().phase;
            if !matches!(phase, ContainerPhase::Created | ContainerPhase::Running) {
                let message = format!("it is {phase:?}, neither Created nor Running");
                return Err(Error::precondition(message.to_lowercase()));
            }
            let mut verb = UpdateContainer { at, asked, planned: None };
            verb.plan().await?;
            UPDATE_CONTAINER.run(&mut verb).await.map_err(|(error, _)| error)
        })
        .instrument(span)
        .await
        .context(|| what)
}

impl UpdateContainer {
    /// Reads which controllers the groups have.
    async fn plan(&mut self) -> Result<()> {
        let (at, asked) = (self.at.clone(), self.asked.clone());
        let planned = blocking(move || {
            let record = at.container.record();
            let planner = &at.at.engine.planner;
            let (after, change, back) =
                planner.change_of_limits(&record.cgroup, &record.limits, &asked)?;
            Ok(Planned { after, change, back })
        });
        self.planned = Some(planned.await?);
        Ok(())
    }

    async fn limits(&self) -> Result<()> {
        let planned = self.planned.as_ref().ok_or_else(|| Error::internal("no plan"))?;
        self.write(planned.change.clone(), planned.back.clone()).await?;
        let cgroup = self.at.container.record().cgroup.clone();
        let told = self.at.at.engine.ports.host.tell_limits(&cgroup, &planned.change).await;
        if told.is_err() {
            // Whoever does not know of it would undo it some time.
            self.write(planned.back.clone(), planned.change.clone()).await?;
        }
        told
    }

    async fn write(&self, change: Cgroups, back: Cgroups) -> Result<()> {
        let container = self.at.container.id.to_string();
        let request = Request::Update(Update { container, change, back });
        match self.at.at.ask(request, Vec::new()).await.map_err(Error::from)? {
            (Reply::Done, _) => Ok(()),
            (other, _) => Err(Error::internal(format!("shim said {other:?}"))),
        }
    }

    async fn record(&mut self) -> Result<()> {
        let planned = self.planned.take().ok_or_else(|| Error::internal("no plan"))?;
        let asked = self.asked.clone();
        let change = move |record: &mut ContainerRecord| {
            record.limits = planned.after;
            record.resources.change(asked);
        };
        self.at.container.record.change_first(change)?.await
    }
}
