//! What plugins may ask of us by `capabilities`, and get in `runtimeConfig`.

use super::conf::Plugin;
use crate::attachment::Attachment;
use crate::rate::{self, Way};
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
    for way in [Way::Ingress, Way::Egress] {
        // The kubelet has admitted it; what is none is not limited.
        if let Ok(Some(rate)) = rate::of(&a.annotations, way) {
            let way = way.name();
            object.insert(format!("{way}Rate"), json!(rate));
            object.insert(format!("{way}Burst"), json!(u32::MAX));
        }
    }
    (!object.is_empty()).then_some(Value::Object(object))
}
