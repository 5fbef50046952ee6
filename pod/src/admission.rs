//! What a pod asks for that this node or its runtime cannot do: found before anything is made,
//! because it would fail at every try (the kubelet's admission handlers).

use rrun_cri_api::{Cri, v1};
use tonic::Code;

use crate::error::{Error, Kind, Result};
use crate::model::{Pod, Profile, RecursiveReadOnly};
use crate::sysctl;

/// Sysctls that are namespaced and touch no other pod (`safe_sysctls.go`).
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Our own runtime's name: what it does not do yet is known here.
const OWN: &str = "rrun";

/// What is known of a runtime.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    /// Its name, the scheme of container ids.
    pub name: String,
    /// Its handlers; none if it does not tell.
    pub handlers: Vec<v1::RuntimeHandler>,
}

impl Runtime {
    /// Asks the runtime. `Unavailable` if it does not answer.
    pub async fn ask(cri: &dyn Cri) -> Result<Self> {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        let version = cri.version(request).await.map_err(|e| Error::status("version", &e))?;
        let handlers = match cri.status(v1::StatusRequest::default()).await {
            Ok(reply) => reply.runtime_handlers,
            Err(e) if e.code() == Code::Unimplemented => Vec::new(),
            Err(e) => return Err(Error::status("status", &e)),
        };
        Ok(Runtime { name: version.runtime_name, handlers })
    }

    fn handler(&self, pod: &Pod) -> Option<&v1::RuntimeHandler> {
        let wanted = pod.spec.runtime_class.as_deref().unwrap_or("");
        self.handlers.iter().find(|handler| handler.name == wanted)
    }

    /// Whether read-only mounts of this pod can be read-only all the way down.
    pub fn mounts_recursively_read_only(&self, pod: &Pod) -> bool {
        let features = self.handler(pod).and_then(|handler| handler.features);
        features.is_some_and(|features| features.recursive_read_only_mounts)
    }

    /// Whether it can give this pod a user namespace of its own.
    fn has_user_namespaces(&self, pod: &Pod) -> bool {
        let features = self.handler(pod).and_then(|handler| handler.features);
        features.is_some_and(|features| features.user_namespaces)
    }

    fn check(&self, pod: &Pod) -> Result<()> {
        if let Some(class) = &pod.spec.runtime_class
            && !self.handlers.is_empty()
            && self.handler(pod).is_none()
        {
            let text = format!("{} has no handler {class:?}", self.name);
            return refuse("spec.runtimeClassName", &text);
        }
        let strict = pod.spec.all().flat_map(|(_, c)| &c.mounts).find(|mount| {
            mount.recursive_read_only == RecursiveReadOnly::Enabled
                && !self.mounts_recursively_read_only(pod)
        });
        if let Some(mount) = strict {
            let text = format!("Enabled on {}: {} cannot do that", mount.mount_path, self.name);
            return refuse("recursiveReadOnly", &text);
        }
        if !pod.spec.host_users && !self.has_user_namespaces(pod) {
            let who = match &pod.spec.runtime_class {
                None => "runtime does".to_owned(),
                Some(handler) => format!("RuntimeClass handler {handler:?} does"),
            };
            let text =
                format!("can't set `spec.hostUsers: false`, {who} not support user namespaces");
            return refuse("spec.hostUsers", &text);
        }
        if self.name != OWN {
            return Ok(());
        }
        let labelled = pod.spec.security.selinux.is_some()
            || pod.spec.all().any(|(_, c)| c.security.selinux.is_some());
        if labelled {
            return refuse("securityContext.seLinuxOptions", "not supported yet");
        }
        Ok(())
    }
}

fn refuse(path: &str, why: &str) -> Result<()> {
    Err(Error::new(Kind::Invalid, format!("{path}: {why}")))
}

/// Refuses by name what could only fail later. `unsafe_sysctls` are names or prefixes ending in
/// `*` that the node's owner allows beside the safe ones.
pub fn check(
    pod: &Pod,
    runtime: &Runtime,
    apparmor: bool,
    unsafe_sysctls: &[String],
) -> Result<()> {
    runtime.check(pod)?;
    let confined = |profile: Option<&Profile>| {
        matches!(profile, Some(Profile::RuntimeDefault | Profile::Localhost(_)))
    };
    let shared = pod.spec.security.apparmor.as_ref();
    let asks = |c: &crate::model::Container| confined(c.security.apparmor.as_ref().or(shared));
    if !apparmor && pod.spec.all().any(|(_, c)| asks(c)) {
        let text = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        return refuse("securityContext.appArmorProfile", text);
    }
    for (name, _) in &pod.spec.security.sysctls {
        if let Err(why) = check_sysctl(pod, name, unsafe_sysctls) {
            return refuse("spec.securityContext.sysctls", &format!("forbidden sysctl: {why}"));
        }
    }
    Ok(())
}

