//! Security contexts: pod and container merged, then as CRI says it.

use rrun_cri_api::v1;

use crate::error::{Error, Kind, Result};
use crate::model::{Container, GroupsPolicy, Pod, Profile, SeLinux};
use crate::node::NodeFacts;
use crate::users::UserRange;

/// Who an image says it runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// A number, if the image names one.
    pub uid: Option<i64>,
    /// A name otherwise; empty for neither.
    pub name: String,
}

/// `/proc` and `/sys` paths that unprivileged containers do not see.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Refuses a container that must not be root and would be (or might be): the wording is the
/// kubelet's, as people search for it. The uid that counts is the spec's, else the image's.
pub fn check_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<()> {
    let own = &container.security;
    let shared = &pod.spec.security;
    if own.run_as_non_root.or(shared.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let place = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.meta.name, pod.meta.namespace, pod.meta.uid, container.name
    );
    let refuse = |why: String| Err(Error::new(Kind::Denied, format!("{why} {place}")));
    match (own.run_as_user.or(shared.run_as_user), image.uid) {
        (Some(0), _) => refuse("container's runAsUser breaks non-root policy".into()),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => refuse("container has runAsNonRoot and image will run as root".into()),
        (None, Some(_)) => Ok(()),
        (None, None) if !image.name.is_empty() => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
            image.name
        )),
        (None, None) => refuse("container has runAsNonRoot and image will run as root".into()),
    }
}

/// The effective context of one container.
pub fn container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    (node, users): (&NodeFacts, Option<UserRange>),
) -> v1::LinuxContainerSecurityContext {
    let own = &container.security;
    let shared = &pod.spec.security;
    let user = own.run_as_user.or(shared.run_as_user);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let (masked, readonly) = if own.unmasked_proc {
        (Vec::new(), Vec::new())
    } else {
        let all = MASKED.iter().map(|p| (*p).to_owned()).chain(node.masked_paths.iter().cloned());
        (all.collect(), READONLY.iter().map(|p| (*p).to_owned()).collect())
    };
    let seccomp = if own.privileged == Some(true) {
        None
    } else {
        own.seccomp.as_ref().or(shared.seccomp.as_ref())
    };
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add,
            drop_capabilities: capabilities.drop,
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(namespaces(pod, users)),
        selinux_options: own.selinux.as_ref().or(shared.selinux.as_ref()).map(selinux),
        run_as_user: user.or(image.uid).map(|value| v1::Int64Value { value }),
        run_as_group: own
            .run_as_group
            .or(shared.run_as_group)
            .map(|value| v1::Int64Value { value }),
        run_as_username: if user.is_none() { image.name.clone() } else { String::new() },
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod) as i32,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: masked,
        readonly_paths: readonly,
        seccomp: Some(profile(seccomp, node)),
        apparmor: own.apparmor.as_ref().or(shared.apparmor.as_ref()).map(apparmor),
        ..Default::default()
    }
}

/// The context of the sandbox; its own processes always run under the default filter.
pub fn sandbox(pod: &Pod, users: Option<UserRange>) -> v1::LinuxSandboxSecurityContext {
    let shared = &pod.spec.security;
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, users)),
        selinux_options: shared.selinux.as_ref().map(selinux),
        run_as_user: shared.run_as_user.map(|value| v1::Int64Value { value }),
        run_as_group: shared.run_as_group.map(|value| v1::Int64Value { value }),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod) as i32,
        privileged: pod.spec.all().any(|(_, c)| c.security.privileged == Some(true)),
        seccomp: Some(v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        ..Default::default()
    }
}

/// Which namespaces are the pod's, the container's own, or the node's.
pub fn namespaces(pod: &Pod, users: Option<UserRange>) -> v1::NamespaceOption {
    use v1::NamespaceMode::{Container, Node, Pod as Shared};
    let spec = &pod.spec;
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (true, _) => Node,
        (false, true) => Shared,
        (false, false) => Container,
    };
    v1::NamespaceOption {
        network: if spec.host_network { Node } else { Shared } as i32,
        pid: pid as i32,
        ipc: if spec.host_ipc { Node } else { Shared } as i32,
        target_id: String::new(),
        userns_options: users.map(UserRange::namespace),
    }
}

fn groups(pod: &Pod) -> Vec<i64> {
    let shared = &pod.spec.security;
    shared.fs_group.into_iter().chain(shared.supplemental_groups.iter().copied()).collect()
}

fn groups_policy(pod: &Pod) -> v1::SupplementalGroupsPolicy {
    match pod.spec.security.supplemental_groups_policy {
        Some(GroupsPolicy::Strict) => v1::SupplementalGroupsPolicy::Strict,
        _ => v1::SupplementalGroupsPolicy::Merge,
    }
}

