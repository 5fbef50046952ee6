//! Container → `ContainerConfig`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use rrun_cri_api::v1;

use super::labels;
use crate::env::Environment;
use crate::error::Result;
use crate::model::{Container, MountPropagation, Pod, RecursiveReadOnly, VolumeMount};
use crate::node::{CgroupMode, NodeFacts};
use crate::resize::Figures;
use crate::resources::{self, CPU_PERIOD};
use crate::security::{self, ImageUser};
use crate::users::UserRange;

/// Everything that is decided before a container can be described.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its pod.
    pub pod: &'a Pod,
    /// Itself.
    pub container: &'a Container,
    /// How often it was started before.
    pub restart_count: u32,
    /// The id that the pull or the inspection gave.
    pub image_ref: String,
    /// Who the image runs as.
    pub image_user: ImageUser,
    /// Its environment.
    pub environment: Environment,
    /// Volumes, the hosts file and the termination message file.
    pub mounts: Vec<v1::Mount>,
    /// The pod's ids, if it has a user namespace of its own.
    pub users: Option<UserRange>,
    /// The run whose processes it sees, if they are not its own or the pod's.
    pub target: Option<String>,
}

/// The message that makes the container.
pub fn config(parts: Parts<'_>, node: &NodeFacts) -> Result<v1::ContainerConfig> {
    let Parts { pod, container, restart_count, users, mut mounts, .. } = parts;
    if let Some(users) = users {
        // All of them, as the kubelet has it: those of images too.
        users.map(&mut mounts);
    }
    let mut security = security::container(pod, container, &parts.image_user, (node, users));
    if let (Some(target), Some(options)) = (parts.target, &mut security.namespace_options) {
        options.pid = v1::NamespaceMode::Target as i32;
        options.target_id = target;
    }
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: restart_count,
        }),
        image: Some(v1::ImageSpec {
            image: parts.image_ref,
            user_specified_image: container.image.clone(),
            ..Default::default()
        }),
        command: parts.environment.expand(&container.command)?,
        args: parts.environment.expand(&container.args)?,
        working_dir: container.working_dir.clone(),
        envs: parts
            .environment
            .iter()
            .map(|(key, value)| v1::KeyValue {
                key: key.to_owned(),
                value: value.as_bytes().to_vec(),
            })
            .collect(),
        mounts,
        labels: labels::container(&pod.meta, &container.name),
        annotations: labels::annotations(pod, container, restart_count),
        log_path: log_path(&container.name, restart_count),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        stop_signal: container.lifecycle.stop_signal.as_ref().map_or(0, |s| s.wire() as i32),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(limits(pod, container, node)),
            security_context: Some(security),
        }),
        ..Default::default()
    })
}

/// `<container>/<restart count>.log`, below the pod's log folder.
pub fn log_path(name: &str, restart_count: u32) -> String {
    format!("{name}/{restart_count}.log")
}

fn limits(pod: &Pod, container: &Container, node: &NodeFacts) -> v1::LinuxContainerResources {
    let limits = resources::container(pod, container, node.memory_bytes);
    let pages = |size: &String| v1::HugepageLimit {
        page_size: size.clone(),
        limit: resources::hugepages(&container.resources.limits, size),
    };
    v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: limits.quota,
        cpu_shares: limits.shares,
        memory_limit_in_bytes: limits.memory,
        oom_score_adj: limits.oom_score_adj,
        hugepage_limits: node.hugepage_sizes.iter().map(pages).collect(),
        unified: unified(node.cgroup),
        ..Default::default()
    }
}

/// What a running container is told when its resources change. The rest stays as it is.
pub fn changed_limits(figures: Figures) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: resources::quota(figures.cpu_limit),
        cpu_shares: resources::shares(figures.cpu_request),
        memory_limit_in_bytes: figures.memory_limit,
        ..Default::default()
    }
}

/// Out of memory is the end of a whole container and not of one of its processes, as the kubelet
/// has it where the kernel can do it (`singleProcessOOMKill` is false by default).
fn unified(cgroup: CgroupMode) -> BTreeMap<String, String> {
    match cgroup {
        CgroupMode::V1 => BTreeMap::new(),
        CgroupMode::V2 => [("memory.oom.group".to_owned(), "1".to_owned())].into(),
    }
}

/// One volume mount, once its place on the node is known.
///
/// `recursive`: the runtime can make all mounts below it read-only too.
pub fn mount(mount: &VolumeMount, host_path: &Path, recursive: bool) -> v1::Mount {
    v1::Mount {
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only,
        ..of_volume(mount, recursive)
    }
}

fn of_volume(mount: &VolumeMount, recursive: bool) -> v1::Mount {
    let propagation = match mount.propagation {
        MountPropagation::None => v1::MountPropagation::PropagationPrivate,
        MountPropagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
        MountPropagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
    };
    v1::Mount {
        container_path: absolute(&mount.mount_path),
        propagation: propagation as i32,
        recursive_read_only: match mount.recursive_read_only {
            RecursiveReadOnly::Disabled => false,
            RecursiveReadOnly::IfPossible => recursive,
            RecursiveReadOnly::Enabled => true,
        },
        ..Default::default()
    }
}

/// An image as a volume: the runtime mounts it, nothing is on the node.
pub fn image_mount(
    mount: &VolumeMount,
    image: v1::ImageSpec,
    sub: String,
    recursive: bool,
) -> v1::Mount {
    let (image, image_sub_path) = (Some(image), sub);
    v1::Mount { readonly: true, image, image_sub_path, ..of_volume(mount, recursive) }
}

/// A file of ours (hosts, termination message) in the container.
pub fn file_mount(container_path: &str, host_path: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

/// Relative mount paths start at `/`, as with the kubelet (not at the working directory).
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Whether two container paths are the same once `.` and repeated `/` are gone.
pub fn same_path(a: &str, b: &str) -> bool {
    let parts = |p: &str| {
        let path = PathBuf::from(p);
        path.components()
            .filter(|c| !matches!(c, Component::CurDir))
            .map(|c| c.as_os_str().to_owned())
            .collect::<Vec<_>>()
    };
    parts(a) == parts(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{facts, pod};

    #[test]
    fn a_stop_signal_is_asked_for_and_else_left_to_the_image() {
        for (lifecycle, signal) in [
            ("{}", v1::Signal::RuntimeDefault),
            ("{stopSignal: SIGRTMIN+2}", v1::Signal::Sigrtminplus2),
        ] {
            let pod = pod(&format!(
                "  os: {{name: linux}}\n  containers: [{{name: a, image: i, lifecycle: {lifecycle}}}]\n"
            ));
            let parts = Parts {
                pod: &pod,
                container: &pod.spec.containers[0],
                restart_count: 0,
                image_ref: "i".into(),
                image_user: ImageUser::default(),
                environment: Environment::default(),
                mounts: Vec::new(),
                users: None,
                target: None,
            };
            assert_eq!(config(parts, &facts()).unwrap().stop_signal(), signal);
        }
    }

    #[test]
    fn out_of_memory_ends_the_whole_container_where_the_kernel_can_do_it() {
        let pod = pod("  containers: [{name: a, image: i}]\n");
        let group = |cgroup| {
            let node = NodeFacts { cgroup, ..facts() };
            limits(&pod, &pod.spec.containers[0], &node).unified
        };
        assert_eq!(group(CgroupMode::V2)["memory.oom.group"], "1");
        assert!(group(CgroupMode::V1).is_empty());
    }
}
