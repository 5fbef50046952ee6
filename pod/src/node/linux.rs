//! [`LinuxNode`]: a node on this machine, with roots of rrun's own.
//!
//! Never `kubepods`, `/var/lib/kubelet`, `/var/log/pods` or `/var/log/containers`: a kubelet on
//! the same machine cleans those of pods it does not know.

mod disk_usage;
mod empty_dir;
mod facts;
mod files;
mod host_path;
mod mounts;
mod payload;
mod pulls;
mod sub_path;
mod users;
mod volumes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rrun_blocking::{Full, Pool, Shares};

use super::{
    CgroupMode, DiskUsage, Node, NodeFacts, OtherPods, PodCgroups, PodPlace, SubPathRequest,
};
use crate::addresses::Addresses;
use crate::clock::Timestamp;
use crate::credentials::{self, NodeCredentials};
use crate::dns::ResolvConf;
use crate::error::{Context, Error, Kind, Result};
use crate::ids::PodUid;
use crate::model::Pod;
use crate::pull_records::{PullState, PulledImage};
use crate::resources::PodCgroup;
use crate::tombstone::{self, Tombstone};

/// How long a small file is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// Pods whose folders, volumes and groups are worked on at a time.
const AT_ONCE: usize = 64;

static FILES: Pool = Pool::new(AT_ONCE);

/// The folders that a node may use; all files that it makes are below them.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Volumes, hosts files and message files: `<volumes>/<uid>/…`.
    pub volumes: PathBuf,
    /// Folders of PersistentVolumeClaims: `<claims>/<namespace>_<claim>`, which stay.
    pub claims: PathBuf,
    /// Logs: `<logs>/<namespace>_<name>_<uid>/<container>/<n>.log`.
    pub logs: PathBuf,
    /// `localhost` seccomp profiles.
    pub seccomp: PathBuf,
    /// Records of pulled images, of one runtime.
    pub pulls: PathBuf,
    /// Tombstones of containers.
    pub tombstones: PathBuf,
    /// Which pod of this machine has which ids, whatever its other folders: gone after a boot.
    pub users: PathBuf,
}

/// This machine as a [`Node`].
#[derive(Clone)]
pub struct LinuxNode(Arc<Shared>);

struct Shared {
    roots: Roots,
    facts: NodeFacts,
    cgroups: Arc<dyn PodCgroups>,
    others: Arc<dyn OtherPods>,
    /// Whoever makes or removes something of a pod is alone with it: work that has begun goes on when
    /// nobody waits for it any more, and would make again what the pod's end has removed.
    turns: Shares,
}

/// Forgets who pulled an image that was removed. `pulls` is [`Roots::pulls`] of its runtime.
///
/// # Errors
/// Those of the file system.
pub fn forget_pull(pulls: &Path, id: &str) -> Result<()> {
    pulls::Pulls(pulls).forget(id)
}

/// What this node is called.
///
/// # Errors
/// Its hostname cannot be read.
pub fn node_name() -> Result<String> {
    facts::name()
}

/// What this node is like. Makes nothing.
///
/// # Errors
/// What of /proc cannot be read.
pub fn facts_of(roots: &Roots, cgroup: CgroupMode) -> Result<NodeFacts> {
    facts::read(roots, cgroup).context(|| "read the node's facts")
}

impl LinuxNode {
    /// Reads the node's facts. Makes nothing.
    pub fn new(
        roots: Roots,
        cgroups: Arc<dyn PodCgroups>,
        others: Arc<dyn OtherPods>,
    ) -> Result<Self> {
        let facts = facts_of(&roots, cgroups.mode())?;
        let turns = Shares::new(AT_ONCE, 1);
        Ok(LinuxNode(Arc::new(Shared { roots, facts, cgroups, others, turns })))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.0.clone();
        FILES.run(move || work(&shared)).await
    }

    /// Makes something of a pod, when what was begun for it before has ended.
    async fn make<T: Send + 'static>(
        &self,
        of: &str,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.0.clone();
        self.0.turns.run(of, ANSWER, move || work(&shared)).await.unwrap_or_else(|full| {
            let whose = match full {
                Full::Share => "it",
                Full::All => "other pods",
            };
            let text = format!("what was begun for {whose} has not ended in {ANSWER:?}");
            Err(Error::new(Kind::Timeout, text).context(of))
        })
    }

    /// Removes something of a pod, or looks at what is left of it, when what was begun for it has
    /// ended, and also where that hangs with its disk.
    async fn remove<T: Send + 'static>(
        &self,
        of: &str,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.0.turns.take(of, ANSWER).await.ok();
        let shared = self.0.clone();
        FILES
            .run(move || {
                let _turn = turn;
                work(&shared)
            })
            .await
    }

    /// What is done in a moment, unless the disk hangs: the pod's end waits for it.
    async fn in_time<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shown = path.display().to_string();
        answered(self.blocking(move |_| work(&path)), shown).await
    }
}

