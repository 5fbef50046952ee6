//! Services: what is asked for, and which pods of the manifest are behind them.
//!
//! Nothing here has an address of a Service's own or passes connections on: a Service is a name for
//! the addresses of its pods, and what that cannot do is noted.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::Fault;
use super::fields::{Fields, Item, Read};
use super::labels::{self, Selector};
use super::meta::Key;
use super::values::{PROTOCOLS, address};
use crate::ids;
use crate::model::{Meta, PodSpec, Protocol, SelectedPod, Service, ServicePort};

/// A Service as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// None where something else than pods is behind it.
    selector: Option<Selector>,
    headless: bool,
    ports: Vec<(ServicePort, Target)>,
}

/// The port of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Number(u16),
    Name(String),
}

/// A pod that Services may select.
pub type Candidate<'a> = (&'a Meta, &'a PodSpec);

/// What pods of one namespace see of Services.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// By name.
    pub services: Vec<Service>,
    /// What they cannot do here, a sentence each.
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// The `spec` of a Service.
pub fn spec(item: &Item<'_>) -> Read<Declared> {
    item.object(|f| {
        f.skip(&["allocateLoadBalancerNodePorts", "clusterIPs", "externalTrafficPolicy"]);
        f.skip(&["healthCheckNodePort", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy"]);
        f.skip(&["publishNotReadyAddresses", "sessionAffinity", "sessionAffinityConfig"]);
        f.skip(&["trafficDistribution"]);
        f.ignore(&["externalIPs", "loadBalancerClass", "loadBalancerIP"]);
        f.ignore(&["loadBalancerSourceRanges"]);
        let types = [
            ("ClusterIP", Type::ClusterIp),
            ("NodePort", Type::NodePort),
            ("LoadBalancer", Type::LoadBalancer),
            ("ExternalName", Type::ExternalName),
        ];
        let kind = f.word_or("type", |i| i.one_of(&types), Type::ClusterIp)?;
        if matches!(kind, Type::NodePort | Type::LoadBalancer) {
            f.note("no port of the node leads to it: give a container a hostPort");
        }
        let headless = cluster_ip(f, kind)?;
        let selector = f.opt("selector", labels::plain_selector)?;
        let selector = selector.filter(|selector| *selector != Selector::default());
        let external = external_name(f, kind)?;
        if selector.is_none() && !external {
            f.note("it has no selector, and nothing is behind it here");
        }
        let ports = f.list("ports", port)?;
        let needs_ports = !headless && !external;
        check(f, &ports, needs_ports)?;
        Ok(Declared { selector: selector.filter(|_| !external), headless, ports })
    })
}

/// Whether it is to have no address.
fn cluster_ip(f: &mut Fields<'_>, kind: Type) -> Read<bool> {
    let given = f.word("clusterIP", |i| match i.text()?.as_str() {
        "None" if matches!(kind, Type::NodePort | Type::LoadBalancer) => {
            let text = "may not be set to 'None' for NodePort and LoadBalancer services";
            Err(i.fault(text))
        }
        "None" => Ok(None),
        _ => address(i).map(Some),
    })?;
    if let Some(Some(address)) = &given {
        f.note(&format!("nobody answers at {address}: its name leads to its pods"));
    }
    Ok(given == Some(None))
}

/// Whether it is another name for something outside.
fn external_name(f: &mut Fields<'_>, kind: Type) -> Read<bool> {
    let name = f.word("externalName", Item::text)?;
    if kind != Type::ExternalName {
        return Ok(false);
    }
    let name = name.ok_or_else(|| missing(f, "externalName"))?;
    f.note(&format!("only a DNS server could make its name lead to {name}: use {name} itself"));
    Ok(true)
}

fn port(item: &Item<'_>) -> Read<(ServicePort, Target)> {
    item.object(|f| {
        f.skip(&["appProtocol", "nodePort"]);
        let name = f.word("name", |i| i.checked(ids::label_fault))?;
        let port = f.need("port", Item::port)?;
        let protocol = f.word_or("protocol", |i| i.one_of(PROTOCOLS), Protocol::Tcp)?;
        let target = f.opt("targetPort", |i| {
            Ok(match i.int_or_text()? {
                // Go's decoder has 0 where nothing is said.
                Ok(0) => None,
                Ok(_) => Some(Target::Number(i.port()?)),
                Err(name) if name.is_empty() => None,
                Err(_) => Some(Target::Name(i.checked(ids::port_name_fault)?)),
            })
        })?;
        let target = target.flatten().unwrap_or(Target::Number(port));
        Ok((ServicePort { name, port, protocol }, target))
    })
}

fn check(f: &Fields<'_>, ports: &[(ServicePort, Target)], needed: bool) -> Read<()> {
    if needed && ports.is_empty() {
        return Err(missing(f, "ports"));
    }
    let mut names = BTreeSet::new();
    for (i, (port, _)) in ports.iter().enumerate() {
        match &port.name {
            None if ports.len() > 1 => {
                return Err(missing(f, &format!("ports[{i}].name")));
            }
            Some(name) if !names.insert(name) => {
                return Err(f.here().fault(format!("port {name:?} is given twice")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn missing(f: &Fields<'_>, name: &str) -> Fault {
    Fault::at(f.here().line(), &format!("{}.{name}", f.here().path), "is required")
}

/// What a pod in `namespace` sees of all Services. One that names no namespace is in each. `Err` of
/// a name that is given twice.
pub fn bind(
    declared: &BTreeMap<Key, Declared>,
    namespace: &str,
    pods: &[Candidate<'_>],
) -> Result<Bound, String> {
    let mut bound = Bound::default();
    let mut names = BTreeSet::new();
    for ((name, place), one) in declared {
        let place = place.as_deref().unwrap_or(namespace);
        if !names.insert((place, name)) {
            return Err(format!("Service {name} is given twice"));
        }
        let Some(selector) = &one.selector else { continue };
        let selected =
            |(meta, _): &&Candidate<'_>| meta.namespace == place && selector.matches(&meta.labels);
        let behind: Vec<_> = pods.iter().filter(selected).copied().collect();
        one.tell(name, &behind, &mut bound.notes);
        bound.services.push(Service {
            name: name.clone(),
            namespace: place.to_owned(),
            headless: one.headless,
            ports: one.ports.iter().map(|(port, _)| port.clone()).collect(),
            pods: behind.iter().map(|pod| selected_pod(*pod, name, one.headless)).collect(),
        });
    }
    Ok(bound)
}

fn selected_pod((meta, spec): Candidate<'_>, service: &str, headless: bool) -> SelectedPod {
    let is_named = headless && spec.subdomain.as_deref() == Some(service);
    let hostname = spec.hostname.clone().filter(|_| is_named);
    SelectedPod { name: meta.name.clone(), hostname }
}

impl Declared {
    /// Notes what a name for addresses cannot do.
    fn tell(&self, name: &str, behind: &[Candidate<'_>], notes: &mut Vec<String>) {
        let mut note = |text: String| notes.push(format!("Service {name}: {text}"));
        if behind.is_empty() {
            note("none of these pods has the labels that it selects".to_owned());
        }
        if self.headless {
            return;
        }
        if behind.len() > 1 {
            let count = behind.len();
            note(format!(
                "its name leads to all {count} pods and its variables to the first; connections are \
                 not spread among them"
            ));
        }
        for (ServicePort { port, .. }, target) in &self.ports {
            let ports: BTreeSet<u16> =
                behind.iter().flat_map(|(_, spec)| target.numbers(spec)).collect();
            for other in ports.iter().filter(|other| *other != port) {
                note(format!(
                    "nothing turns its port {port} into port {other} of its pods: connect to \
                     {name}:{other}"
                ));
            }
        }
    }
}

impl Target {
    /// The ports of a pod that are meant.
    fn numbers(&self, spec: &PodSpec) -> Vec<u16> {
        match self {
            Target::Number(port) => vec![*port],
            Target::Name(name) => {
                let all = spec.all().flat_map(|(_, container)| &container.ports);
                let called = all.filter(|port| port.name.as_ref() == Some(name));
                called.map(|port| port.container_port).collect()
            }
        }
    }
}
