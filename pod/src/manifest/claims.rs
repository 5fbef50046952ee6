//! PersistentVolumes and PersistentVolumeClaims, and which is bound to which.
//!
//! A claim is bound to a volume that was given and is large enough for it; else it is a folder of the
//! node, which stays when its pods are gone.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Fields, Item, Read};
use super::meta::Key;
use super::volume::{REMOTE, host_path};
use crate::ids;
use crate::model::{Claim, HostPathType, VolumeSource};

/// A PersistentVolumeClaim as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    volume: Option<String>,
    class: String,
    bytes: i64,
    modes: Vec<String>,
}

/// A PersistentVolume as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    class: String,
    bytes: i64,
    modes: Vec<String>,
    path: (String, HostPathType),
    only_for: Option<(String, Option<String>)>,
}

/// The `spec` of a claim.
pub fn wanted(item: &Item<'_>) -> Read<Wanted> {
    item.object(|f| {
        f.refuse(&["dataSource", "dataSourceRef"])?;
        f.skip(&["volumeAttributesClassName"]);
        if f.get("selector").is_some() {
            f.note(&format!("{}.selector is not heeded", f.here().path));
        }
        files_only(f)?;
        let requests = f.opt("resources", |i| {
            i.object(|f| {
                f.skip(&["limits"]);
                f.opt("requests", |i| i.object(|f| f.opt("storage", Item::quantity)))
            })
        })?;
        Ok(Wanted {
            volume: f.word("volumeName", |i| i.checked(ids::subdomain_fault))?,
            class: f.word_or("storageClassName", Item::text, String::new())?,
            bytes: requests.flatten().flatten().map_or(0, |quantity| quantity.value()),
            modes: f.list("accessModes", Item::text)?,
        })
    })
}

/// The `spec` of a volume.
pub fn offered(item: &Item<'_>) -> Read<Offered> {
    item.object(|f| {
        f.refuse_kinds(REMOTE)?;
        f.skip(&["mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy"]);
        f.skip(&["volumeAttributesClassName"]);
        files_only(f)?;
        let capacity = f.need("capacity", |i| i.object(|f| f.need("storage", Item::quantity)))?;
        let on_host = f.opt("hostPath", host_path)?;
        let local = f.opt("local", |i| {
            i.object(|f| {
                f.skip(&["fsType"]);
                f.need("path", Item::text)
            })
        })?;
        let path = match (on_host, local) {
            (Some(VolumeSource::HostPath { path, kind }), None) => (path, kind),
            (None, Some(path)) => (path, HostPathType::Directory),
            _ => return Err(f.here().fault("must specify a volume type: hostPath or local")),
        };
        let only_for = f.opt("claimRef", |i| {
            i.object(|f| {
                f.skip(&["apiVersion", "fieldPath", "kind", "resourceVersion", "uid"]);
                Ok((f.need("name", Item::text)?, f.word("namespace", Item::text)?))
            })
        })?;
        Ok(Offered {
            class: f.word_or("storageClassName", Item::text, String::new())?,
            bytes: capacity.value(),
            modes: f.list("accessModes", Item::text)?,
            path,
            only_for,
        })
    })
}

fn files_only(f: &mut Fields<'_>) -> Read<()> {
    f.word("volumeMode", |i| match i.text()?.as_str() {
        "Filesystem" => Ok(()),
        "Block" => Err(i.fault("not supported yet: volumeMode Block")),
        other => Err(i.fault(format!("{other:?} is not one of Filesystem, Block"))),
    })
    .map(drop)
}

/// Binds claims to volumes: each to the one that it names, else to the smallest that is large enough
/// and of its class. `Err` of a claim whose volume was not given.
pub fn bind(
    wanted: &BTreeMap<Key, Wanted>,
    offered: &BTreeMap<String, Offered>,
) -> Result<BTreeMap<Key, Claim>, String> {
    let mut taken = BTreeSet::new();
    let mut bound = BTreeMap::new();
    // Those that name a volume first: nobody else gets it.
    for (key, claim) in wanted {
        let Some(name) = &claim.volume else { continue };
        let volume = offered.get(name).filter(|volume| volume.is_for(key));
        let why = || format!("PersistentVolumeClaim {}: volume {name:?} not found", key.0);
        let volume = volume.ok_or_else(why)?;
        if !taken.insert(name) {
            let why = format!("volume {name:?} already bound to a different claim");
            return Err(format!("PersistentVolumeClaim {}: {why}", key.0));
        }
        bound.insert(key.clone(), Claim { bound: Some(volume.path.clone()) });
    }
    for (key, claim) in wanted.iter().filter(|(_, claim)| claim.volume.is_none()) {
        let free = offered.iter().filter(|(name, volume)| {
            !taken.contains(name) && volume.is_for(key) && volume.suits(claim)
        });
        // One that waits for this very claim, then the smallest.
        let best = free.min_by_key(|(_, volume)| (volume.only_for.is_none(), volume.bytes));
        taken.extend(best.map(|(name, _)| name));
        let path = best.map(|(_, volume)| volume.path.clone());
        bound.insert(key.clone(), Claim { bound: path });
    }
    Ok(bound)
}

impl Offered {
    fn is_for(&self, (name, namespace): &Key) -> bool {
        self.only_for.as_ref().is_none_or(|(only, place)| {
            let near = place.as_deref().unwrap_or("default");
            only == name && near == namespace.as_deref().unwrap_or("default")
        })
    }

    fn suits(&self, claim: &Wanted) -> bool {
        self.class == claim.class
            && self.bytes >= claim.bytes
            && claim.modes.iter().all(|mode| self.modes.contains(mode))
    }
}
