//! A container's environment.

mod expansion;
mod services;

pub use expansion::Environment;

use std::collections::BTreeMap;

use expansion::{MOST_EXPANDED, expand, take};

use crate::addresses::Addresses;
use crate::error::{Error, Kind, Result};
use crate::model::{
    Container, EnvFrom, EnvSource, FileKeyRef, ObjectSource, Pod, PodField, ResourceField,
    ResourceFieldRef, ResourceName,
};
use crate::node::NodeFacts;
use crate::quantity::Quantity;

/// The variables whose text stands in the manifest, as it stands there; those that come from
/// elsewhere are empty. The command of an exec probe is expanded from these
/// (`ExpandContainerCommandOnlyStatic` of the kubelet).
pub fn fixed(container: &Container) -> Environment {
    let mut env = Environment::default();
    for var in &container.env {
        let value =
            if let EnvSource::Value(text) = &var.source { text.clone() } else { String::new() };
        env.set(var.name.clone(), value);
    }
    env
}

/// What files of volumes say of the variables that stand there.
pub type FileValues = BTreeMap<FileKeyRef, Option<String>>;

/// The environment of `container`. What is missing and not optional is an error, which becomes
/// `CreateContainerConfigError`.
pub fn environment(
    pod: &Pod,
    container: &Container,
    addresses: &Addresses,
    node: &NodeFacts,
    files: &FileValues,
) -> Result<Environment> {
    let mut env = Environment::default();
    let services = services::variables(pod, addresses);
    let mut room = MOST_EXPANDED;
    for from in &container.env_from {
        for (key, value) in whole_object(pod, from)? {
            let value = take(&mut room, value)?;
            env.set(format!("{}{key}", from.prefix), value);
        }
    }
    for var in &container.env {
        let value = match &var.source {
            EnvSource::Value(text) => {
                let value = |name: &str| env.get(name).or_else(|| services.get(name));
                Some(expand(text, value, room)?.0)
            }
            EnvSource::Field(field) => field_value(pod, &field.0, addresses, node),
            EnvSource::Resource(reference) => {
                Some(resource_value(pod, container, reference, node)?.to_string())
            }
            EnvSource::Key { object, key, optional } => one_key(pod, object, key, *optional)?,
            EnvSource::File(reference) => match files.get(reference).cloned().flatten() {
                None if !reference.optional => return Err(no_such_key(reference)),
                value => value,
            },
        };
        if let Some(value) = value {
            let value = take(&mut room, value)?;
            env.set(var.name.clone(), value);
        }
    }
    for (name, value) in services.iter() {
        if env.get(name).is_none() {
            env.set(name.to_owned(), take(&mut room, value.to_owned())?);
        }
    }
    Ok(env)
}

fn no_such_key(FileKeyRef { volume, path, key, .. }: &FileKeyRef) -> Error {
    let text = format!("environment variable key {key:?} not found in file {path:?} of {volume}");
    Error::new(Kind::NotFound, text)
}

fn missing(pod: &Pod, kind: &str, name: &str) -> Error {
    Error::new(Kind::NotFound, format!("{kind} \"{}/{name}\" not found", pod.meta.namespace))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn whole_object(pod: &Pod, from: &EnvFrom) -> Result<BTreeMap<String, String>> {
    let (found, kind, name) = match &from.source {
        ObjectSource::ConfigMap(name) => {
            let entries = pod.objects.config_maps.get(name).map(|map| {
                let plain = map.data.iter().filter(|(key, _)| !map.binary.contains(key));
                plain.map(|(k, v)| (k.clone(), text(v))).collect()
            });
            (entries, "configmap", name)
        }
        ObjectSource::Secret(name) => {
            let entries = pod
                .objects
                .secrets
                .get(name)
                .map(|s| s.data.iter().map(|(k, v)| (k.clone(), text(v))).collect());
            (entries, "secret", name)
        }
    };
    match found {
        Some(entries) => Ok(entries),
        None if from.optional => Ok(BTreeMap::new()),
        None => Err(missing(pod, kind, name)),
    }
}

fn one_key(pod: &Pod, object: &ObjectSource, key: &str, optional: bool) -> Result<Option<String>> {
    let (data, kind, name) = match object {
        ObjectSource::ConfigMap(name) => {
            let map = pod.objects.config_maps.get(name);
            (
                map.map(|m| m.data.get(key).filter(|_| !m.binary.iter().any(|b| b == key))),
                "configmap",
                name,
            )
        }
        ObjectSource::Secret(name) => {
            (pod.objects.secrets.get(name).map(|s| s.data.get(key)), "secret", name)
        }
    };
    match data {
        Some(Some(value)) => Ok(Some(text(value))),
        _ if optional => Ok(None),
        None => Err(missing(pod, kind, name)),
        Some(None) => {
            let object = if kind == "secret" { "Secret" } else { "ConfigMap" };
            let place = format!("{object} {}/{name}", pod.meta.namespace);
            Err(Error::new(Kind::NotFound, format!("couldn't find key {key} in {place}")))
        }
    }
}

/// The value of a pod's field; `None` for a label or annotation map (volumes write those).
pub fn field_value(
    pod: &Pod,
    field: &PodField,
    addresses: &Addresses,
    node: &NodeFacts,
) -> Option<String> {
    let meta = &pod.meta;
    Some(match field {
        PodField::Name => meta.name.clone(),
        PodField::Namespace => meta.namespace.clone(),
        PodField::Uid => meta.uid.to_string(),
        PodField::Label(key) => meta.labels.get(key).cloned().unwrap_or_default(),
        PodField::Annotation(key) => meta.annotations.get(key).cloned().unwrap_or_default(),
        PodField::NodeName => pod.spec.node_name.clone().unwrap_or_else(|| node.name.clone()),
        PodField::ServiceAccountName => pod.spec.service_account.clone(),
        PodField::HostIp => node.addresses.first().cloned().unwrap_or_default(),
        PodField::HostIps => node.addresses.join(","),
        PodField::PodIp => addresses.pod.first().cloned().unwrap_or_default(),
        PodField::PodIps => addresses.pod.join(","),
        PodField::Labels => quoted_map(&meta.labels),
        PodField::Annotations => quoted_map(&meta.annotations),
    })
}

/// `key="value"` a line, as the downward API writes maps.
fn quoted_map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(k, v)| format!("{k}=\"{}\"", quoted(v))).collect();
    lines.join("\n")
}

