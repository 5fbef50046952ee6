//! The Pod document itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::container::{self, container};
use super::fields::{Fields, Item, Read};
use super::values::{CLUSTER_META, address, expect};
use super::{security, volume};
use crate::ids::{self, PodUid};
use crate::model::{Claim, DnsConfig, DnsPolicy, Job, Meta, PodSpec, Resources, RestartPolicy};

/// Fields that only a scheduler, an API server or a controller reads.
const CLUSTER_FIELDS: &[&str] = &[
    "affinity",
    "automountServiceAccountToken",
    "ephemeralContainers",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "schedulerName",
    "schedulingGates",
    "tolerations",
    "topologySpreadConstraints",
    "schedulingGroup",
];

/// What a document says of a pod before it is known whether its parts fit together.
pub struct Draft {
    /// Its metadata.
    pub meta: Meta,
    /// Its spec.
    pub spec: PodSpec,
    /// Claims that belong to it alone.
    pub claims: BTreeMap<String, Claim>,
    /// The Job that it is of.
    pub job: Option<Arc<Job>>,
}

/// Reads a Pod; `text` is the file, from which an absent uid is derived.
pub fn document(item: &Item<'_>, text: &[u8]) -> Read<Draft> {
    item.object(|f| {
        f.need("apiVersion", |i| expect(i, "v1"))?;
        f.need("kind", |i| expect(i, "Pod"))?;
        f.ignore(&["status"]);
        let meta = f.need("metadata", |i| meta(i, text))?;
        let spec = f.need("spec", spec)?;
        Ok(Draft { meta, spec, claims: BTreeMap::new(), job: None })
    })
}

fn meta(item: &Item<'_>, text: &[u8]) -> Read<Meta> {
    item.object(|f| {
        f.ignore(CLUSTER_META);
        match (f.get("name"), f.word("generateName", Item::text)?) {
            (None, Some(_)) => {
                return Err(f.here().fault("generateName is for API servers; give a name"));
            }
            (_, Some(_)) => f.note("metadata.generateName means nothing beside a name"),
            _ => {}
        }
        let name = f.need("name", |i| i.checked(ids::subdomain_fault))?;
        let namespace =
            f.word_or("namespace", |i| i.checked(ids::label_fault), "default".to_owned())?;
        let uid =
            f.word("uid", |i| PodUid::parse(&i.text()?).map_err(|e| i.fault(e.to_string())))?;
        Ok(Meta {
            uid: uid.unwrap_or_else(|| PodUid::derive(&namespace, &name, text)),
            name,
            namespace,
            labels: labels(f)?,
            annotations: annotations(f)?,
            generation: f.or("generation", |i| i.int(0, i64::MAX), 0)?,
        })
    })
}

/// `metadata.labels`.
pub fn labels(f: &mut Fields<'_>) -> Read<BTreeMap<String, String>> {
    let labels = f.opt("labels", |i| {
        i.map(|key, i| keyed(key, i).and_then(|()| i.checked(ids::label_value_fault)))
    })?;
    Ok(labels.unwrap_or_default())
}

/// `metadata.annotations`.
pub fn annotations(f: &mut Fields<'_>) -> Read<BTreeMap<String, String>> {
    let annotations = f.opt("annotations", |i| {
        // Unlike a label's, their prefix may have capitals.
        i.map(|key, i| keyed(&key.to_lowercase(), i).and_then(|()| i.text()))
    })?;
    Ok(annotations.unwrap_or_default())
}

fn keyed(key: &str, item: &Item<'_>) -> Read<()> {
    match ids::key_fault(key) {
        None => Ok(()),
        Some(why) => Err(item.fault(format!("key {key:?} {why}"))),
    }
}

