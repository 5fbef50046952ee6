//! Documents that pods refer to: ConfigMaps, Secrets, claims of volumes, and Services.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;

use super::claims::{self, Offered, Wanted};
use super::fields::{Fields, Item, Notes, Read};
use super::meta::{Key, key, key_of_workload};
use super::service::{self, Bound, Candidate, Declared};
use super::tree::YamlNode;
use super::values::{data_key_fault, expect};
use crate::ids;
use crate::model::{Claim, ConfigMap, Objects, Secret};

/// Objects as they are read, before it is known which of them a pod can see.
#[derive(Debug, Default)]
pub struct Documents {
    config_maps: BTreeMap<Key, ConfigMap>,
    secrets: BTreeMap<Key, Secret>,
    wanted: BTreeMap<Key, Wanted>,
    offered: BTreeMap<String, Offered>,
    services: BTreeMap<Key, Declared>,
    notes: Vec<String>,
}

impl Documents {
    /// What a pod in `namespace` sees: objects of its namespace and those that name none. The
    /// others are noted; `Err` says which of them cannot be together.
    pub fn visible(&self, namespace: &str, notes: &Notes) -> Result<Objects, String> {
        self.notes.iter().for_each(|note| notes.add(note));
        let claims: BTreeMap<Key, Claim> = claims::bind(&self.wanted, &self.offered)?;
        Ok(Objects {
            config_maps: visible("ConfigMap", &self.config_maps, namespace, notes)?,
            secrets: visible("Secret", &self.secrets, namespace, notes)?,
            claims: visible("PersistentVolumeClaim", &claims, namespace, notes)?,
            services: Arc::default(),
        })
    }

    /// What a pod in `namespace` sees of Services, which select among `pods`.
    pub fn services(&self, namespace: &str, pods: &[Candidate<'_>]) -> Result<Bound, String> {
        service::bind(&self.services, namespace, pods)
    }
}

fn visible<T: Clone>(
    kind: &str,
    all: &BTreeMap<Key, T>,
    namespace: &str,
    notes: &Notes,
) -> Result<BTreeMap<String, T>, String> {
    let mut seen = BTreeMap::new();
    for ((name, place), object) in all {
        match place {
            Some(other) if other != namespace => {
                notes.add(&format!(
                    "{kind} {name}: in namespace {other}, the pod is in {namespace}"
                ));
            }
            _ => {
                if seen.insert(name.clone(), object.clone()).is_some() {
                    return Err(format!("{name} is given twice"));
                }
            }
        }
    }
    Ok(seen)
}

/// Largest ConfigMap or Secret, in bytes of data (the API server's bound).
const MAX_DATA: usize = 1 << 20;

/// Reads one into `objects`. A second one of the same kind and name is refused: which of them counts
/// would depend on the order of files.
pub fn document(node: &YamlNode, objects: &mut Documents) -> Read<()> {
    let notes = Notes::default();
    let name = read(&Item::root(&notes, node), objects)?;
    let all = notes.into_sentences().into_iter().map(|note| format!("{name}: {note}"));
    objects.notes.extend(all);
    Ok(())
}

fn read(item: &Item<'_>, objects: &mut Documents) -> Read<String> {
    item.object(|f| {
        f.need("apiVersion", |i| expect(i, "v1"))?;
        let kinds = ["ConfigMap", "PersistentVolume", "PersistentVolumeClaim", "Secret", "Service"];
        let kind = f.need("kind", |i| i.one_of(&kinds.map(|kind| (kind, kind))))?;
        let key = f.need("metadata", if kind == "Service" { key_of_service } else { key })?;
        let name = key.0.clone();
        if !matches!(kind, "ConfigMap" | "Secret") {
            f.skip(&["status"]);
        }
        let fresh = match kind {
            "Secret" => objects.secrets.insert(key, read_secret(f)?).is_none(),
            "ConfigMap" => objects.config_maps.insert(key, read_map(f)?).is_none(),
            "PersistentVolume" => {
                let offered = f.need("spec", claims::offered)?;
                objects.offered.insert(key.0, offered).is_none()
            }
            "Service" => {
                let declared = f.need("spec", service::spec)?;
                objects.services.insert(key, declared).is_none()
            }
            _ => objects.wanted.insert(key, f.need("spec", claims::wanted)?).is_none(),
        };
        if fresh {
            Ok(format!("{kind} {name}"))
        } else {
            Err(item.fault(format!("{name} is given twice")))
        }
    })
}

/// Its labels say nothing of its pods, and its name is a word of DNS.
fn key_of_service(item: &Item<'_>) -> Read<Key> {
    let key = key_of_workload(item)?;
    match ids::label_fault(&key.0) {
        None => Ok(key),
        Some(why) => Err(item.fault(format!("name {:?} {why}", key.0))),
    }
}

fn keyed<T>(key: &str, item: &Item<'_>, value: Read<T>) -> Read<T> {
    match data_key_fault(key) {
        None => value,
        Some(why) => Err(item.fault(format!("{key:?} {why}"))),
    }
}

fn bytes(item: &Item<'_>) -> Read<Vec<u8>> {
    let text: String = item.text()?.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.map_err(|e| item.fault(format!("not base64: {e}")))
}

fn read_map(f: &mut Fields<'_>) -> Read<ConfigMap> {
    let text = f.opt("data", |i| i.map(|k, i| keyed(k, i, i.text().map(String::into_bytes))))?;
    let binary = f.opt("binaryData", |i| i.map(|k, i| keyed(k, i, bytes(i))))?;
    let (mut data, binary) = (text.unwrap_or_default(), binary.unwrap_or_default());
    if let Some(key) = binary.keys().find(|key| data.contains_key(*key)) {
        return Err(f.here().fault(format!("key {key} is in data and in binaryData")));
    }
    let names = binary.keys().cloned().collect();
    data.extend(binary);
    bounded(f, data.values().map(Vec::len).sum())?;
    Ok(ConfigMap { data, binary: names, immutable: f.flag("immutable")? })
}

fn read_secret(f: &mut Fields<'_>) -> Read<Secret> {
    let kind = f.word_or("type", Item::text, "Opaque".to_owned())?;
    let encoded = f.opt("data", |i| i.map(|k, i| keyed(k, i, bytes(i))))?;
    let plain =
        f.opt("stringData", |i| i.map(|k, i| keyed(k, i, i.text().map(String::into_bytes))))?;
    let mut data = encoded.unwrap_or_default();
    // stringData wins, as at the API server.
    data.extend(plain.unwrap_or_default());
    bounded(f, data.values().map(Vec::len).sum())?;
    Ok(Secret { kind, data, immutable: f.flag("immutable")? })
}

fn bounded(f: &Fields<'_>, size: usize) -> Read<()> {
    if size > MAX_DATA {
        return Err(f.here().fault(format!("more than {MAX_DATA} bytes of data")));
    }
    Ok(())
}