fn check_sysctl(pod: &Pod, name: &str, allowed: &[String]) -> std::result::Result<(), String> {
    let matches = |pattern: &String| {
        let pattern = sysctl::dotted(pattern);
        match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        }
    };
    let host = match namespace(name) {
        Some(Namespace::Net) => pod.spec.host_network.then_some("network"),
        Some(Namespace::Ipc) => pod.spec.host_ipc.then_some("ipc"),
        None => return Err(format!("{name:?} is not known to be namespaced")),
    };
    if !SAFE_SYSCTLS.contains(&name) && !allowed.iter().any(matches) {
        return Err(format!("{name:?} not allowlisted"));
    }
    host.map_or(Ok(()), |ns| Err(format!("{name:?} not allowed with host {ns} enabled")))
}

enum Namespace {
    Net,
    Ipc,
}

/// The namespace that a sysctl is of, as far as the kernel has one for it.
fn namespace(name: &str) -> Option<Namespace> {
    const IPC: &[&str] = &["kernel.shm", "kernel.msg", "fs.mqueue."];
    if name.starts_with("net.") {
        Some(Namespace::Net)
    } else if name == "kernel.sem" || IPC.iter().any(|prefix| name.starts_with(prefix)) {
        Some(Namespace::Ipc)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn rrun() -> Runtime {
        let features =
            v1::RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: false };
        let handler =
            |name: &str| v1::RuntimeHandler { name: name.into(), features: Some(features) };
        Runtime { name: "rrun".into(), handlers: vec![handler(""), handler("rrun")] }
    }

    fn refusal(spec: &str) -> Option<String> {
        check(&pod(spec), &rrun(), false, &["net.core.*".to_owned()]).err().map(|e| e.to_string())
    }

    #[test]
    fn what_would_fail_at_every_try_is_refused_by_name_at_once() {
        let plain = "  containers: [{name: a, image: i}]\n";
        assert_eq!(refusal(plain), None);
        for (spec, want) in [
            (
                "  runtimeClassName: gvisor\n",
                Some("spec.runtimeClassName: rrun has no handler \"gvisor\""),
            ),
            ("  runtimeClassName: rrun\n", None),
            ("  volumes: [{name: v, image: {reference: x}}]\n", None),
            (
                "  hostUsers: false\n",
                Some(
                    "spec.hostUsers: can't set `spec.hostUsers: false`, runtime does not support user namespaces",
                ),
            ),
            (
                "  hostUsers: false\n  runtimeClassName: rrun\n",
                Some(
                    "spec.hostUsers: can't set `spec.hostUsers: false`, RuntimeClass handler \"rrun\" does not support user namespaces",
                ),
            ),
            (
                "  securityContext: {seLinuxOptions: {type: x}}\n",
                Some("securityContext.seLinuxOptions: not supported yet"),
            ),
            (
                "  securityContext: {appArmorProfile: {type: RuntimeDefault}}\n",
                Some(
                    "securityContext.appArmorProfile: Cannot enforce AppArmor: AppArmor is not enabled on the host",
                ),
            ),
            ("  securityContext: {appArmorProfile: {type: Unconfined}}\n", None),
        ] {
            assert_eq!(refusal(&format!("{spec}{plain}")).as_deref(), want, "{spec}");
        }
    }

    #[test]
    fn only_safe_sysctls_are_set_unless_others_are_allowed() {
        for (name, more, want) in [
            ("net.ipv4.tcp_syncookies", "", None),
            ("net/ipv4/ping_group_range", "", None),
            ("net.core.somaxconn", "", None),
            ("net.ipv4.ip_forward", "", Some("\"net.ipv4.ip_forward\" not allowlisted")),
            ("kernel.shm_rmid_forced", "", None),
            ("kernel.msgmax", "", Some("\"kernel.msgmax\" not allowlisted")),
            ("vm.swappiness", "", Some("\"vm.swappiness\" is not known to be namespaced")),
            (
                "kernel.shm_rmid_forced",
                "  hostIPC: true\n",
                Some("\"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
            ),
        ] {
            let found = refusal(&format!(
                "{more}  securityContext: {{sysctls: [{{name: {name}, value: '1'}}]}}\n  containers: [{{name: a, image: i}}]\n"
            ));
            let want = want.map(|w| format!("spec.securityContext.sysctls: forbidden sysctl: {w}"));
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn a_runtime_that_cannot_mount_recursively_is_not_asked_to() {
        let spec = |word: &str| {
            pod(&format!(
                "  containers: [{{name: a, image: i, volumeMounts: [{{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: {word}}}]}}]\n  volumes: [{{name: v}}]\n"
            ))
        };
        let plain = Runtime { name: "other".into(), handlers: Vec::new() };
        assert!(check(&spec("IfPossible"), &plain, false, &[]).is_ok());
        assert!(!plain.mounts_recursively_read_only(&spec("IfPossible")));
        assert!(check(&spec("Enabled"), &plain, false, &[]).is_err());
        assert!(check(&spec("Enabled"), &rrun(), false, &[]).is_ok());
        assert!(rrun().mounts_recursively_read_only(&spec("IfPossible")));
    }
}
