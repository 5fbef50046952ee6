//! What a manifest says of a pod, as it is written there.

use serde_json::{Map, Number, Value as Json};

use super::fields::Notes;
use super::kinds::{self, Kind};
use super::tree::{Value, YamlNode};
use super::{Source, draft, without_lists, yaml};

/// The spec of a pod of these manifests, without what the API server would add: of `namespace/name`, or
/// of the first. None where there is no such pod, or what there is cannot be read.
pub fn spec(manifests: &[Source<'_>], pod: Option<&str>) -> Option<Json> {
    let notes = Notes::default();
    for source in manifests {
        for node in without_lists(yaml::documents(source.text, &notes).ok()?) {
            let kind = kinds::of(&node).ok()?;
            if !matches!(kind, Kind::Pod | Kind::Workload) {
                continue;
            }
            let drafted = draft(source, &node, kind, &notes).ok()?;
            let found = drafted.iter().find(|one| {
                let meta = &one.draft.meta;
                pod.is_none_or(|pod| pod == format!("{}/{}", meta.namespace, meta.name))
            });
            if let Some(found) = found {
                return at(&node, found.path).map(json);
            }
        }
    }
    None
}

fn at<'a>(root: &'a YamlNode, path: &str) -> Option<&'a YamlNode> {
    path.split('.').try_fold(root, |node, part| match &node.value {
        Value::Map(entries) => {
            entries.iter().find(|(key, ..)| key == part).map(|(_, _, node)| node)
        }
        _ => None,
    })
}

fn json(node: &YamlNode) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(is) => Json::Bool(*is),
        Value::Int(number) => Json::from(*number),
        // One that JSON has not stays what was written.
        Value::Float(text) => {
            let number = text.parse().ok().and_then(Number::from_f64);
            number.map_or_else(|| Json::String(text.clone()), Json::Number)
        }
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, _, node)| (key.clone(), json(node)));
            Json::Object(entries.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_spec_is_found_where_it_stands_in_a_pod_a_list_and_a_workload() {
        let pod = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\n\
            spec: {containers: [{name: c, image: i, tty: true}], terminationGracePeriodSeconds: 3}\n";
        let work = "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: w, namespace: other}\n\
            spec:\n  replicas: 2\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: \
            {a: b}}, spec: {containers: [{name: d, image: j}]}}\n";
        let both = format!("{pod}---\n{work}");
        let source = [Source { name: "m.yaml", text: both.as_bytes() }];
        let first = spec(&source, None).unwrap();
        assert_eq!(first["containers"][0], json!({"name": "c", "image": "i", "tty": true}));
        assert_eq!(first["terminationGracePeriodSeconds"], 3);
        let second = spec(&source, Some("other/w-1")).unwrap();
        assert_eq!(second, json!({"containers": [{"name": "d", "image": "j"}]}));
        assert_eq!(spec(&source, Some("other/x")), None);
    }
}
