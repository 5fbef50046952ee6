//! The pod's hostname and /etc/hosts.

use std::fmt::Write as _;

use crate::error::{Error, Kind, Result};
use crate::model::Pod;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HOST_NETWORK_HEADER: &str = "# Kubernetes-managed hosts file (host network).\n";
/// The domain that a subdomain hangs in, as in a cluster made by kubeadm.
const CLUSTER_DOMAIN: &str = "cluster.local";
const MAX_HOSTNAME: usize = 63;
/// What the kernel takes (`__NEW_UTS_LEN`).
const MAX_KERNEL_HOSTNAME: usize = 64;

/// A pod's hostname and the domain after it, which may be empty.
pub fn name_and_domain(pod: &Pod) -> (String, String) {
    let cut =
        |full: &str| full[..full.len().min(MAX_HOSTNAME)].trim_end_matches(['-', '.']).to_owned();
    if let Some(name) = &pod.spec.hostname_override {
        return (cut(name), String::new());
    }
    let name = cut(pod.spec.hostname.as_ref().unwrap_or(&pod.meta.name));
    let domain = pod.spec.subdomain.as_ref().map_or_else(String::new, |sub| {
        format!("{sub}.{}.svc.{CLUSTER_DOMAIN}", pod.meta.namespace)
    });
    (name, domain)
}

/// What the kernel's hostname of the pod is. `Invalid` for an FQDN that is too long for it.
pub fn kernel_hostname(pod: &Pod) -> Result<String> {
    let (name, domain) = name_and_domain(pod);
    if !pod.spec.hostname_as_fqdn || domain.is_empty() {
        return Ok(name);
    }
    let fqdn = format!("{name}.{domain}");
    if fqdn.len() > MAX_KERNEL_HOSTNAME {
        let why = format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({MAX_KERNEL_HOSTNAME} characters is the max, {} characters requested)",
            fqdn.len()
        );
        return Err(Error::new(Kind::Invalid, why));
    }
    Ok(fqdn)
}

/// The content of a pod's /etc/hosts. `host_file` is the node's own, which host-network pods
/// copy.
pub fn content(pod: &Pod, addresses: &[String], host_file: &str) -> String {
    let mut out = String::new();
    if pod.spec.host_network {
        out.push_str(HOST_NETWORK_HEADER);
        out.push_str(host_file);
    } else {
        out.push_str(HEADER);
        out.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        out.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n");
        out.push_str("fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let (name, domain) = name_and_domain(pod);
        for address in addresses {
            let _ = if domain.is_empty() {
                writeln!(out, "{address}\t{name}")
            } else {
                writeln!(out, "{address}\t{name}.{domain}\t{name}")
            };
        }
    }
    if !pod.spec.host_aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for (address, names) in &pod.spec.host_aliases {
            let _ = writeln!(out, "{address}\t{}", names.join("\t"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn the_hosts_file_is_the_kubelets() {
        let pod = pod("  containers: [{name: a, image: i}]
  hostname: h
  subdomain: s
  hostAliases: [{ip: 10.1.1.1, hostnames: [x, z]}]
");
        let text = content(&pod, &["10.0.0.2".into()], "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.2\th.s.default.svc.cluster.local\th\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n10.1.1.1\tx\tz\n"));
    }

    #[test]
    fn a_hostname_that_overrides_stands_alone() {
        let pod = pod("  containers: [{name: a, image: i}]
  hostname: h
  subdomain: s
  hostnameOverride: db.example.test
");
        assert_eq!(kernel_hostname(&pod).unwrap(), "db.example.test");
        let text = content(&pod, &["10.0.0.2".into()], "");
        assert!(text.ends_with("10.0.0.2\tdb.example.test\n"), "{text}");
    }

    #[test]
    fn a_long_name_is_cut_where_a_hostname_may_end() {
        let mut pod = pod("  containers: [{name: a, image: i}]\n");
        pod.meta.name = format!("{}-{}", "a".repeat(62), "b".repeat(20));
        assert_eq!(name_and_domain(&pod).0, "a".repeat(62));
    }
}
