//! What plugins may ask of us by `capabilities`, and get in `runtimeConfig`.

use super::conf::Plugin;
use crate::attachment::Attachment;
use serde_json::{Map, Value, json};

/// The `runtimeConfig` of a plugin: those of our values that it declares, and that there are.
pub fn runtime_config(plugin: &Plugin, a: &Attachment) -> Option<Value> {
    let declared = plugin.get("capabilities")?.as_object()?;
    let wanted = declared.iter().filter(|(_, wanted)| **wanted == Value::Bool(true));
    let config: Map<String, Value> =
        wanted.filter_map(|(name, _)| Some((name.clone(), value(name, a)?))).collect();
    (!config.is_empty()).then_some(Value::Object(config))
}

fn value(name: &str, a: &Attachment) -> Option<Value> {
    match name {
        "portMappings" => port_mappings(a),
        "bandwidth" => bandwidth(a),
        "dns" => {
            let dns = &a.dns;
            let any =
                !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty());
            any.then(|| json!(dns))
        }
        "cgroupPath" => (!a.cgroup_path.is_empty()).then(|| json!(a.cgroup_path)),
        "io.kubernetes.cri.pod-annotations" => Some(json!(a.annotations)),
        _ => None,
    }
}

fn port_mappings(a: &Attachment) -> Option<Value> {
    let mapped = a.ports.iter().filter(|port| port.host_port != 0);
    let list: Vec<Value> = mapped
        .map(|port| {
            json!({
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol,
                "hostIP": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            })
        })
        .collect();
    (!list.is_empty()).then_some(Value::Array(list))
}

/// Rates in bits per second, from the pod's annotations; the burst is the largest that tc takes.
fn bandwidth(a: &Attachment) -> Option<Value> {
    let mut object = Map::new();
    for way in ["ingress", "egress"] {
        let text = a.annotations.get(&format!("kubernetes.io/{way}-bandwidth"));
        if let Some(rate) = text.and_then(|text| quantity(text)) {
            object.insert(format!("{way}Rate"), json!(rate));
            object.insert(format!("{way}Burst"), json!(u32::MAX));
        }
    }
    (!object.is_empty()).then_some(Value::Object(object))
}

/// A Kubernetes quantity, rounded up. The kubelet has admitted it; what is none is not limited.
fn quantity(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let value = (number.parse::<f64>().ok()? * scale).ceil();
    (value >= 1.0 && value < u64::MAX as f64).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("10M", Some(10_000_000)),
            ("1.5Ki", Some(1536)),
            ("512", Some(512)),
            ("1e3", Some(1000)),
            ("1500m", Some(2)),
            ("", None),
            ("-5", None),
            ("fast", None),
            ("1e99", None),
        ] {
            assert_eq!(quantity(text), expected, "{text}");
        }
    }
}