/// `spec` of a pod or a template.
pub fn spec(item: &Item<'_>) -> Read<PodSpec> {
    item.object(|f| {
        f.ignore(CLUSTER_FIELDS);
        f.refuse(&["resourceClaims"])?;
        let os = f.opt("os", |i| i.object(|f| f.need("name", |i| expect(i, "linux"))))?;
        let host_users = f.or("hostUsers", Item::boolean, true)?;
        if !host_users {
            f.list("initContainers", no_devices)?;
            f.list("containers", no_devices)?;
        }
        let containers = f.need("containers", |i| {
            let all = i.list(|i| container(i, false))?;
            if all.is_empty() { Err(i.fault("must not be empty")) } else { Ok(all) }
        })?;
        let deprecated = f.word("serviceAccount", Item::text)?;
        let service_account = f.word("serviceAccountName", Item::text)?.or(deprecated);
        let policies = container::RESTART_POLICIES;
        let secret =
            |i: &Item<'_>| i.object(|f| f.word("name", |i| i.checked(ids::subdomain_fault)));
        let gate =
            |i: &Item<'_>| i.object(|f| f.need("conditionType", |i| i.checked(ids::key_fault)));
        let mut spec = PodSpec {
            names_its_os: os.is_some(),
            volumes: Vec::new(),
            init_containers: f.list("initContainers", |i| container(i, true))?,
            containers,
            restart_policy: f.word_or(
                "restartPolicy",
                |i| i.one_of(policies),
                RestartPolicy::Always,
            )?,
            termination_grace_period: f.or("terminationGracePeriodSeconds", Item::grace, 30)?,
            active_deadline: f.opt("activeDeadlineSeconds", Item::positive)?,
            dns_policy: dns_policy(f)?,
            dns_config: f.opt("dnsConfig", dns_config)?.unwrap_or_default(),
            host_network: f.flag("hostNetwork")?,
            host_pid: f.flag("hostPID")?,
            host_ipc: f.flag("hostIPC")?,
            host_users,
            share_process_namespace: f.flag("shareProcessNamespace")?,
            security: f.opt("securityContext", security::pod)?.unwrap_or_default(),
            hostname: f.word("hostname", |i| i.checked(ids::label_fault))?,
            subdomain: f.word("subdomain", |i| i.checked(ids::label_fault))?,
            hostname_as_fqdn: f.flag("setHostnameAsFQDN")?,
            hostname_override: f.opt("hostnameOverride", |i| i.checked(ids::subdomain_fault))?,
            host_aliases: f.list("hostAliases", host_alias)?,
            image_pull_secrets: f.list("imagePullSecrets", secret)?.into_iter().flatten().collect(),
            runtime_class: f.word("runtimeClassName", |i| i.checked(ids::subdomain_fault))?,
            node_name: f.word("nodeName", Item::text)?,
            service_account: service_account.unwrap_or_else(|| "default".to_owned()),
            enable_service_links: f.or("enableServiceLinks", Item::boolean, true)?,
            readiness_gates: f.list("readinessGates", gate)?,
            resources: f.or("resources", container::pod_resources, Resources::default())?,
        };
        for volume in f.list("volumes", volume::volume)? {
            match volume {
                Ok(volume) => spec.volumes.push(volume),
                Err(name) => unmount(&mut spec, &name),
            }
        }
        crate::resources::default_pod_level(&mut spec);
        Ok(spec)
    })
}

/// The API server's words for what is not done at all, where it would not be done in any case.
fn no_devices(container: &Item<'_>) -> Read<()> {
    let fault = |i: &Item<'_>| {
        let devices = i.list(|_| Ok(()))?;
        let forbidden = || Err(i.fault("Forbidden: when `hostUsers` is false"));
        if devices.is_empty() { Ok(()) } else { forbidden() }
    };
    container.fields()?.opt("volumeDevices", fault).map(|_| ())
}

/// Takes a volume that is left out from all containers.
fn unmount(spec: &mut PodSpec, volume: &str) {
    for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
        container.mounts.retain(|mount| mount.name != volume);
    }
}

fn dns_policy(f: &mut Fields<'_>) -> Read<DnsPolicy> {
    let words = [
        ("ClusterFirst", DnsPolicy::ClusterFirst),
        ("ClusterFirstWithHostNet", DnsPolicy::ClusterFirstWithHostNet),
        ("Default", DnsPolicy::Default),
        ("None", DnsPolicy::None),
    ];
    f.word_or("dnsPolicy", |i| i.one_of(&words), DnsPolicy::ClusterFirst)
}

fn dns_config(item: &Item<'_>) -> Read<DnsConfig> {
    item.object(|f| {
        let option = |i: &Item<'_>| {
            i.object(|f| {
                Ok((
                    f.need("name", |i| i.checked(dns_word_fault))?,
                    f.word("value", |i| i.checked(dns_word_fault))?,
                ))
            })
        };
        let nameservers = f.list("nameservers", address)?;
        if nameservers.len() > 3 {
            return Err(f.here().fault("may not have more than 3 nameservers"));
        }
        Ok(DnsConfig {
            nameservers,
            searches: f.list("searches", |i| i.checked(search_fault))?,
            options: f.list("options", option)?,
        })
    })
}

fn dns_word_fault(word: &str) -> Option<&'static str> {
    let ok = !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
    (!ok).then_some("is not a word of resolv.conf")
}

/// A search domain may end in a dot, have underscores, or be the root.
fn search_fault(domain: &str) -> Option<&'static str> {
    let bare = domain.strip_suffix('.').unwrap_or(domain);
    if bare.is_empty() && domain == "." {
        return None;
    }
    ids::subdomain_fault(&bare.replace('_', "-").replace("-.", "x.").replace(".-", ".x"))
}

fn host_alias(item: &Item<'_>) -> Read<(String, Vec<String>)> {
    item.object(|f| {
        let ip = f.need("ip", address)?;
        Ok((ip, f.list("hostnames", |i| i.checked(ids::subdomain_fault))?))
    })
}
