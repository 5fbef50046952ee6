//! Pods, containers and wishes, from the engine's words to NRI's and back.

use rrun_engine::ContainerPhase;
use rrun_engine::model::Resources;
use rrun_engine::ports::{ContainerInfo, Moment, PodInfo, WishedUpdate, Wishes};
use rrun_nri::api::{
    CdiDevice, Container, ContainerAdjustment, ContainerState, ContainerUpdate, Event,
    HugepageLimit, LinuxCpu, LinuxMemory, LinuxNamespace, LinuxPodSandbox, LinuxResources,
    OptionalInt64, OptionalUInt64, PodSandbox, UpdatePodSandboxRequest,
};
use rrun_nri::{Answer, Notice, oci};
use serde_json::Value;

/// Nanoseconds, of which plugins are told seconds.
const SECOND: i64 = 1_000_000_000;

/// What plugins call it.
pub(super) fn event(moment: &Moment) -> Event {
    match moment {
        Moment::RunPod => Event::RunPodSandbox,
        Moment::UpdatePod(_) => Event::UpdatePodSandbox,
        Moment::UpdatedPod => Event::PostUpdatePodSandbox,
        Moment::StopPod => Event::StopPodSandbox,
        Moment::RemovePod => Event::RemovePodSandbox,
        Moment::CreateContainer => Event::CreateContainer,
        Moment::CreatedContainer => Event::PostCreateContainer,
        Moment::StartContainer => Event::StartContainer,
        Moment::StartedContainer => Event::PostStartContainer,
        Moment::UpdateContainer { .. } => Event::UpdateContainer,
        Moment::UpdatedContainer => Event::PostUpdateContainer,
        Moment::StopContainer => Event::StopContainer,
        Moment::RemoveContainer => Event::RemoveContainer,
    }
}

/// What is told.
pub(super) fn notice(moment: Moment, pod: &PodInfo, container: Option<&ContainerInfo>) -> Notice {
    let event = event(&moment);
    let told = self::pod(pod);
    let container = container.map(|container| Box::new(self::container(&pod.id, container)));
    match (moment, container) {
        (Moment::UpdatePod(limits_of), _) => {
            let [overhead, resources] = *limits_of;
            Notice::UpdatePod(Box::new(UpdatePodSandboxRequest {
                pod: Some(told),
                overhead_linux_resources: overhead.as_ref().map(limits),
                linux_resources: resources.as_ref().map(limits),
            }))
        }
        (Moment::CreateContainer, Some(container)) => Notice::Create(told, container),
        (Moment::UpdateContainer { resources }, Some(container)) => {
            Notice::Update(told, container, Box::new(oci::limits(&resources)))
        }
        (_, Some(container)) => Notice::Container(event, told, container),
        (_, None) => Notice::Pod(event, told),
    }
}

/// What is wished, of a container that has this configuration.
///
/// # Errors
/// Names what no plugin may choose.
pub(super) fn wishes(answer: Answer, spec: Option<Value>) -> Result<Wishes, String> {
    let Answer { adjust, resources, updates, evictions } = answer;
    let cdi_devices = adjust.cdi_devices.iter().map(|device| device.name.clone()).collect();
    let spec = match spec.filter(|_| adjust != ContainerAdjustment::default()) {
        Some(mut spec) => {
            oci::adjust(&mut spec, &adjust).map_err(|error| format!("NRI: {error}"))?;
            Some(spec)
        }
        None => None,
    };
    let resources = resources.as_ref().map(oci::limits_to_json).transpose();
    let updates: Result<_, String> = updates.iter().map(update).collect();
    Ok(Wishes {
        spec,
        cdi_devices,
        resources: resources?.map(Value::Object),
        updates: updates?,
        evictions: evictions.into_iter().map(|one| (one.container_id, one.reason)).collect(),
    })
}