fn selinux(options: &SeLinux) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone(),
        role: options.role.clone(),
        r#type: options.kind.clone(),
        level: options.level.clone(),
    }
}

/// No profile is Unconfined, as with the kubelet's `seccompDefault: false`.
fn profile(profile: Option<&Profile>, node: &NodeFacts) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType as T;
    let (kind, path) = match profile {
        Some(Profile::RuntimeDefault) => (T::RuntimeDefault, String::new()),
        None | Some(Profile::Unconfined) => (T::Unconfined, String::new()),
        Some(Profile::Localhost(name)) => {
            (T::Localhost, node.seccomp_root.join(name).to_string_lossy().into_owned())
        }
    };
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: path }
}

fn apparmor(profile: &Profile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType as T;
    let (kind, name) = match profile {
        Profile::RuntimeDefault => (T::RuntimeDefault, String::new()),
        Profile::Unconfined => (T::Unconfined, String::new()),
        Profile::Localhost(name) => (T::Localhost, name.clone()),
    };
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{facts, pod};

    #[test]
    fn the_container_wins_over_the_pod() {
        let pod = pod("  securityContext: {runAsUser: 1, runAsGroup: 2, fsGroup: 3, supplementalGroups: [4], seccompProfile: {type: RuntimeDefault}}
  containers:
  - {name: a, image: i, securityContext: {runAsUser: 9, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [CAP_CHOWN]}}}
  - {name: b, image: i, securityContext: {privileged: true}}
");
        let image = ImageUser { uid: Some(7), name: String::new() };
        let a = container(&pod, &pod.spec.containers[0], &image, (&facts(), None));
        assert_eq!(a.run_as_user.unwrap().value, 9);
        assert_eq!(a.run_as_group.unwrap().value, 2);
        assert_eq!(a.supplemental_groups, [3, 4]);
        assert!(a.no_new_privs && !a.privileged);
        assert_eq!(a.capabilities.unwrap().add_capabilities, ["CHOWN"]);
        assert!(a.masked_paths.iter().any(|p| p == "/proc/kcore"));
        let b = container(&pod, &pod.spec.containers[1], &image, (&facts(), None));
        assert_eq!(b.run_as_user.unwrap().value, 1);
        assert!(b.privileged);
        assert!(sandbox(&pod, None).privileged);
    }

    #[test]
    fn unmasked_proc_is_for_pods_with_users_of_their_own() {
        let pod = pod("  hostUsers: false
  containers:
  - {name: a, image: i, securityContext: {procMount: Unmasked}}
  - {name: b, image: i, securityContext: {procMount: Default}}
");
        let range = UserRange::all().next();
        let context = |i: usize| {
            let image = ImageUser::default();
            container(&pod, &pod.spec.containers[i], &image, (&facts(), range))
        };
        let (a, b) = (context(0), context(1));
        assert!(a.masked_paths.is_empty() && a.readonly_paths.is_empty());
        assert!(!b.masked_paths.is_empty() && !b.readonly_paths.is_empty());
        let users = range.map(UserRange::namespace);
        for namespaces in [a.namespace_options, sandbox(&pod, range).namespace_options] {
            assert_eq!(namespaces.unwrap().userns_options, users);
        }
    }

    #[test]
    fn a_container_that_must_not_be_root_is_checked_against_spec_and_image() {
        let cases = [
            ("{runAsNonRoot: true}", Some(0), "", Some("image will run as root")),
            ("{runAsNonRoot: true}", None, "", Some("image will run as root")),
            ("{runAsNonRoot: true}", Some(5), "", None),
            ("{runAsNonRoot: true}", None, "www", Some("non-numeric user (www)")),
            (
                "{runAsNonRoot: true, runAsUser: 0}",
                Some(5),
                "",
                Some("runAsUser breaks non-root policy"),
            ),
            ("{runAsNonRoot: true, runAsUser: 5}", Some(0), "", None),
            ("{}", Some(0), "", None),
        ];
        for (context, uid, name, want) in cases {
            let pod = pod(&format!(
                "  containers: [{{name: a, image: i, securityContext: {context}}}]\n"
            ));
            let image = ImageUser { uid, name: name.into() };
            let result = check_non_root(&pod, &pod.spec.containers[0], &image);
            match (want, result) {
                (None, result) => assert!(result.is_ok(), "{context}"),
                (Some(want), Err(e)) => assert!(e.to_string().contains(want), "{e}"),
                (Some(want), Ok(())) => panic!("{context} should be refused: {want}"),
            }
        }
    }
}
