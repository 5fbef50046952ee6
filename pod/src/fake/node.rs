//! A node without a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::addresses::Addresses;
use crate::clock::Timestamp;
use crate::credentials::NodeCredentials;
use crate::dns::ResolvConf;
use crate::error::{Error, Kind, Result};
use crate::ids::PodUid;
use crate::model::Pod;
use crate::node::{DiskUsage, Node, NodeFacts, PodPlace, SubPathRequest};
use crate::pull_records::{PullRecord, PullState, PulledImage};
use crate::resources::PodCgroup;
use crate::testing;
use crate::tombstone::Tombstone;
use crate::users::UserRange;

/// Answers paths that nobody opens.
pub struct FakeNode {
    facts: NodeFacts,
    /// The node's resolv.conf.
    pub resolv: Mutex<ResolvConf>,
    /// What every termination message file holds.
    pub message: Mutex<String>,
    /// What every log holds.
    pub log: Mutex<String>,
    /// Files of volumes, by path.
    pub files: Mutex<BTreeMap<PathBuf, String>>,
    /// The node's own credentials.
    pub credentials: Mutex<NodeCredentials>,
    /// How often `prepare` is to fail.
    pub broken: Mutex<usize>,
    pub torn_down: Mutex<bool>,
    /// What the pod takes of the disk.
    pub usage: Mutex<DiskUsage>,
    /// Records of pulled images, by id.
    pub pulls: Mutex<BTreeMap<String, PullRecord>>,
    /// Names of images that are being pulled.
    pub pulling: Mutex<BTreeSet<(String, String)>>,
    /// Of containers that were removed.
    pub tombstones: Mutex<Vec<Tombstone>>,
    /// Names of the folders of logs.
    pub log_folders: Mutex<Vec<String>>,
    /// Addresses of other pods, by `namespace/name`.
    pub others: Mutex<BTreeMap<String, Vec<String>>>,
    /// What was written into the hosts file, each time.
    pub hosts: Mutex<Vec<String>>,
    /// What the pod's cgroup was given, each time.
    pub limits: Mutex<Vec<PodCgroup>>,
    /// How often payload volumes were brought up to date.
    pub refreshed: Mutex<usize>,
}

impl Default for FakeNode {
    fn default() -> Self {
        FakeNode {
            facts: testing::facts(),
            resolv: Mutex::default(),
            message: Mutex::default(),
            log: Mutex::default(),
            files: Mutex::default(),
            credentials: Mutex::default(),
            broken: Mutex::default(),
            torn_down: Mutex::default(),
            usage: Mutex::default(),
            pulls: Mutex::default(),
            pulling: Mutex::default(),
            tombstones: Mutex::default(),
            log_folders: Mutex::default(),
            others: Mutex::default(),
            hosts: Mutex::default(),
            limits: Mutex::default(),
            refreshed: Mutex::default(),
        }
    }
}

#[async_trait]
impl Node for FakeNode {
    fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    async fn prepare(&self, pod: Arc<Pod>, _: &Addresses, limits: PodCgroup) -> Result<PodPlace> {
        self.limits.lock().unwrap().push(limits);
        let mut broken = self.broken.lock().unwrap();
        if *broken > 0 {
            *broken -= 1;
            return Err(Error::new(Kind::Unavailable, "volume v: no disk"));
        }
        let volumes =
            pod.spec.volumes.iter().map(|v| (v.name.clone(), Path::new("/v").join(&v.name)));
        Ok(PodPlace {
            log_directory: "/logs".into(),
            cgroup_parent: "/rrun/pod".into(),
            volumes: volumes.collect(),
            users: (!pod.spec.host_users).then(|| UserRange::all().next()).flatten(),
        })
    }

    async fn refresh(&self, _: Arc<Pod>, _: &Addresses) -> Result<()> {
        *self.refreshed.lock().unwrap() += 1;
        Ok(())
    }

    async fn limit(&self, _: &PodUid, limits: PodCgroup) -> Result<()> {
        self.limits.lock().unwrap().push(limits);
        Ok(())
    }

    async fn resolv_conf(&self) -> Result<ResolvConf> {
        Ok(self.resolv.lock().unwrap().clone())
    }