/// The answer to a call that may hang with the disk.
async fn answered<T>(call: impl Future<Output = Result<T>>, of: String) -> Result<T> {
    tokio::time::timeout(ANSWER, call).await.unwrap_or_else(|_| {
        let text = format!("no answer in {ANSWER:?}");
        Err(Error::new(Kind::Timeout, text).context(of))
    })
}

impl Shared {
    fn pod_dir(&self, uid: &PodUid) -> PathBuf {
        self.roots.volumes.join(uid.as_str())
    }

    fn log_dir(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.meta;
        self.roots.logs.join(format!("{}_{}_{}", meta.namespace, meta.name, meta.uid))
    }

    fn pulls(&self) -> pulls::Pulls<'_> {
        pulls::Pulls(&self.roots.pulls)
    }

    fn prepare(&self, pod: &Pod, addresses: &Addresses, limits: &PodCgroup) -> Result<PodPlace> {
        let log_directory = self.log_dir(pod);
        files::make_dirs(&log_directory, 0o755)?;
        let dir = self.pod_dir(&pod.meta.uid);
        files::make_dirs(&dir, 0o750)?;
        let cgroup_parent = self.cgroups.make(&pod.meta.uid, limits)?;
        let set = self.volumes(pod, &dir, addresses);
        let own_users = !pod.spec.host_users;
        let users = own_users.then(|| users::range(&self.roots.volumes, &dir, &self.roots.users));
        let users = users.transpose();
        let users = users.context(|| "user namespace")?;
        Ok(PodPlace { log_directory, cgroup_parent, volumes: set.prepare()?, users })
    }

    fn volumes<'a>(
        &'a self,
        pod: &'a Pod,
        dir: &'a Path,
        addresses: &'a Addresses,
    ) -> volumes::Set<'a> {
        volumes::Set { pod, dir, claims: &self.roots.claims, addresses, facts: &self.facts }
    }

    fn tear_down(&self, uid: &PodUid) -> Result<()> {
        let dir = self.pod_dir(uid);
        let gone = mounts::detach_below(&dir)
            .and_then(|()| users::release(&dir, &self.roots.users))
            .and_then(|()| files::remove_tree(&dir));
        // The cgroup goes even if a volume stays: they do not depend on each other.
        let removed = self.cgroups.remove(uid);
        gone.context(|| format!("volumes of {uid}"))?;
        removed
    }
}

#[async_trait]
impl Node for LinuxNode {
    fn facts(&self) -> &NodeFacts {
        &self.0.facts
    }

    async fn prepare(
        &self,
        pod: Arc<Pod>,
        addresses: &Addresses,
        limits: PodCgroup,
    ) -> Result<PodPlace> {
        let (addresses, uid) = (addresses.clone(), pod.meta.uid.clone());
        self.make(uid.as_str(), move |node| node.prepare(&pod, &addresses, &limits)).await
    }

    async fn refresh(&self, pod: Arc<Pod>, addresses: &Addresses) -> Result<()> {
        let (addresses, uid) = (addresses.clone(), pod.meta.uid.clone());
        self.make(uid.as_str(), move |node| {
            let dir = node.pod_dir(&pod.meta.uid);
            node.volumes(&pod, &dir, &addresses).refresh()
        })
        .await
    }

    async fn limit(&self, uid: &PodUid, limits: PodCgroup) -> Result<()> {
        let own = uid.clone();
        self.make(uid.as_str(), move |node| node.cgroups.make(&own, &limits).map(drop)).await
    }

    async fn resolv_conf(&self) -> Result<ResolvConf> {
        self.blocking(|_| facts::resolv()).await
    }

    async fn credentials(&self, image: &str) -> NodeCredentials {
        credentials::of_node(image).await
    }

    async fn addresses_of(&self, namespace: &str, name: &str) -> Result<Option<Vec<String>>> {
        let of = format!("addresses of pod {namespace}/{name}");
        answered(self.0.others.addresses(namespace, name), of).await
    }

