//! ConfigMaps and Secrets that a pod refers to.
//!
//! In a cluster a pod waits for those that are not there: somebody may still make them. Here they
//! come with the manifest or never, so one that is missing is refused before anything is made,
//! wherever it is referred to.

use super::{Refusal, refuse};
use crate::model::{Container, EnvSource, FileKeyRef, ObjectSource, Pod, VolumeSource};

/// Whether an object was given, and has these keys.
pub fn needed<'a>(
    pod: &Pod,
    object: &ObjectSource,
    keys: impl IntoIterator<Item = &'a str>,
    at: &str,
) -> Result<(), Refusal> {
    let (kind, name, data) = match object {
        ObjectSource::ConfigMap(name) => {
            ("ConfigMap", name, pod.objects.config_maps.get(name).map(|map| &map.data))
        }
        ObjectSource::Secret(name) => {
            ("Secret", name, pod.objects.secrets.get(name).map(|secret| &secret.data))
        }
    };
    let Some(data) = data else { return refuse(at, format!("no {kind} {name:?} was given")) };
    match keys.into_iter().find(|key| !data.contains_key(*key)) {
        Some(key) => refuse(at, format!("{kind} {name:?} has no key {key:?}")),
        None => Ok(()),
    }
}

/// Checks the environment of a container.
pub fn environment(pod: &Pod, container: &Container, at: &str) -> Result<(), Refusal> {
    for (i, from) in container.env_from.iter().enumerate().filter(|(_, from)| !from.optional) {
        needed(pod, &from.source, [], &format!("{at}.envFrom[{i}]"))?;
    }
    for (i, var) in container.env.iter().enumerate() {
        if let EnvSource::File(reference) = &var.source {
            env_file(pod, reference, &format!("{at}.env[{i}].valueFrom.fileKeyRef.volumeName"))?;
        }
        let EnvSource::Key { object, key, optional: false } = &var.source else { continue };
        let at = format!("{at}.env[{i}].valueFrom");
        needed(pod, object, [key.as_str()], &at)?;
        if let ObjectSource::ConfigMap(name) = object
            && pod.objects.config_maps.get(name).is_some_and(|map| map.binary.contains(key))
        {
            return refuse(at, format!("ConfigMap {name:?} has {key:?} in binaryData alone"));
        }
    }
    Ok(())
}

/// Files of variables are what an init container leaves to the others.
fn env_file(pod: &Pod, reference: &FileKeyRef, at: &str) -> Result<(), Refusal> {
    let name = &reference.volume;
    match pod.spec.volumes.iter().find(|volume| volume.name == *name) {
        None => refuse(at.to_owned(), format!("no volume is named {name:?}")),
        Some(volume) if !matches!(volume.source, VolumeSource::EmptyDir { .. }) => {
            refuse(at.to_owned(), "referenced volume must be of type emptyDir")
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::{self, Source};

    const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {k: v}
binaryData: {b: AA==}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: v}
";

    /// What is said of a container with this line in it, beside the objects.
    fn refusal(line: &str) -> Option<String> {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  \
             volumes:\n  - {{name: v}}\n  - {{name: h, hostPath: {{path: /h}}}}\n  \
             containers:\n  - name: a\n    image: i:1\n    {line}\n"
        );
        let objects = [Source { name: "objects.yaml", text: OBJECTS.as_bytes() }];
        manifest::pod(Source { name: "web.yaml", text: text.as_bytes() }, &objects)
            .err()
            .map(|e| e.to_string())
    }

    #[test]
    fn an_object_or_a_key_that_was_not_given_is_refused_wherever_it_is_needed() {
        let at = "web.yaml:11: spec.containers[0].env";
        for (line, why) in [
            (
                "env: [{name: X, valueFrom: {configMapKeyRef: {name: gone, key: k}}}]",
                "[0].valueFrom: no ConfigMap \"gone\" was given",
            ),
            (
                "env: [{name: X, valueFrom: {secretKeyRef: {name: gone, key: k}}}]",
                "[0].valueFrom: no Secret \"gone\" was given",
            ),
            (
                "env: [{name: W, value: x}, {name: X, valueFrom: {secretKeyRef: {name: s, key: l}}}]",
                "[1].valueFrom: Secret \"s\" has no key \"l\"",
            ),
            (
                "env: [{name: X, valueFrom: {configMapKeyRef: {name: m, key: b}}}]",
                "[0].valueFrom: ConfigMap \"m\" has \"b\" in binaryData alone",
            ),
            (
                "env: [{name: X, valueFrom: {fileKeyRef: {volumeName: gone, path: f, key: K}}}]",
                "[0].valueFrom.fileKeyRef.volumeName: no volume is named \"gone\"",
            ),
            (
                "env: [{name: X, valueFrom: {fileKeyRef: {volumeName: h, path: f, key: K}}}]",
                "[0].valueFrom.fileKeyRef.volumeName: referenced volume must be of type emptyDir",
            ),
            ("envFrom: [{configMapRef: {name: gone}}]", "From[0]: no ConfigMap \"gone\" was given"),
            ("envFrom: [{secretRef: {name: gone}}]", "From[0]: no Secret \"gone\" was given"),
        ] {
            assert_eq!(refusal(line), Some(format!("{at}{why}")), "{line}");
            let optional = line.replacen("name: gone", "name: gone, optional: true", 1);
            if optional != line {
                assert_eq!(refusal(&optional), None, "{optional}");
            }
        }
        for line in [
            "env: [{name: X, valueFrom: {configMapKeyRef: {name: m, key: k}}}]",
            "env: [{name: X, valueFrom: {secretKeyRef: {name: s, key: l, optional: true}}}]",
            "env: [{name: X, valueFrom: {fileKeyRef: {volumeName: v, path: /f, key: K}}}]",
            "envFrom: [{configMapRef: {name: m}}, {secretRef: {name: s}}]",
        ] {
            assert_eq!(refusal(line), None, "{line}");
        }
    }
}