/// What stands between the quotes of Go's `%q`. What can be printed is so by Rust's table, behind a
/// letter: a mark that would stand alone is escaped there.
fn quoted(text: &str) -> String {
    let one = |c: char| -> String {
        let code = u32::from(c);
        match c {
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            _ if code < 0x20 && !matches!(c, '\t' | '\n' | '\r') || code == 0x7f => {
                format!("\\x{code:02x}")
            }
            '\'' => c.to_string(),
            _ => match format!("x{c}").escape_debug().to_string() {
                escaped if !escaped.starts_with("x\\u{") => escaped[1..].to_owned(),
                _ if code > 0xffff => format!("\\U{code:08x}"),
                _ => format!("\\u{code:04x}"),
            },
        }
    };
    text.chars().map(one).collect()
}

/// An amount of a container's resources in units of the divisor, rounded up. A missing limit is
/// what the node has.
pub fn resource_value(
    pod: &Pod,
    own: &Container,
    reference: &ResourceFieldRef,
    node: &NodeFacts,
) -> Result<i64> {
    let container = match &reference.container {
        None => own,
        Some(name) => {
            let found = pod.spec.find(name).map(|(_, c)| c);
            found
                .ok_or_else(|| Error::new(Kind::NotFound, format!("container {name} not found")))?
        }
    };
    let pick = |list: &crate::model::ResourceList, name: &ResourceName| match name {
        ResourceName::Cpu => list.cpu,
        ResourceName::Memory => list.memory,
        ResourceName::EphemeralStorage => list.ephemeral_storage,
        ResourceName::HugePages(size) => list.hugepages.get(size).copied(),
    };
    let amount = match &reference.field {
        // Pages are never more than was asked for, by the container itself.
        ResourceField::Limit(name @ ResourceName::HugePages(_)) => {
            pick(&container.resources.limits, name).unwrap_or(Quantity::ZERO)
        }
        ResourceField::Request(name) => {
            pick(&container.resources.requests, name).unwrap_or(Quantity::ZERO)
        }
        ResourceField::Limit(name) => {
            let own = pick(&container.resources.limits, name);
            // A pod's limit is what its containers have, before all that the node has.
            own.or(pick(&pod.spec.resources.limits, name)).unwrap_or(match name {
                ResourceName::Cpu => Quantity::from_milli(node.cpu_milli),
                ResourceName::Memory => Quantity::from_units(node.memory_bytes),
                ResourceName::EphemeralStorage => Quantity::from_units(node.storage_bytes),
                ResourceName::HugePages(_) => Quantity::ZERO,
            })
        }
    };
    Ok(amount.div_ceil(reference.divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn variables_that_double_one_another_end_at_the_bound() {
        let vars: Vec<String> =
            (0..64).map(|n| format!("{{name: A{}, value: \"$(A{n})$(A{n})\"}}", n + 1)).collect();
        let env = format!("env: [{{name: A0, value: xxxx}}, {}]", vars.join(", "));
        let pod = testing::pod(&format!("  containers: [{{name: a, image: i, {env}}}]\n"));
        let container = &pod.spec.containers[0];
        let (addresses, files) = (Addresses::default(), FileValues::default());
        let refused = environment(&pod, container, &addresses, &testing::facts(), &files);
        let words = "the values of variables become longer than 16777216 bytes";
        assert_eq!(refused.unwrap_err().to_string(), words);
    }

    #[test]
    fn labels_and_annotations_are_quoted_as_go_quotes() {
        for (text, want) in [
            ("a b'\"\\", r#"a b'\"\\"#),
            ("\t\n\r\u{7}\u{8}\u{b}\u{c}", r"\t\n\r\a\b\v\f"),
            ("\0\u{1b}\u{7f}", r"\x00\x1b\x7f"),
            ("é e\u{301} 日本 🦀", "é e\u{301} 日本 🦀"),
            ("\u{a0}\u{200b}\u{e0001}", r"\u00a0\u200b\U000e0001"),
        ] {
            assert_eq!(quoted(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_probes_command_sees_the_manifests_own_texts() {
        let pod = testing::pod(
            "  containers: [{name: a, image: i, env: [{name: A, value: $(B)}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}]\n",
        );
        let fixed = fixed(&pod.spec.containers[0]);
        let shown = fixed.expand(&["$(A)|$(IP)|$(NO)|$$(A)".to_owned()]).unwrap();
        assert_eq!(shown, ["$(B)||$(NO)|$(A)"]);
    }

    #[test]
    fn a_pods_limit_comes_before_what_the_node_has() {
        let pod = testing::pod(
            "  resources: {limits: {cpu: 3}}
  containers: [{name: a, image: i, env: [{name: C, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: M, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}]}]
",
        );
        let node = testing::facts();
        let (container, addresses) = (&pod.spec.containers[0], Addresses::default());
        let env = environment(&pod, container, &addresses, &node, &FileValues::new()).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), [("C", "3"), ("M", "8")]);
    }

    #[test]
    fn sources_are_read_in_order_and_the_later_wins() {
        let pod = testing::pod(
            "  containers:
  - name: a
    image: i:1
    resources: {limits: {cpu: 1500m, hugepages-2Mi: 4Mi}}
    envFrom:
    - {prefix: P_, configMapRef: {name: c}}
    - {secretRef: {name: none, optional: true}}
    env:
    - {name: FIRST, value: $(P_k)-$(LATER)}
    - {name: LATER, value: x}
    - {name: P_k, value: over}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MILLI, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: PAGES, valueFrom: {resourceFieldRef: {resource: limits.hugepages-2Mi, divisor: 1Mi}}}
    - {name: NO_PAGES, valueFrom: {resourceFieldRef: {resource: requests.hugepages-1Gi}}}
    - {name: GONE, valueFrom: {configMapKeyRef: {name: c, key: zz, optional: true}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {k: v}
",
        );
        let addresses = Addresses { pod: vec!["10.0.0.2".into()], ..Addresses::default() };
        let node = testing::facts();
        let container = &pod.spec.containers[0];
        let env = environment(&pod, container, &addresses, &node, &FileValues::new()).unwrap();
        let want = [
            ("P_k", "over"),
            ("FIRST", "v-$(LATER)"),
            ("LATER", "x"),
            ("NODE", "node"),
            ("IP", "10.0.0.2"),
            ("CPU", "2"),
            ("MILLI", "1500"),
            ("MEM", "8192"),
            ("PAGES", "4"),
            ("NO_PAGES", "0"),
        ];
        assert_eq!(env.iter().collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_variable_of_a_file_is_what_the_file_says() {
        let reference = |optional| {
            format!("{{fileKeyRef: {{volumeName: v, path: f, key: K, optional: {optional}}}}}")
        };
        let run = |optional: bool, value: Option<&str>| {
            let pod = testing::pod(&format!(
                "  volumes: [{{name: v}}]\n  containers: [{{name: a, image: i, env: [{{name: X, valueFrom: {}}}]}}]\n",
                reference(optional)
            ));
            let container = &pod.spec.containers[0];
            let EnvSource::File(key) = &container.env[0].source else { panic!("{container:?}") };
            let files = [(key.clone(), value.map(str::to_owned))].into();
            let node = testing::facts();
            environment(&pod, container, &Addresses::default(), &node, &files)
        };
        assert_eq!(run(false, Some("$(K)")).unwrap().get("X"), Some("$(K)"));
        assert_eq!(run(true, None).unwrap().get("X"), None);
        let error = run(false, None).unwrap_err().to_string();
        assert_eq!(error, "environment variable key \"K\" not found in file \"f\" of v");
    }

    #[test]
    fn a_missing_key_names_object_and_key() {
        let pod = testing::pod(
            "  containers:
  - name: a
    image: i:1
    env: [{name: X, valueFrom: {secretKeyRef: {name: s, key: k}}}]
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: v}
",
        );
        let run = |pod: &Pod| {
            let node = testing::facts();
            let (container, addresses) = (&pod.spec.containers[0], Addresses::default());
            environment(pod, container, &addresses, &node, &FileValues::new())
                .unwrap_err()
                .to_string()
        };
        let mut pod = pod;
        pod.objects.secrets.clear();
        assert_eq!(run(&pod), "secret \"default/s\" not found");
        pod.objects.secrets.insert("s".into(), crate::model::Secret::default());
        assert_eq!(run(&pod), "couldn't find key k in Secret default/s");
    }
}