    async fn credentials(&self, _: &str) -> NodeCredentials {
        self.credentials.lock().unwrap().clone()
    }

    async fn addresses_of(&self, namespace: &str, name: &str) -> Result<Option<Vec<String>>> {
        Ok(self.others.lock().unwrap().get(&format!("{namespace}/{name}")).cloned())
    }

    async fn host_hosts(&self) -> Result<String> {
        Ok(String::new())
    }

    async fn write_hosts(&self, _: &PodUid, content: String) -> Result<PathBuf> {
        self.hosts.lock().unwrap().push(content);
        Ok("/hosts".into())
    }

    async fn message_file(&self, _: &PodUid, container: &str, run: u32) -> Result<PathBuf> {
        Ok(format!("/messages/{container}/{run}").into())
    }

    async fn read_tail(&self, path: &Path, limit: usize) -> Result<Vec<u8>> {
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let text = if is_log { &self.log } else { &self.message };
        let bytes = text.lock().unwrap().clone().into_bytes();
        Ok(bytes[bytes.len().saturating_sub(limit)..].to_vec())
    }

    async fn read_in(&self, root: &Path, path: &str, _: u64) -> Result<Vec<u8>> {
        let found = self.files.lock().unwrap().get(&root.join(path)).cloned();
        let gone = || Error::new(Kind::NotFound, "ENOENT").context(format!("read {path}"));
        found.map(String::into_bytes).ok_or_else(gone)
    }

    async fn sub_path(&self, request: SubPathRequest<'_>) -> Result<PathBuf> {
        Ok(request.root.join(request.path))
    }

    async fn log_folder(&self, _: &PodPlace, _: &str) -> Result<u32> {
        Ok(0)
    }

    async fn remove_log(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    async fn leave_tombstone(&self, tombstone: Tombstone) -> Result<()> {
        self.tombstones.lock().unwrap().push(tombstone);
        Ok(())
    }

    async fn log_folders(&self) -> Result<Vec<String>> {
        Ok(self.log_folders.lock().unwrap().clone())
    }

    async fn remove_log_folder(&self, name: &str) -> Result<()> {
        self.log_folders.lock().unwrap().retain(|folder| folder != name);
        Ok(())
    }

    async fn disk_usage(&self, _: Arc<Pod>) -> Result<DiskUsage> {
        Ok(self.usage.lock().unwrap().clone())
    }

    async fn pulled(&self, image: &str, id: &str) -> Result<PullState> {
        let record = self.pulls.lock().unwrap().get(id).cloned();
        let pulling = self.pulling.lock().unwrap().iter().any(|(_, name)| name == image);
        Ok(PullState { record, pulling })
    }

    async fn pull_begins(&self, pod: &PodUid, image: &str) -> Result<()> {
        self.pulling.lock().unwrap().insert((pod.to_string(), image.to_owned()));
        Ok(())
    }

    async fn pulls_of(&self, pod: &PodUid) -> Result<Vec<String>> {
        let pulling = self.pulling.lock().unwrap();
        let own = pulling.iter().filter(|(uid, _)| uid == pod.as_str());
        Ok(own.map(|(_, image)| image.clone()).collect())
    }

    async fn pull_ends(
        &self,
        pod: &PodUid,
        image: &str,
        pulled: Option<PulledImage>,
    ) -> Result<()> {
        self.pulling.lock().unwrap().remove(&(pod.to_string(), image.to_owned()));
        if let Some(pulled) = pulled {
            let mut pulls = self.pulls.lock().unwrap();
            pulls.entry(pulled.id.clone()).or_default().add(image, pulled);
        }
        Ok(())
    }

    async fn forget_pulls(&self, present: &BTreeSet<String>, _: Timestamp) -> Result<()> {
        self.pulls.lock().unwrap().retain(|id, _| present.contains(id));
        Ok(())
    }

    async fn tear_down(&self, _: &PodUid) -> Result<()> {
        *self.torn_down.lock().unwrap() = true;
        Ok(())
    }

    async fn remove_logs(&self, _: Arc<Pod>) -> Result<()> {
        Ok(())
    }
}
