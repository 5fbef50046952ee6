//! StartContainer.

use super::{ContainerAt, PodAt, container_end};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Owner;
use crate::phase::{ContainerPhase, PodPhase};
use crate::ports::Moment;
use crate::status::ContainerExit;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use rrun_shim_protocol::{ContainerState, Reply, Request};
use rrun_sys::time;
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
            name: "engine.start-container.plugins",
            apply: |verb| Box::pin(verb.tell_plugins()),
            undo: None,
        },
        Step {
            name: "engine.start-container.start",
            apply: |verb| Box::pin(verb.start()),
            undo: None,
        },
        Step {
            name: "engine.start-container.hooks",
            apply: |verb| Box::pin(verb.hooks()),
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
    let at = at.with(&container);
    let span = at.span("StartContainer");
    // In a task of its own: a client that goes away leaves the start on record.
    let task = tokio::spawn(started(at).instrument(span));
    task.await.unwrap_or_else(|error| Err(Error::internal(error.to_string()))).context(|| what)
}

/// The shim is asked beside the pod's queue: a program on a path that hangs keeps its own start
/// waiting, and nothing else of the pod.
async fn started(at: ContainerAt) -> Result<()> {
    let phase = at.container.record().phase;
    if phase != ContainerPhase::Created {
        let message = format!("it is {phase:?}, not Created");
        return Err(Error::precondition(message.to_lowercase()));
    }
    if at.at.pod.record().phase != PodPhase::Ready {
        return Err(Error::precondition("its pod is not ready"));
    }
    let mut verb = StartContainer { at, started_at: 0, refused: None };
    START_CONTAINER.run(&mut verb).await.map_err(|(error, _)| error)?;
    if let Some(error) = verb.refused {
        return Err(error);
    }
    verb.at.note_to_plugins(Moment::StartedContainer).await;
    Ok(())
}

impl StartContainer {
    /// Where a plugin says no, the container waits on.
    async fn tell_plugins(&self) -> Result<()> {
        self.at.tell_plugins(Moment::StartContainer).await.map(drop)
    }

    async fn start(&mut self) -> Result<()> {
        let container = self.at.container.id.to_string();
        match self.at.at.ask(Request::Start { container }, Vec::new()).await {
            Ok((Reply::Started { at, clamped }, _)) => {
                self.started_at = at;
                self.at.warn_of_clamped(&clamped);
            }
            Ok((other, _)) => return Err(Error::internal(format!("shim said {other:?}"))),
            Err(refusal) if refusal.code.is_some() || self.has_ended(&refusal.error).await => {
                self.refused = Some(refusal.error);
            }
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

    /// Whether its init has ended for what the shim has just refused: a working directory that is a
    /// file, a filter that the kernel does not take. The event of that comes when its log is written,
    /// and a kubelet that meanwhile saw it created would start another one whatever its pod says.
    async fn has_ended(&self, refused: &Error) -> bool {
        // One that has not answered is not waited for twice.
        if container_end::of_the_shim(refused) {
            return false;
        }
        let Ok((Reply::State(report), _)) = self.at.at.ask(Request::State, Vec::new()).await else {
            return false;
        };
        let own = self.at.container.id.as_str();
        let own = report.containers.iter().find(|container| container.id == own);
        own.is_some_and(|container| matches!(container.state, ContainerState::Exited { .. }))
    }

    /// A container whose hook fails is ended, and has not started.
    async fn hooks(&mut self) -> Result<()> {
        if self.refused.is_none()
            && let Err(error) = self.at.run_start_hooks().await
        {
            let killed = self.at.kill_beside().await;
            self.refused = Some(error);
            return killed;
        }
        Ok(())
    }

    async fn running(&mut self) -> Result<()> {
        let (at, started_at, refused) = (self.at.clone(), self.started_at, self.refused.clone());
        let queue = at.at.pod.queue.clone();
        let on_record = async move {
            let Some(error) = refused else { return at.has_started(started_at).await };
            let exit = ContainerExit {
                code: 128,
                at: time::now(),
                reason: "StartError".to_owned(),
                message: error.to_string(),
            };
            container_end::ended(&at, exit).await;
            Ok(())
        };
        queue.run(on_record).await
    }
}
