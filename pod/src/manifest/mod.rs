//! Pod YAML → a checked [`Pod`].
//!
//! One error at a time, and it names the file, the line and the path:
//! `examples/hello.yaml:12: spec.containers[0].prots: unknown field`. The reader is our own: serde
//! can say that a field is unknown, but not "known, and not done yet", nor "known, and means
//! nothing here", and it loses the line as soon as a value is buffered.

mod as_json;
mod claims;
mod container;
mod env;
mod fault;
mod fields;
mod kinds;
mod labels;
mod meta;
mod near;
mod object;
mod pod;
mod probe;
mod scalar;
mod security;
mod service;
mod text;
mod tree;
mod values;
mod volume;
mod workload;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use as_json::spec;
pub use labels::Selector;
pub(crate) use values::default_pull_policy;

use fault::Fault;
use fields::{Item, Notes};
use kinds::Kind;
use object::Documents;
use pod::Draft;
use tree::{Value, YamlNode};

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::model::{Pod, Service};

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
        Error::new(ErrorKind::Invalid, format!("{}{colon}{fault}", self.name))
    }
}

/// Reads the one Pod of `manifest`, as [`pods`] does.
///
/// # Errors
/// `Invalid` when there are several, too.
pub fn pod(manifest: Source<'_>, configs: &[Source<'_>]) -> Result<Pod> {
    let mut all = pods(&[manifest], configs)?;
    match (all.pop(), all.is_empty()) {
        (Some(pod), true) => Ok(pod),
        _ => Err(manifest.fault(&Fault::at(0, "", "more than one Pod in it"))),
    }
}

/// Reads all Pods from `manifests`, and what their workloads (Deployments, Jobs and the like) would
/// make. ConfigMaps, Secrets, claims and Services may be further documents of these, or be in
/// `configs`.
///
/// # Errors
/// `Invalid` for anything that Kubernetes would refuse and for every field that this version
/// would not honour; what means nothing without a cluster is told in `Pod::notes`.
pub fn pods(manifests: &[Source<'_>], configs: &[Source<'_>]) -> Result<Vec<Pod>> {
    let mut objects = Documents::default();
    let noted = Notes::default();
    let mut files = Vec::new();
    for source in configs.iter().chain(manifests) {
        let nodes = yaml::documents(source.text, &noted).map_err(|fault| source.fault(&fault))?;
        files.push((source, without_lists(nodes)));
    }
    let mut drafts = Vec::new();
    for (i, (source, nodes)) in files.iter().enumerate() {
        for node in nodes {
            let kind = kinds::of(node).map_err(|fault| source.fault(&fault))?;
            let read = match kind {
                Kind::Object => object::document(node, &mut objects),
                Kind::Noted => {
                    let title = kinds::title(node);
                    noted.add(&format!("{title} means nothing without a cluster"));
                    Ok(())
                }
                Kind::Pod | Kind::Workload if i < configs.len() => {
                    let text = "a Pod among the objects for another: give it as a manifest";
                    Err(Fault::at(node.line, "kind", text))
                }
                Kind::Pod | Kind::Workload => {
                    draft(source, node, kind, &noted).map(|found| drafts.extend(found))
                }
            };
            read.map_err(|fault| source.fault(&fault))?;
        }
    }
    let general = noted.into_sentences();
    let services = services(&drafts, &objects);
    let mut pods = Vec::new();
    for drafted in drafts {
        let source = drafted.source;
        let seen = &services[&drafted.draft.meta.namespace];
        let pod = complete(drafted, &objects, (&general, seen));
        let pod = pod.map_err(|fault| source.fault(&fault))?;
        if pods.iter().any(|other: &Pod| is_called_as(other, &pod)) {
            let name = format!("Pod {}/{} is given twice", pod.meta.namespace, pod.meta.name);
            return Err(source.fault(&Fault::at(0, "", name)));
        }
        pods.push(pod);
    }
    match (pods.is_empty(), manifests) {
        (true, [first, ..]) => Err(first.fault(&Fault::at(0, "", "no Pod in it"))),
        _ => Ok(pods),
    }
}

fn is_called_as(one: &Pod, other: &Pod) -> bool {
    one.meta.name == other.meta.name && one.meta.namespace == other.meta.namespace
}

/// A pod that was read, and from where.
struct Drafted<'a> {
    source: &'a Source<'a>,
    root: &'a YamlNode,
    /// Where its spec stands: `spec.template.spec`.
    path: &'static str,
    draft: Draft,
    notes: Vec<String>,
}

/// The pods of one document. If it has none, what is noted of it goes to `noted`.
fn draft<'a>(
    source: &'a Source<'a>,
    root: &'a YamlNode,
    kind: Kind,
    noted: &Notes,
) -> fields::Read<Vec<Drafted<'a>>> {
    let notes = Notes::default();
    let item = Item::root(&notes, root);
    let (drafts, path) = match kind {
        Kind::Workload => workload::workload(&item, source.text)?,
        _ => (vec![pod::document(&item, source.text)?], "spec"),
    };
    let notes = notes.into_sentences();
    if drafts.is_empty() {
        notes.iter().for_each(|note| noted.add(note));
    }
    let drafted = |draft| Drafted { source, root, path, draft, notes: notes.clone() };
    Ok(drafts.into_iter().map(drafted).collect())
}

/// Services as the pods of a namespace see them, and what is noted of them.
type Seen = Result<(Arc<Vec<Service>>, Vec<String>), String>;

/// By namespace: the pods of one have them in common.
fn services(drafts: &[Drafted<'_>], objects: &Documents) -> BTreeMap<String, Seen> {
    let pods: Vec<_> = drafts.iter().map(|one| (&one.draft.meta, &one.draft.spec)).collect();
    let mut seen = BTreeMap::new();
    for (meta, _) in &pods {
        seen.entry(meta.namespace.clone()).or_insert_with_key(|namespace| {
            let bound = objects.services(namespace, &pods)?;
            Ok((Arc::new(bound.services), bound.notes))
        });
    }
    seen
}

/// Gives a pod what it can see, and checks whether its parts fit together.
fn complete(
    drafted: Drafted<'_>,
    objects: &Documents,
    (general, seen): (&[String], &Seen),
) -> fields::Read<Pod> {
    let Drafted { root, path, draft, .. } = drafted;
    let Draft { meta, spec, claims, job } = draft;
    let notes = Notes::default();
    general.iter().chain(&drafted.notes).for_each(|note| notes.add(note));
    let visible = objects.visible(&meta.namespace, &notes);
    let mut objects = visible.map_err(|why| Fault::at(0, "", why))?;
    objects.claims.extend(claims);
    let (services, told) = seen.as_ref().map_err(|why| Fault::at(0, "", why))?;
    objects.services = services.clone();
    told.iter().for_each(|note| notes.add(note));
    for name in &spec.image_pull_secrets {
        if !objects.secrets.contains_key(name) {
            notes.add(&format!("{path}.imagePullSecrets: no Secret {name:?} was given"));
        }
    }
    let pod = Pod { meta, spec, objects, job, notes: notes.into_sentences() };
    match crate::validate::pod(&pod) {
        Ok(()) => Ok(pod),
        Err((at, message)) => {
            let at = at.replacen("spec", path, 1);
            Err(Fault::at(line_of(root, &at), &at, message))
        }
    }
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
