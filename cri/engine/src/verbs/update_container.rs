//! UpdateContainerResources, and what plugins wish.

use super::{ContainerAt, PodAt};
use crate::blocking::blocking;
use crate::check;
use crate::error::{Context, Error, Result};
use crate::id::Owner;
use crate::model::Resources;
use crate::phase::ContainerPhase;
use crate::ports::Moment;
use crate::record::ContainerRecord;
use crate::spec;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use rrun_runtime::cgroup::Resources as Limits;
use rrun_runtime::plan::Cgroups;
use rrun_shim_protocol::{Reply, Request, Update};
use serde_json::Value;
use std::sync::Arc;
use tracing::Instrument;

struct UpdateContainer {
    at: ContainerAt,
    /// As it comes on record.
    asked: Resources,
    /// `linux.resources`
    change: Value,
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

/// Changes limits of a created or running container, as plugins let them be; fields that are 0 or empty
/// stay.
pub(crate) async fn update(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    asked: Resources,
) -> Result<()> {
    let at = find(engine, owner, id)?;
    let what = || format!("update container {}", at.container.config.name);
    check::limits(&asked).context(what)?;
    let (told, queue) = (at.clone(), at.at.pod.queue.clone());
    let update = async move {
        check_phase(&told)?;
        let change = Value::Object(spec::asked_limits(&asked));
        let moment = Moment::UpdateContainer { resources: change.clone() };
        let mut wishes = told.tell_plugins(moment).await?;
        match wishes.resources.take() {
            Some(change) => told.change_limits(spec::limits_of(&change), change).await?,
            None => told.change_limits(asked, change).await?,
        }
        told.grant_behind(wishes);
        told.note_to_plugins(Moment::UpdatedContainer).await;
        Ok(())
    };
    queue.run(update).instrument(at.span("UpdateContainerResources")).await.context(what)
}

/// Changes limits as a plugin wishes: `linux.resources`.
pub(crate) async fn change(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    change: Value,
) -> Result<()> {
    let at = find(engine, owner, id)?;
    let what = || format!("update container {}", at.container.config.name);
    let asked = spec::limits_of(&change);
    check::limits(&asked).context(what)?;
    let (queue, span) = (at.at.pod.queue.clone(), at.span("UpdateContainerResources"));
    let changed = at.clone();
    let work = async move {
        check_phase(&changed)?;
        changed.change_limits(asked, change).await
    };
    queue.run(work).instrument(span).await.context(what)
}

fn find(engine: &Arc<Shared>, owner: &Owner, id: &str) -> Result<ContainerAt> {
    let (pod, container) = engine.table.container(owner, id).context(|| "update container")?;
    Ok(PodAt { engine: Arc::clone(engine), pod }.with(&container))
}

fn check_phase(at: &ContainerAt) -> Result<()> {
    match at.container.record().phase {
        ContainerPhase::Created | ContainerPhase::Running => Ok(()),
        phase => {
            let message = format!("it is {phase:?}, neither Created nor Running");
            Err(Error::precondition(message.to_lowercase()))
        }
    }
}

impl ContainerAt {
    /// Within the pod's queue.
    async fn change_limits(&self, asked: Resources, change: Value) -> Result<()> {
        let mut verb = UpdateContainer { at: self.clone(), asked, change, planned: None };
        verb.plan().await?;
        UPDATE_CONTAINER.run(&mut verb).await.map_err(|(error, _)| error)
    }
}

impl UpdateContainer {
    /// Reads which controllers the groups have.
    async fn plan(&mut self) -> Result<()> {
        let at = self.at.clone();
        let change = match self.change.take() {
            Value::Object(change) => Value::Object(spec::keep_from_swapping(change)),
            other => other,
        };
        let planned = blocking(move || {
            let record = at.container.record();
            let planner = &at.at.engine.planner;
            let (after, change, back) =
                planner.change_of_limits(&record.cgroup, &record.limits, &change)?;
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
