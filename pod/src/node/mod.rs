//! What CRI leaves to its client: volumes, the pod's cgroup, the hosts file, log folders.
//!
//! [`Node`] is the second of the two traits through which this crate reaches the world. Every
//! call is idempotent: a pod whose engine died half-way is prepared or torn down again by the
//! same calls.

mod linux;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

pub use linux::{LinuxNode, Roots, facts_of, forget_pull, node_name};

use crate::addresses::Addresses;
use crate::clock::Timestamp;
use crate::credentials::NodeCredentials;
use crate::dns::ResolvConf;
use crate::error::Result;
use crate::ids::PodUid;
use crate::model::Pod;
use crate::pull_records::{PullState, PulledImage};
use crate::resources::PodCgroup;
use crate::tombstone::Tombstone;
use crate::users::UserRange;

/// Which cgroup hierarchies carry limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Every controller on its own (and v2 perhaps beside them without controllers).
    V1,
    /// One tree.
    V2,
}

/// What a pod can learn of the node; read once at start.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its name, as `spec.nodeName` shows it.
    pub name: String,
    /// Its addresses, first is primary.
    pub addresses: Vec<String>,
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Bytes of the file system that volumes are on.
    pub storage_bytes: i64,
    /// Page sizes as the hugetlb controller names them (`2MB`).
    pub hugepage_sizes: Vec<String>,
    /// Paths to mask beside the fixed ones (`…/cpu0/thermal_throttle`).
    pub masked_paths: Vec<String>,
    /// How cgroups are mounted.
    pub cgroup: CgroupMode,
    /// Whether AppArmor is on.
    pub apparmor: bool,
    /// Below it are `localhost` seccomp profiles.
    pub seccomp_root: PathBuf,
}

/// Where a prepared pod lives on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPlace {
    /// Its logs: `<root>/<namespace>_<name>_<uid>`.
    pub log_directory: PathBuf,
    /// Its cgroup, for `cgroup_parent`: as [`PodCgroups::make`] has given it.
    pub cgroup_parent: String,
    /// Each volume that is a path of the node (image volumes are not).
    pub volumes: BTreeMap<String, PathBuf>,
    /// The ids that it has on the node, if it has a user namespace of its own.
    pub users: Option<UserRange>,
}

/// Bytes that a pod takes of the node's disk outside of its containers' root file systems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Each volume that lives and dies with the pod, those in memory too.
    pub volumes: BTreeMap<String, u64>,
    /// The logs of each container, rotated ones too.
    pub logs: BTreeMap<String, u64>,
    /// The hosts file.
    pub hosts: u64,
}

/// A sub-path of a volume that a container mounts.
#[derive(Clone, Copy, Debug)]
pub struct SubPathRequest<'a> {
    /// Whose volume.
    pub uid: &'a PodUid,
    /// The volume's name.
    pub volume: &'a str,
    /// Where the volume is.
    pub root: &'a Path,
    /// Relative, without `..`; symlinks in it are the pod's and are not trusted.
    pub path: &'a str,
    /// Who mounts it.
    pub container: &'a str,
    /// Which of its mounts.
    pub index: usize,
}

/// The cgroups of pods, which whoever runs a pod makes as its runtime makes those below: a
/// directory in every hierarchy, or a slice of systemd. All of it blocks.
pub trait PodCgroups: Send + Sync {
    /// Which hierarchies carry limits.
    fn mode(&self) -> CgroupMode;

    /// Makes a pod's cgroup, or gives the one that is there these limits. What it answers is the
    /// pod's `cgroup_parent`.
    fn make(&self, uid: &PodUid, limits: &PodCgroup) -> Result<String>;

    /// Removes a pod's cgroup; one that is gone is done.
    fn remove(&self, uid: &PodUid) -> Result<()>;
}

/// The other pods of the node, as far as Services lead to them.
#[async_trait]
pub trait OtherPods: Send + Sync {
    /// The addresses of a pod: none of them before its sandbox is made, and `None` of a pod that is
    /// not there or has ended.
    async fn addresses(&self, namespace: &str, name: &str) -> Result<Option<Vec<String>>>;
}

/// The node under a pod.
#[async_trait]
pub trait Node: Send + Sync {
    /// What was read at start.
    fn facts(&self) -> &NodeFacts;

