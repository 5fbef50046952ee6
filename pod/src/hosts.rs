//! The pod's hostname and /etc/hosts.

use std::fmt::Write as _;

use crate::addresses::Addresses;
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

/// The content of a pod's /etc/hosts, with the names of Services as far as their pods have addresses.
/// `host_file` is the node's own, which host-network pods copy.
pub fn content(pod: &Pod, addresses: &Addresses, host_file: &str) -> String {
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
        for address in &addresses.pod {
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
    let services = services(pod, addresses);
    if !services.is_empty() {
        out.push_str("\n# Entries added by Services.\n");
        out.push_str(&services);
    }
    out
}

/// A line for each address that a Service leads to, and for each pod that has a name below it.
fn services(pod: &Pod, addresses: &Addresses) -> String {
    let mut out = String::new();
    for service in pod.objects.services.iter() {
        let names = |name: &str| {
            let full = format!("{name}.{}", service.namespace);
            let mut names =
                vec![format!("{full}.svc.{CLUSTER_DOMAIN}"), format!("{full}.svc"), full];
            if service.namespace == pod.meta.namespace {
                names.push(name.to_owned());
            }
            names.join("\t")
        };
        for selected in &service.pods {
            for address in addresses.behind(service, selected, &pod.meta) {
                let _ = writeln!(out, "{address}\t{}", names(&service.name));
                if let Some(hostname) = &selected.hostname {
                    let name = format!("{hostname}.{}", service.name);
                    let _ = writeln!(out, "{address}\t{}", names(&name));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{labelled_pod, pod};

    fn known() -> Addresses {
        Addresses { pod: vec!["10.0.0.2".into()], ..Addresses::default() }
    }

    #[test]
    fn services_have_the_addresses_of_their_pods_under_the_names_of_a_cluster() {
        let pod = labelled_pod(
            "{app: db}",
            "  containers: [{name: a, image: i}]
  hostname: db-0
  subdomain: db
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, namespace: default, labels: {app: db}}
spec: {hostname: db-1, subdomain: db, containers: [{name: a, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}}
---
apiVersion: v1
kind: Service
metadata: {name: any, namespace: default}
spec: {selector: {app: db}, ports: [{port: 80}]}
",
        );
        let mut addresses = known();
        let names = |name: &str| {
            format!("{name}.default.svc.cluster.local\t{name}.default.svc\t{name}.default\t{name}")
        };
        let lines = |addresses: &Addresses| {
            let text = content(&pod, addresses, "");
            let added = text.split("\n# Entries added by Services.\n").nth(1).unwrap();
            added.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let own = |name: &str| format!("10.0.0.2\t{}", names(name));
        let other = |name: &str| format!("10.0.0.3\t{}", names(name));
        assert_eq!(lines(&addresses), [own("any"), own("db"), own("db-0.db")]);
        addresses.others.insert("default/db-1".into(), vec!["10.0.0.3".into()]);
        let all =
            [own("any"), other("any"), own("db"), own("db-0.db"), other("db"), other("db-1.db")];
        assert_eq!(lines(&addresses), all);
    }

    #[test]
    fn the_hosts_file_is_the_kubelets() {
        let pod = pod("  containers: [{name: a, image: i}]
  hostname: h
  subdomain: s
  hostAliases: [{ip: 10.1.1.1, hostnames: [x, z]}]
");
        let text = content(&pod, &known(), "");
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
        let text = content(&pod, &known(), "");
        assert!(text.ends_with("10.0.0.2\tdb.example.test\n"), "{text}");
    }

    #[test]
    fn a_long_name_is_cut_where_a_hostname_may_end() {
        let mut pod = pod("  containers: [{name: a, image: i}]\n");
        pod.meta.name = format!("{}-{}", "a".repeat(62), "b".repeat(20));
        assert_eq!(name_and_domain(&pod).0, "a".repeat(62));
    }
}
