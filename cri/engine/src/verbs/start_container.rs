//! StartContainer.

use super::{ContainerAt, PodAt, container_end};
use crate::clock;
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::id::Owner;
use crate::phase::{ContainerPhase, PodPhase};
use crate::status::ContainerExit;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use rrun_shim_protocol::{Reply, Request};
use std::sync::Arc;
use tracing::Instrument;

struct StartContainer {
    at: ContainerAt,
    started_at: i64,
    /// The program cannot be executed: why.
    refused: Option<Error>,
}

impl Verb for StartContainer {
    type OnRecord = ContainerAt;

    fn on_record(&self) -> &ContainerAt {
        &self.at
    }
}

/// A start is not taken back: the program has run, or the container has ended.
static START_CONTAINER: List<StartContainer> = List {
    intent: &[],
    effects: &[
        Step {
            name: "engine.start-container.start",
            apply: |verb| Box::pin(verb.start()),
            undo: None,
        },
        Step {
            name: "engine.start-container.running",
            apply: |verb| Box::pin(verb.running()),
            undo: None,
        },
    ],
};

/// Starts a created container.
pub(crate) async fn start(engine: &Arc<Shared>, owner: &Owner, id: &str) -> Result<()> {
    let (pod, container) = engine.table.container(owner, id).context(|| "start container")?;
    let what = format!("start container {}", container.config.name);
    let at = PodAt { engine: Arc::clone(engine), pod };
    let queue = at.pod.queue.clone();
    let span = at.with(&container).span("StartContainer");
    let mut verb = StartContainer { at: at.with(&container), started_at: 0, refused: None };
    queue
        .run(async move {
            let phase = verb.at.container.record().phase;
            if phase != ContainerPhase::Created {
                let message = format!("it is {phase:?}, not Created");
                return Err(Error::precondition(message.to_lowercase()));
            }
            if verb.at.at.pod.record().phase != PodPhase::Ready {
                return Err(Error::precondition("its pod is not ready"));
            }
            START_CONTAINER.run(&mut verb).await.map_err(|(error, _)| error)?;
            match verb.refused {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })
        .instrument(span)
        .await
        .context(|| what)
}

impl StartContainer {
    async fn start(&mut self) -> Result<()> {
        let container = self.at.container.id.to_string();
        match self.at.at.ask(Request::Start { container }, Vec::new()).await {
            Ok((Reply::Started { at, clamped }, _)) => {
                self.started_at = at;
                self.at.warn_of_clamped(&clamped);
            }
            Ok((other, _)) => return Err(Error::internal(format!("shim said {other:?}"))),
            Err(refusal) if refusal.code.is_some() => self.refused = Some(refusal.error),
            Err(refusal) => {
                if refusal.error.kind() == Kind::Timeout {
                    // It may start it yet.
                    self.at.at.reconnect_later();
                }
                return Err(refusal.error);
            }
        }
        Ok(())
    }

    async fn running(&mut self) -> Result<()> {
        if let Some(error) = &self.refused {
            let exit = ContainerExit {
                code: 128,
                at: clock::now(),
                reason: "StartError".to_owned(),
                message: error.to_string(),
            };
            container_end::ended(&self.at, exit).await;
            return Ok(());
        }
        let started_at = self.started_at;
        let written = self.at.container.change(&self.at.at.pod, |record| {
            record.phase = ContainerPhase::Running;
            record.started_at = started_at;
        });
        if let Err(error) = written.await {
            if error.kind() == Kind::Internal && self.at.container.record().started_at == 0 {
                return Err(error);
            }
            // It runs all the same; after a restart its shim tells so.
            tracing::warn!(container = %self.at.container.id, %error, "start is not on record");
        }
        self.at.at.tell(EventKind::Started, Some(&self.at.container.id));
        Ok(())
    }
}
