//! Container events.

use crate::convert;
use futures::StreamExt;
use rrun_cri_api::Messages;
use rrun_cri_api::v1::{ContainerEventResponse, ContainerEventType};
use rrun_engine::{Event, EventKind, Events};

/// Events from now on; the stream ends with the engine.
pub(super) fn stream(events: Events) -> Messages<ContainerEventResponse> {
    let next = |mut events: Events| async move {
        let event = events.next().await?;
        Some((Ok(message(&event)), events))
    };
    futures::stream::unfold(events, next).boxed()
}

fn message(event: &Event) -> ContainerEventResponse {
    let kind = match event.kind {
        EventKind::Created => ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => ContainerEventType::ContainerDeletedEvent,
    };
    // An event of the pod itself carries the pod's id, as with the peers.
    let container = event.container.as_ref().map(ToString::to_string);
    ContainerEventResponse {
        container_id: container.unwrap_or_else(|| event.pod.to_string()),
        container_event_type: kind as i32,
        created_at: event.at,
        pod_sandbox_status: event.pod_status.as_ref().map(|pod| convert::pod_status(pod).0),
        containers_statuses: event
            .containers
            .iter()
            .map(|container| convert::container_status(container).0)
            .collect(),
    }
}
