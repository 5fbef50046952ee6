//! From records to the items and statuses that clients see.

use crate::record::ContainerRecord;
use crate::status::{
    ContainerFilter, ContainerItem, ContainerStatus, PodFilter, PodItem, PodStatus,
};
use crate::table::{Container, Pod};
use std::sync::Arc;

pub(crate) fn pod_status(pod: &Pod) -> PodStatus {
    let record = pod.record();
    PodStatus {
        id: record.id.clone(),
        config: Arc::clone(&record.config),
        phase: record.phase,
        created_at: record.created_at,
        ips: record.ips.clone(),
        handler: record.handler.clone(),
        reason: record.reason.clone(),
        info: None,
    }
}

pub(crate) fn container_status(pod: &Pod, container: &Container) -> ContainerStatus {
    let record = container.record();
    ContainerStatus {
        id: record.id.clone(),
        pod: pod.id.clone(),
        config: Arc::clone(&record.config),
        phase: record.phase,
        created_at: record.created_at,
        started_at: record.started_at,
        exit: record.exit.clone(),
        image_id: record.image_id.clone(),
        image_ref: record.image_ref.clone(),
        base: record.base.clone(),
        mounts: record.mounts.clone(),
        log_path: record.log_path.clone(),
        resources: record.resources.clone(),
        user: record.user.clone(),
        stop_signal: record.stop_signal,
        info: None,
    }
}

/// The line of a pod in a list, if it belongs there.
pub(crate) fn pod_item(pod: &Pod, filter: &PodFilter) -> Option<PodItem> {
    let record = pod.record();
    let ready = record.phase == crate::PodPhase::Ready;
    let belongs = record.phase.is_listed()
        && filter.id.as_ref().is_none_or(|id| record.id.as_str().starts_with(id.as_str()))
        && filter.ready.is_none_or(|wanted| wanted == ready)
        && filter.labels.iter().all(|(k, v)| record.config.labels.get(k) == Some(v));
    belongs.then(|| PodItem {
        id: record.id.clone(),
        config: Arc::clone(&record.config),
        ready,
        created_at: record.created_at,
        handler: record.handler.clone(),
    })
}

/// Whether a container passes a filter.
pub(crate) fn passes(record: &ContainerRecord, filter: &ContainerFilter) -> bool {
    record.phase.is_listed()
        && filter.id.as_ref().is_none_or(|id| record.id.as_str().starts_with(id.as_str()))
        && filter.pod.as_ref().is_none_or(|id| record.pod.as_str().starts_with(id.as_str()))
        && filter.phase.is_none_or(|phase| record.phase == phase)
        && filter.labels.iter().all(|(k, v)| record.config.labels.get(k) == Some(v))
}

/// The line of a container in a list, if it belongs there.
pub(crate) fn container_item(
    container: &Container,
    filter: &ContainerFilter,
) -> Option<ContainerItem> {
    let record = container.record();
    passes(&record, filter).then(|| ContainerItem {
        id: record.id.clone(),
        pod: record.pod.clone(),
        config: Arc::clone(&record.config),
        phase: record.phase,
        created_at: record.created_at,
        image_id: record.image_id.clone(),
        image_ref: record.image_ref.clone(),
        base: record.base.clone(),
    })
}
