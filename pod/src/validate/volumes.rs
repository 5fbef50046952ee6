//! Names and sources of volumes.

use std::collections::HashSet;

use super::{Refusal, objects, refuse};
use crate::model::{DownwardContent, ObjectSource, Pod, Projection, VolumeSource};

/// Checks every volume of the pod.
pub fn check(pod: &Pod) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for (i, volume) in pod.spec.volumes.iter().enumerate() {
        let at = format!("spec.volumes[{i}]");
        if !names.insert(volume.name.as_str()) {
            return refuse(format!("{at}.name"), format!("{:?} is given twice", volume.name));
        }
        if let VolumeSource::Claim { claim, .. } = &volume.source
            && !pod.objects.claims.contains_key(claim)
        {
            return refuse(at, format!("no PersistentVolumeClaim {claim:?} was given"));
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
            let keys = items.iter().map(|item| item.key.as_str());
            objects::needed(pod, &ObjectSource::ConfigMap(name.clone()), keys, at)?;
        }
        Projection::Secret { name, items, optional: false } => {
            let keys = items.iter().map(|item| item.key.as_str());
            objects::needed(pod, &ObjectSource::Secret(name.clone()), keys, at)?;
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