/// Limits that a container is to have.
///
/// # Errors
/// Names what the runtime does not know.
pub(super) fn update(update: &ContainerUpdate) -> Result<WishedUpdate, String> {
    let limits = update.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    let limits = limits.map(oci::limits_to_json).transpose()?;
    Ok(WishedUpdate {
        container: update.container_id.clone(),
        resources: Value::Object(limits.unwrap_or_default()),
        may_fail: update.ignore_failure,
    })
}

/// A pod.
pub(super) fn pod(info: &PodInfo) -> PodSandbox {
    let config = &info.config;
    let namespace = |path: &std::path::PathBuf| LinuxNamespace {
        r#type: "network".to_owned(),
        path: path.to_string_lossy().into_owned(),
    };
    PodSandbox {
        id: info.id.clone(),
        name: config.name.clone(),
        uid: config.uid.clone(),
        namespace: config.namespace.clone(),
        labels: config.labels.clone().into_iter().collect(),
        annotations: config.annotations.clone().into_iter().collect(),
        runtime_handler: info.handler.clone(),
        linux: Some(LinuxPodSandbox {
            pod_overhead: info.overhead.as_ref().map(limits),
            pod_resources: info.resources.as_ref().map(limits),
            cgroup_parent: config.cgroup_parent.clone(),
            cgroups_path: info.cgroup.clone(),
            namespaces: info.netns.iter().map(namespace).collect(),
            resources: None,
        }),
        pid: u32::try_from(info.pid).unwrap_or_default(),
        ips: info.ips.iter().map(ToString::to_string).collect(),
    }
}

/// A container of the pod with this id.
pub(super) fn container(pod: &str, info: &ContainerInfo) -> Container {
    let state = match info.phase {
        ContainerPhase::Making | ContainerPhase::Created => ContainerState::ContainerCreated,
        ContainerPhase::Running => ContainerState::ContainerRunning,
        ContainerPhase::Exited | ContainerPhase::Removing => ContainerState::ContainerStopped,
    };
    let device = |name: &String| CdiDevice { name: name.clone() };
    let mut told = Container {
        id: info.id.clone(),
        pod_sandbox_id: pod.to_owned(),
        name: info.config.name.clone(),
        state: state.into(),
        labels: info.config.labels.clone().into_iter().collect(),
        pid: u32::try_from(info.pid).unwrap_or_default(),
        created_at: info.created_at / SECOND,
        started_at: info.started_at / SECOND,
        cdi_devices: info.config.cdi_devices.iter().map(device).collect(),
        ..Container::default()
    };
    if let Some(exit) = &info.exit {
        told.finished_at = exit.at / SECOND;
        told.exit_code = exit.code;
        told.status_reason.clone_from(&exit.reason);
        told.status_message.clone_from(&exit.message);
    }
    oci::describe(&info.spec, &mut told);
    told
}

/// Limits as a client sends them: 0 and empty are none.
fn limits(all: &Resources) -> LinuxResources {
    let signed = |value: i64| (value != 0).then_some(OptionalInt64 { value });
    let unsigned = |value: i64| match u64::try_from(value) {
        Ok(value @ 1..) => Some(OptionalUInt64 { value }),
        _ => None,
    };
    let page = |page: &rrun_engine::model::HugepageLimit| HugepageLimit {
        page_size: page.page_size.clone(),
        limit: page.limit,
    };
    LinuxResources {
        memory: Some(LinuxMemory {
            limit: signed(all.memory_limit),
            swap: signed(all.memory_swap_limit),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: unsigned(all.cpu_shares),
            quota: signed(all.cpu_quota),
            period: unsigned(all.cpu_period),
            cpus: all.cpuset_cpus.clone(),
            mems: all.cpuset_mems.clone(),
            ..LinuxCpu::default()
        }),
        hugepage_limits: all.hugepages.iter().map(page).collect(),
        unified: all.unified.clone(),
        ..LinuxResources::default()
    }
}
