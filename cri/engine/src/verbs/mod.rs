//! The verbs that change something, each read as its list of steps.

mod by_program;
pub(crate) mod checkpoint;
pub(crate) mod container_end;
pub(crate) mod create_container;
mod groups;
mod hooks;
pub(crate) mod image_volumes;
pub(crate) mod log_pipes;
pub(crate) mod place;
pub(crate) mod pod_undo;
pub(crate) mod remove;
pub(crate) mod run_pod;
pub(crate) mod sandbox;
pub(crate) mod shim_watch;
pub(crate) mod start_container;
mod started;
pub(crate) mod stop_pod;
pub(crate) mod update_container;
pub(crate) mod update_pod;

use crate::apparmor;
use crate::error::{Kind, Result};
use crate::event::{Event, EventKind};
use crate::id::ContainerId;
use crate::spec::AppArmor;
use crate::table::{Container, Pod, Shared};
use crate::view;
use std::sync::Arc;
use std::time::Duration;
use tracing::Span;

/// When what could not be undone is tried again for the first time; each time after twice as long.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// A pod, and the engine that it lives in: what undos find their objects by.
#[derive(Clone)]
pub(crate) struct PodAt {
    pub(crate) engine: Arc<Shared>,
    pub(crate) pod: Arc<Pod>,
}

/// A container in its pod.
#[derive(Clone)]
pub(crate) struct ContainerAt {
    pub(crate) at: PodAt,
    pub(crate) container: Arc<Container>,
}

impl PodAt {
    /// Tells what happened to the pod, or to one of its containers.
    pub(crate) fn tell(&self, kind: EventKind, container: Option<&ContainerId>) {
        self.engine.events.tell(|at| {
            // By a status that comes with the removal of a pod, the kubelet forgets all that it knows
            // of the pod with that uid, which may have been made again.
            let gone = kind == EventKind::Deleted && container.is_none();
            let (owner, uid) = (&self.pod.owner, &self.pod.config.uid);
            let is_again =
                || self.engine.table.pods(owner).iter().any(|pod| pod.config.uid == *uid);
            let containers = self.engine.table.containers_of(&self.pod.id);
            Event {
                owner: self.pod.owner.clone(),
                kind,
                at,
                pod: self.pod.id.clone(),
                container: container.cloned(),
                pod_status: (!gone || !is_again()).then(|| view::pod_status(&self.pod)),
                containers: containers
                    .iter()
                    .filter(|container| container.record().phase.is_listed())
                    .map(|container| view::container_status(&self.pod, container))
                    .collect(),
            }
        });
    }

    /// The name of an AppArmor profile, which is loaded now. Where there is nothing to load our own
    /// with, what asked for no profile at all runs unconfined, and the log says so; any other
    /// failure is an error for it too.
    pub(crate) async fn apparmor(&self, meant: AppArmor) -> Result<Option<String>> {
        let (name, must) = match meant {
            AppArmor::Unconfined => return Ok(None),
            AppArmor::Default { asked } => (apparmor::DEFAULT.to_owned(), asked),
            AppArmor::Localhost(name) => (name, true),
        };
        match self.engine.ports.host.ensure_apparmor(&name).await {
            Ok(()) => Ok(Some(name)),
            Err(error) if !must && error.kind() == Kind::Unavailable => {
                tracing::warn!(pod = %self.pod.id, "runs without an AppArmor profile: {error}");
                Ok(None)
            }
            Err(error) => Err(error.context("linux.security_context.apparmor")),
        }
    }

    /// The span of a verb on this pod, with its steps in it. The container is told when it is known.
    pub(crate) fn span(&self, verb: &'static str) -> Span {
        let container = tracing::field::Empty;
        tracing::info_span!("verb", name = verb, pod = %self.pod.id, container)
    }

    /// A container of this pod.
    pub(crate) fn with(&self, container: &Arc<Container>) -> ContainerAt {
        ContainerAt { at: self.clone(), container: Arc::clone(container) }
    }
}

impl ContainerAt {
    /// Says in the log what this host does not allow as it was asked for.
    pub(crate) fn warn_of_clamped(&self, clamped: &[String]) {
        for what in clamped {
            let container = &self.container.id;
            tracing::warn!(%container, "{what}: set as far as this host allows");
        }
    }

    /// The span of a verb on this container, with its steps in it.
    pub(crate) fn span(&self, verb: &'static str) -> Span {
        span_of(verb, &self.at.pod, &self.container)
    }
}

/// The span of a verb on a container, with its steps in it.
pub(crate) fn span_of(verb: &'static str, pod: &Pod, container: &Container) -> Span {
    tracing::info_span!("verb", name = verb, pod = %pod.id, container = %container.id)
}