    /// Makes the pod's folders, its cgroup with these limits and its volumes. Called at every sync that starts something;
    /// what is there already stays as it is (payload volumes are brought up to date).
    async fn prepare(
        &self,
        pod: Arc<Pod>,
        addresses: &Addresses,
        limits: PodCgroup,
    ) -> Result<PodPlace>;

    /// Brings the payload volumes of a pod that is there up to date, each at once.
    async fn refresh(&self, pod: Arc<Pod>, addresses: &Addresses) -> Result<()>;

    /// Gives the pod's cgroup other limits.
    async fn limit(&self, uid: &PodUid, limits: PodCgroup) -> Result<()>;

    /// The node's resolv.conf, as it is now.
    async fn resolv_conf(&self) -> Result<ResolvConf>;

    /// The credentials for the registry of `image` that all pods of the node may use.
    async fn credentials(&self, image: &str) -> NodeCredentials;

    /// The addresses of another pod of the node, as [`OtherPods::addresses`] has them.
    async fn addresses_of(&self, namespace: &str, name: &str) -> Result<Option<Vec<String>>>;

    /// The node's own /etc/hosts.
    async fn host_hosts(&self) -> Result<String>;

    /// Writes the pod's hosts file and answers its path.
    async fn write_hosts(&self, uid: &PodUid, content: String) -> Result<PathBuf>;

    /// An empty file (0666) for the last words of one run of a container.
    async fn message_file(&self, uid: &PodUid, container: &str, run: u32) -> Result<PathBuf>;

    /// The last `limit` bytes of a file; empty if there is none.
    async fn read_tail(&self, path: &Path, limit: usize) -> Result<Vec<u8>>;

    /// A plain file below `root`, whose links lead nowhere else, of `limit` bytes at most.
    async fn read_in(&self, root: &Path, path: &str, limit: u64) -> Result<Vec<u8>>;

    /// A path of the node that is exactly the asked sub-path and cannot be moved by the pod: it
    /// is bound by descriptor. A folder is made where nothing is.
    async fn sub_path(&self, request: SubPathRequest<'_>) -> Result<PathBuf>;

    /// The folder of a container's logs, made if it is not there, and one more than the highest
    /// restart count that a log in it bears (0 for none).
    async fn log_folder(&self, place: &PodPlace, container: &str) -> Result<u32>;

    /// Removes the log of one run and its rotated parts.
    async fn remove_log(&self, path: &Path) -> Result<()>;

    /// Puts on record what is known of a container that is about to be removed.
    async fn leave_tombstone(&self, tombstone: Tombstone) -> Result<()>;

    /// The names of the folders of pods' logs: `<namespace>_<name>_<uid>`.
    async fn log_folders(&self) -> Result<Vec<String>>;

    /// Removes one of these folders.
    async fn remove_log_folder(&self, name: &str) -> Result<()>;

    /// What the pod takes of the disk, by a walk.
    async fn disk_usage(&self, pod: Arc<Pod>) -> Result<DiskUsage>;

    /// What is on record of the pulls of an image that is here: by the name that a pod gives it,
    /// and by its id.
    async fn pulled(&self, image: &str, id: &str) -> Result<PullState>;

    /// Puts on record that an image is being pulled for a pod.
    async fn pull_begins(&self, pod: &PodUid, image: &str) -> Result<()>;

    /// The images whose pulls for a pod are on record as under way, by the names that the pod gives
    /// them.
    async fn pulls_of(&self, pod: &PodUid) -> Result<Vec<String>>;

    /// That pull is over: who may use what came of it, if something did.
    async fn pull_ends(&self, pod: &PodUid, image: &str, pulled: Option<PulledImage>)
    -> Result<()>;

    /// Forgets the pulls of images that are not among `present`, except what was put on record
    /// after `before`.
    async fn forget_pulls(&self, present: &BTreeSet<String>, before: Timestamp) -> Result<()>;

    /// Unmounts and removes volumes, hosts file, message files and the pod's cgroup. Logs stay.
    async fn tear_down(&self, uid: &PodUid) -> Result<()>;

    /// Removes the pod's logs.
    async fn remove_logs(&self, pod: Arc<Pod>) -> Result<()>;
}
