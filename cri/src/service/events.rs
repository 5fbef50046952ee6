//! Container events.

use crate::convert;
use futures::{Stream, StreamExt};
use rrun_cri_api::Messages;
use rrun_cri_api::v1::{ContainerEventResponse, ContainerEventType};
use rrun_engine::{Event, EventKind, Events};
use tokio_util::sync::CancellationToken;

/// Events from now on; the stream ends with the engine, or when `ending` says so.
pub(super) fn stream(
    events: Events,
    ending: CancellationToken,
) -> Messages<ContainerEventResponse> {
    let next = |mut events: Events| async move {
        let event = events.next().await?;
        Some((Ok(message(&event)), events))
    };
    ended_by(futures::stream::unfold(events, next), ending).boxed()
}

fn ended_by<S: Stream>(stream: S, ending: CancellationToken) -> impl Stream<Item = S::Item> {
    stream.take_until(ending.cancelled_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[tokio::test]
    async fn a_stream_without_an_end_ends_when_it_is_told_to() {
        let ending = CancellationToken::new();
        let endless = stream::iter([1]).chain(stream::pending());
        let mut ended = Box::pin(ended_by(endless, ending.clone()));
        assert_eq!(ended.next().await, Some(1));
        ending.cancel();
        assert_eq!(ended.next().await, None);
    }
}
