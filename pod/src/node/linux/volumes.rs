//! Every volume of a pod, made in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::payload::{File, Payload};
use super::{empty_dir, files, host_path, mounts, payload};
use crate::addresses::Addresses;
use crate::env;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{
    DownwardContent, DownwardItem, KeyToPath, MountPropagation, Pod, Projection, Volume,
    VolumeSource,
};
use crate::node::NodeFacts;
use crate::resources;

/// Bytes that a payload may take in memory beside its content.
const SLACK: i64 = 1 << 20;

/// What the volumes of one pod are made from.
pub struct Set<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its folder.
    pub dir: &'a Path,
    /// Where claims are.
    pub claims: &'a Path,
    /// Its addresses, as far as they are known.
    pub addresses: &'a Addresses,
    /// The node.
    pub facts: &'a NodeFacts,
}

impl Set<'_> {
    /// Makes all volumes and answers where they are.
    pub fn prepare(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut places = BTreeMap::new();
        for volume in &self.pod.spec.volumes {
            let place = self.one(volume).context(|| format!("volume {}", volume.name))?;
            places.extend(place.map(|path| (volume.name.clone(), path)));
        }
        Ok(places)
    }

    /// Brings the files of the volumes that are there up to date.
    pub fn refresh(&self) -> Result<()> {
        for volume in &self.pod.spec.volumes {
            let is_there = self.dir.join("volumes").join(&volume.name).exists();
            if is_there && matches!(volume.source, VolumeSource::Projected { .. }) {
                self.one(volume).context(|| format!("volume {}", volume.name))?;
            }
        }
        Ok(())
    }

    fn one(&self, volume: &Volume) -> Result<Option<PathBuf>> {
        let dir = self.dir.join("volumes").join(&volume.name);
        let group = self.pod.spec.security.fs_group;
        match &volume.source {
            VolumeSource::Image { .. } => return Ok(None),
            VolumeSource::HostPath { path, kind } => {
                let path = PathBuf::from(path);
                host_path::prepare(&path, *kind)?;
                return Ok(Some(path));
            }
            VolumeSource::Claim { claim, .. } => return self.claim(claim, group).map(Some),
            VolumeSource::EmptyDir(source) => {
                let limit = resources::pod_limits(self.pod).memory.map_or(i64::MAX, |q| q.value());
                empty_dir::prepare(&dir, source, group, limit.min(self.facts.memory_bytes))?;
                if self.travels(&volume.name) {
                    empty_dir::share(&dir)?;
                }
            }
            VolumeSource::Projected { sources, default_mode, in_memory } => {
                let payload = self.payload(sources, *default_mode)?;
                if !dir.exists() {
                    files::make_dirs(&dir, 0o777)?;
                }
                if *in_memory {
                    let size: usize = payload.values().map(|f| f.content.len() + 4_096).sum();
                    // Twice: while it is swapped, the old and the new version are both there. Of what
                    // grows, the old one is the smaller.
                    let size = 2 * i64::try_from(size).unwrap_or(SLACK) + SLACK;
                    if mounts::is_mount_point(&dir)? {
                        empty_dir::grow(&dir, size)?;
                    } else {
                        empty_dir::tmpfs(&dir, size)?;
                    }
                }
                payload::write(&dir, &payload, group)?;
            }
        }
        Ok(Some(dir))
    }

    /// Whether a container asks that mounts in the volume travel.
    fn travels(&self, volume: &str) -> bool {
        let mut all = self.pod.spec.all().flat_map(|(_, container)| &container.mounts);
        all.any(|mount| mount.name == volume && mount.propagation != MountPropagation::None)
    }

    /// The folder of a claim. The fsGroup is given the folder itself, whose new files have it too.
    fn claim(&self, claim: &str, group: Option<i64>) -> Result<PathBuf> {
        let bound = self.pod.objects.claims.get(claim).and_then(|claim| claim.bound.as_ref());
        if let Some((path, kind)) = bound {
            let path = PathBuf::from(path);
            host_path::prepare(&path, *kind)?;
            return Ok(path);
        }
        let path = self.claims.join(format!("{}_{claim}", self.pod.meta.namespace));
        if !path.exists() {
            files::make_dirs(&path, 0o777)?;
        }
        empty_dir::own(&path, group)?;
        Ok(path)
    }

    fn payload(&self, sources: &[Projection], default_mode: u32) -> Result<Payload> {
        let mut payload = Payload::new();
        for source in sources {
            match source {
                Projection::ConfigMap { name, items, optional } => {
                    let data = self.pod.objects.config_maps.get(name).map(|map| &map.data);
                    let keys = Keys { object: "ConfigMap", name, items, optional: *optional };
                    keys.project(data, default_mode, &mut payload)?;
                }
                Projection::Secret { name, items, optional } => {
                    let data = self.pod.objects.secrets.get(name).map(|secret| &secret.data);
                    let keys = Keys { object: "Secret", name, items, optional: *optional };
                    keys.project(data, default_mode, &mut payload)?;
                }
                Projection::DownwardApi(items) => {
                    for item in items {
                        let content = self.downward(item)?.into_bytes();
                        let mode = item.mode.unwrap_or(default_mode);
                        payload.insert(item.path.clone(), File { content, mode });
                    }
                }
            }
        }
        no_file_is_a_folder(&payload)?;
        Ok(payload)
    }

    fn downward(&self, item: &DownwardItem) -> Result<String> {
        match &item.content {
            DownwardContent::Field(field) => {
                let value = env::field_value(self.pod, &field.0, self.addresses, self.facts);
                Ok(value.unwrap_or_default())
            }
            DownwardContent::Resource(reference) => {
                // The manifest's check made sure that the container is named and exists.
                let Some(any) = self.pod.spec.containers.first() else {
                    return Err(Error::new(Kind::Internal, "a pod without containers"));
                };
                Ok(env::resource_value(self.pod, any, reference, self.facts)?.to_string())
            }
        }
    }
}

struct Keys<'a> {
    object: &'a str,
    name: &'a str,
    items: &'a [KeyToPath],
    optional: bool,
}

impl Keys<'_> {
    fn project(
        &self,
        data: Option<&BTreeMap<String, Vec<u8>>>,
        default_mode: u32,
        payload: &mut Payload,
    ) -> Result<()> {
        let Some(data) = data else {
            if self.optional {
                return Ok(());
            }
            let text = format!("{} {:?} not found", self.object, self.name);
            return Err(Error::new(Kind::NotFound, text));
        };
        if self.items.is_empty() {
            for (key, content) in data {
                let file = File { content: content.clone(), mode: default_mode };
                payload.insert(key.clone(), file);
            }
        }
        for item in self.items {
            match data.get(&item.key) {
                Some(content) => {
                    let mode = item.mode.unwrap_or(default_mode);
                    payload.insert(item.path.clone(), File { content: content.clone(), mode });
                }
                None if self.optional => {}
                None => {
                    let text = format!("{} {:?} has no key {:?}", self.object, self.name, item.key);
                    return Err(Error::new(Kind::NotFound, text));
                }
            }
        }
        Ok(())
    }
}

/// `a` and `a/b` cannot both be files.
fn no_file_is_a_folder(payload: &Payload) -> Result<()> {
    for path in payload.keys() {
        let folder = format!("{}/", path.trim_end_matches('/'));
        if let Some(inner) = payload.keys().find(|other| other.starts_with(&folder)) {
            let text = format!("{path:?} is a file, and {inner:?} needs it as a folder");
            return Err(Error::new(Kind::Invalid, text));
        }
    }
    Ok(())
}
