//! Pod YAML → a checked [`Pod`].
//!
//! One error at a time, and it names the file, the line and the path:
//! `examples/hello.yaml:12: spec.containers[0].prots: unknown field`. The reader is our own: serde
//! can say that a field is unknown, but not "known, and not done yet", nor "known, and means
//! nothing here", and it loses the line as soon as a value is buffered.

mod container;
mod env;
mod fault;
mod fields;
mod object;
mod pod;
mod probe;
mod scalar;
mod security;
mod text;
mod tree;
mod values;
mod volume;
mod yaml;

#[cfg(test)]
mod tests;

use fault::Fault;
use fields::{Item, Notes};
use object::Documents;
use tree::{Value, YamlNode};

use crate::error::{Error, Kind, Result};
use crate::model::Pod;

/// The text of a manifest and what it is called in errors.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// A file's path, or `stdin`.
    pub name: &'a str,
    /// Its bytes.
    pub text: &'a [u8],
}

impl Source<'_> {
    fn fault(&self, fault: &Fault) -> Error {
        let colon = if fault.line > 0 { ":" } else { ": " };
        Error::new(Kind::Invalid, format!("{}{colon}{fault}", self.name))
    }
}

/// Reads one Pod from `manifest`, which may hold its ConfigMaps and Secrets as further documents,
/// and more objects from `configs`.
///
/// `Invalid` for anything that Kubernetes would refuse and for every field that this version
/// would not honour; what means nothing without a cluster is told in `Pod::notes`.
pub fn pod(manifest: Source<'_>, configs: &[Source<'_>]) -> Result<Pod> {
    let (mut objects, notes) = (Documents::default(), Notes::default());
    for config in configs {
        read_objects(config, &mut objects, &notes).map_err(|fault| config.fault(&fault))?;
    }
    read_pod(manifest, objects, notes).map_err(|fault| manifest.fault(&fault))
}

fn read_objects(source: &Source<'_>, objects: &mut Documents, notes: &Notes) -> fields::Read<()> {
    for node in without_lists(yaml::documents(source.text, notes)?) {
        object::document(&node, objects)?;
    }
    Ok(())
}

/// The documents, with the items of a `List` in its place: that is how `kubectl get` prints more
/// than one object.
fn without_lists(nodes: Vec<YamlNode>) -> Vec<YamlNode> {
    let mut all = Vec::new();
    for node in nodes {
        match items(&node) {
            Some(items) => all.extend(without_lists(items)),
            None => all.push(node),
        }
    }
    all
}

fn items(node: &YamlNode) -> Option<Vec<YamlNode>> {
    kind(node).filter(|kind| kind.ends_with("List"))?;
    let Value::Map(entries) = &node.value else { return None };
    let (_, _, items) = entries.iter().find(|(key, ..)| key == "items")?;
    match &items.value {
        Value::List(items) => Some(items.clone()),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

fn read_pod(source: Source<'_>, mut objects: Documents, notes: Notes) -> fields::Read<Pod> {
    let nodes = without_lists(yaml::documents(source.text, &notes)?);
    let (others, pods): (Vec<&YamlNode>, Vec<&YamlNode>) =
        nodes.iter().partition(|node| matches!(kind(node), Some("ConfigMap" | "Secret")));
    let root = match pods.as_slice() {
        [] => return Err(Fault::at(0, "", "no Pod in it")),
        [one] => *one,
        [_, second, ..] => {
            return Err(Fault::at(
                second.line,
                "",
                "a second document that is no ConfigMap or Secret: one Pod a file",
            ));
        }
    };
    for node in others {
        object::document(node, &mut objects)?;
    }
    let pod::Document { meta, spec } = pod::document(&Item::root(&notes, root), source.text)?;
    let twice = |name: String| Fault::at(0, "", format!("{name} is given twice"));
    let objects = objects.visible(&meta.namespace, &notes).map_err(twice)?;
    for name in &spec.image_pull_secrets {
        if !objects.secrets.contains_key(name) {
            notes.add(&format!("spec.imagePullSecrets: no Secret {name:?} was given"));
        }
    }
    let pod = Pod { meta, spec, objects, notes: notes.into_sentences() };
    match crate::validate::pod(&pod) {
        Ok(()) => Ok(pod),
        Err((path, message)) => Err(Fault::at(line_of(root, &path), &path, message)),
    }
}

fn kind(node: &YamlNode) -> Option<&str> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, ..)| key == "kind").and_then(|(_, _, node)| match &node.value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// The line of the deepest part of `path` (`spec.containers[1].name`) that is in the tree.
fn line_of(root: &YamlNode, path: &str) -> usize {
    let (mut node, mut line) = (root, root.line);
    for part in path.split(['.', '[']) {
        let next = match (&node.value, part.strip_suffix(']')) {
            (Value::List(items), Some(index)) => {
                index.parse().ok().and_then(|i: usize| items.get(i)).map(|n| (n.line, n))
            }
            (Value::Map(entries), None) => {
                entries.iter().find(|(key, ..)| key == part).map(|(_, line, n)| (*line, n))
            }
            _ => None,
        };
        let Some((at, found)) = next else { break };
        (line, node) = (at, found);
    }
    line
}
