//! Names and sources of volumes.

use std::collections::HashSet;

use super::{Refusal, refuse};
use crate::model::{DownwardContent, Pod, Projection, VolumeSource};

/// Checks every volume of the pod. Objects that are referred to and not given are found here, at
/// the start, and not after the sandbox is made, as in a cluster where they may still come.
pub fn check(pod: &Pod) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for (i, volume) in pod.spec.volumes.iter().enumerate() {
        let at = format!("spec.volumes[{i}]");
        if !names.insert(volume.name.as_str()) {
            return refuse(format!("{at}.name"), format!("{:?} is given twice", volume.name));
        }
        if let VolumeSource::Projected { sources, .. } = &volume.source {
            for source in sources {
                projection(pod, source, &at)?;
            }
        }
    }
    Ok(())
}

fn projection(pod: &Pod, source: &Projection, at: &str) -> Result<(), Refusal> {
    match source {
        Projection::ConfigMap { name, items, optional: false } => {
            let Some(map) = pod.objects.config_maps.get(name) else {
                return refuse(at, format!("no ConfigMap {name:?} was given"));
            };
            if let Some(item) = items.iter().find(|item| !map.data.contains_key(&item.key)) {
                return refuse(at, format!("ConfigMap {name:?} has no key {:?}", item.key));
            }
        }
        Projection::Secret { name, items, optional: false } => {
            let Some(secret) = pod.objects.secrets.get(name) else {
                return refuse(at, format!("no Secret {name:?} was given"));
            };
            if let Some(item) = items.iter().find(|item| !secret.data.contains_key(&item.key)) {
                return refuse(at, format!("Secret {name:?} has no key {:?}", item.key));
            }
        }
        Projection::DownwardApi(items) => {
            for item in items {
                if let DownwardContent::Resource(reference) = &item.content
                    && let Some(name) = &reference.container
                    && pod.spec.find(name).is_none()
                {
                    return refuse(at, format!("no container is named {name:?}"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}
