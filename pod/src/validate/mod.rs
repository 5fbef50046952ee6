//! Whether the parts of a pod fit together: what the API server checks across fields.

mod containers;
mod objects;
mod users;
mod volumes;

use crate::model::{DnsPolicy, Pod};

/// A path in the manifest and what is wrong there.
pub type Refusal = (String, String);

pub(crate) fn refuse<T>(path: impl Into<String>, why: impl Into<String>) -> Result<T, Refusal> {
    Err((path.into(), why.into()))
}

/// Checks a pod that was read without fault; the first refusal ends it.
pub fn pod(pod: &Pod) -> Result<(), Refusal> {
    let spec = &pod.spec;
    if spec.share_process_namespace && spec.host_pid {
        return refuse("spec.shareProcessNamespace", "may not be set together with hostPID");
    }
    let path = "spec.hostnameOverride";
    match &spec.hostname_override {
        Some(_) if spec.hostname_as_fqdn => {
            return refuse(path, "may not be set together with setHostnameAsFQDN");
        }
        Some(_) if spec.host_network => return refuse(path, "may not be set with hostNetwork"),
        Some(name) if name.len() > 64 => return refuse(path, "must not be longer than 64"),
        _ => {}
    }
    if spec.dns_policy == DnsPolicy::None && spec.dns_config.nameservers.is_empty() {
        return refuse("spec.dnsConfig.nameservers", "must not be empty when dnsPolicy is None");
    }
    let names: Vec<&str> = spec.security.sysctls.iter().map(|(n, _)| n.as_str()).collect();
    if let Some(i) = (1..names.len()).find(|i| names[..*i].contains(&names[*i])) {
        let path = format!("spec.securityContext.sysctls[{i}].name");
        return refuse(path, format!("{:?} is given twice", names[i]));
    }
    if spec.host_network
        && let Some(i) = spec.security.sysctls.iter().position(|(name, _)| name.starts_with("net."))
    {
        let path = format!("spec.securityContext.sysctls[{i}].name");
        return refuse(path, "net sysctls belong to the node when hostNetwork is true");
    }
    users::check(pod)?;
    volumes::check(pod)?;
    containers::check(pod)
}