    async fn host_hosts(&self) -> Result<String> {
        self.blocking(|_| {
            let text = files::read_head(Path::new("/etc/hosts"), 1 << 20)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
        .await
    }

    async fn write_hosts(&self, uid: &PodUid, content: String) -> Result<PathBuf> {
        let own = uid.clone();
        self.make(uid.as_str(), move |node| {
            let path = node.pod_dir(&own).join("etc-hosts");
            // In place, not by rename: running containers have this very file bound.
            files::overwrite(&path, content.as_bytes(), 0o644)?;
            Ok(path)
        })
        .await
    }

    async fn message_file(&self, uid: &PodUid, container: &str, run: u32) -> Result<PathBuf> {
        let (own, container) = (uid.clone(), container.to_owned());
        self.make(uid.as_str(), move |node| {
            let dir = node.pod_dir(&own).join("containers").join(container);
            files::make_dirs(&dir, 0o750)?;
            let path = dir.join(run.to_string());
            files::overwrite(&path, b"", 0o666)?;
            Ok(path)
        })
        .await
    }

    async fn read_tail(&self, path: &Path, limit: usize) -> Result<Vec<u8>> {
        self.in_time(path.to_owned(), move |path| files::read_tail(path, limit)).await
    }

    async fn read_in(&self, root: &Path, path: &str, limit: u64) -> Result<Vec<u8>> {
        let path = path.to_owned();
        self.in_time(root.to_owned(), move |root| files::read_in(root, &path, limit)).await
    }

    async fn sub_path(&self, request: SubPathRequest<'_>) -> Result<PathBuf> {
        let place = self.0.pod_dir(request.uid).join("subpaths").join(request.volume);
        let target = place.join(request.container).join(request.index.to_string());
        let (root, path) = (request.root.to_owned(), request.path.to_owned());
        let what = format!("subPath {:?} of volume {}", request.path, request.volume);
        let bound = self.make(request.uid.as_str(), move |_| sub_path::bind(&root, &path, &target));
        bound.await.context(|| what)
    }

    async fn log_folder(&self, place: &PodPlace, container: &str) -> Result<u32> {
        let dir = place.log_directory.join(container);
        self.make(&place.log_directory.to_string_lossy(), move |_| {
            files::make_dirs(&dir, 0o755)?;
            files::next_run(&dir)
        })
        .await
    }

    async fn remove_log(&self, path: &Path) -> Result<()> {
        self.in_time(path.to_owned(), files::remove_log).await
    }

    async fn leave_tombstone(&self, tombstone: Tombstone) -> Result<()> {
        let folder = self.0.roots.tombstones.clone();
        self.in_time(folder, move |folder| tombstone::keep(folder, &tombstone)).await
    }

    async fn log_folders(&self) -> Result<Vec<String>> {
        self.in_time(self.0.roots.logs.clone(), files::folders).await
    }

    async fn remove_log_folder(&self, name: &str) -> Result<()> {
        let path = self.0.roots.logs.join(name);
        self.blocking(move |_| files::remove_tree(&path)).await
    }

    async fn disk_usage(&self, pod: Arc<Pod>) -> Result<DiskUsage> {
        self.blocking(move |node| {
            let dir = node.pod_dir(&pod.meta.uid);
            disk_usage::measure(&pod, &dir, &node.log_dir(&pod))
        })
        .await
    }

    async fn pulled(&self, image: &str, id: &str) -> Result<PullState> {
        let (image, id) = (image.to_owned(), id.to_owned());
        self.blocking(move |node| node.pulls().find(&image, &id)).await
    }

    async fn pull_begins(&self, pod: &PodUid, image: &str) -> Result<()> {
        let (own, image) = (pod.clone(), image.to_owned());
        self.make(pod.as_str(), move |node| node.pulls().begin(&own, &image)).await
    }

    async fn pulls_of(&self, pod: &PodUid) -> Result<Vec<String>> {
        let own = pod.clone();
        // One whose caller has gone may still be about to go on record. The end of a pod whose volumes
        // hang does not wait for that for ever.
        self.remove(pod.as_str(), move |node| node.pulls().of(&own)).await
    }

    async fn pull_ends(
        &self,
        pod: &PodUid,
        image: &str,
        pulled: Option<PulledImage>,
    ) -> Result<()> {
        let (pod, image) = (pod.clone(), image.to_owned());
        self.blocking(move |node| node.pulls().end(&pod, &image, pulled)).await
    }

    async fn forget_pulls(&self, present: &BTreeSet<String>, before: Timestamp) -> Result<()> {
        let present = present.clone();
        self.blocking(move |node| node.pulls().retain(&present, before)).await
    }

    async fn tear_down(&self, uid: &PodUid) -> Result<()> {
        let own = uid.clone();
        self.remove(uid.as_str(), move |node| node.tear_down(&own)).await
    }

    async fn remove_logs(&self, pod: Arc<Pod>) -> Result<()> {
        let of = self.0.log_dir(&pod).display().to_string();
        self.remove(&of, move |node| files::remove_tree(&node.log_dir(&pod))).await
    }
}
