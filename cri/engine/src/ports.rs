//! What the engine needs of other crates, small enough that a test can stand in and fail at will.

use crate::error::{Error, Kind, Result};
use crate::id::PodId;
use crate::model::{Dns, PortMapping, Tags};
use crate::stats::{Counts, FsUsage, InterfaceUsage, Stats};
use async_trait::async_trait;
pub use rrun_images::ImageConfig;
use rrun_images::{Checkpoint, Lower};
use rrun_runtime::plan::{Cgroups, IdMaps};
use rrun_shim_protocol::{Events, Exec, Reply, Request, Running, WireKind};
use rrun_sys::kernel::Feature;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The feature of the kernel, and of the disk with the images, that pods with a user namespace of
/// their own need.
pub const USER_NAMESPACES: &str = "user namespaces, and layers with mapped ids";

mod plugins;

pub use plugins::{ContainerInfo, Moment, NoPlugins, Plugins, PodInfo, WishedUpdate, Wishes};

/// What the engine stands on.
#[derive(Clone)]
pub struct Ports {
    /// Images and root file systems.
    pub images: Arc<dyn Images>,
    /// Pod networks.
    pub network: Arc<dyn Network>,
    /// Shims.
    pub shims: Arc<dyn Shims>,
    /// The kernel.
    pub host: Arc<dyn Host>,
    /// Plugins.
    pub plugins: Arc<dyn Plugins>,
}

/// Images and root file systems. A holder is a container, by its id: what it holds is not
/// collected before it is released.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image that an id, tag or digest names.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    async fn find(&self, reference: &str) -> Result<ImageInfo>;

    /// Leases the image to `holder` and prepares its root file system, the writable layer of which
    /// belongs to these ids. Idempotent.
    async fn prepare(
        &self,
        holder: &str,
        image_id: &str,
        ids: Option<&IdMaps>,
    ) -> Result<RootfsDirs>;

    /// Leases the image to `holder` beside what it holds already, for a mount that nobody writes to:
    /// what [`Host::view`] mounts. Idempotent.
    async fn view(&self, holder: &str, image_id: &str) -> Result<Vec<Lower>>;

    /// Ends the lease of an image that `holder` only looks at. Unknown is done.
    async fn let_go(&self, holder: &str, image_id: &str) -> Result<()>;

    /// The checkpoint that an image is; `None` for any other one.
    ///
    /// # Errors
    /// `Invalid` for one that says so and cannot be one.
    async fn checkpoint(&self, image_id: &str) -> Result<Option<Checkpoint>>;

    /// Gives back what `holder` holds, and its writable layer. Unknown is done.
    async fn release(&self, holder: &str) -> Result<()>;

    /// The image of `holder` is used now: the container starts, or something is executed in it.
    async fn used(&self, holder: &str) -> Result<()>;

    /// Holders, of this engine or of others on this machine.
    async fn holders(&self) -> Result<Vec<String>>;

    /// Space taken by the writable layer of `holder`.
    async fn writable_usage(&self, holder: &str) -> Result<FsUsage>;
}

/// An image, as far as a container needs it.
#[derive(Clone, Debug, Default)]
pub struct ImageInfo {
    /// Its id.
    pub id: String,
    /// A repository digest if there is one, else the id.
    pub reference: String,
    /// What a container of it runs.
    pub config: ImageConfig,
}

/// The folders of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsDirs {
    /// Read-only layers, the topmost first.
    pub lower: Vec<Lower>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlay's own.
    pub work: PathBuf,
}

/// Pod networks.
#[async_trait]
pub trait Network: Send + Sync {
    /// Attaches a pod; the network writes its record before anything is done.
    async fn add(&self, attachment: Attachment) -> Result<Vec<IpAddr>>;

    /// Takes back what `add` did, by its record. Unknown is done; a namespace that is gone is no
    /// error.
    async fn del(&self, pod: &PodId) -> Result<()>;

    /// Pods of which there is such a record, of this engine or of others on this machine.
    async fn attached(&self) -> Result<Vec<String>>;
}

/// A pod that wants a network.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Attachment {
    /// The pod's id.
    pub id: String,
    /// Path of its network namespace.
    pub netns: PathBuf,
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub ports: Vec<PortMapping>,
    pub annotations: Tags,
    pub dns: Option<Dns>,
    /// The pod's control group, in cgroupfs spelling.
    pub cgroup: String,
}

/// How long a shim that was just started may take for its greeting, on a machine that is busy.
pub const NEW_SHIM: Duration = Duration::from_secs(10);

/// Shims, each found by its pod's run folder.
#[async_trait]
pub trait Shims: Send + Sync {
    /// Starts a shim in the control group `cgroup` (cgroupfs spelling), and waits until it can be
    /// dialled. A scope is made for it.
    async fn launch(&self, run_dir: &Path, cgroup: &str) -> Result<()>;

    /// Dials a shim, which may take so long for its greeting.
    ///
    /// # Errors
    /// `Unavailable` when there is none, `Timeout` when it does not answer.
    async fn dial(&self, run_dir: &Path, greeting: Duration) -> Result<Dialled>;

    /// Ends a shim whatever it takes, and waits until it is gone. None is done.
    async fn kill(&self, run_dir: &Path) -> Result<()>;

    /// The same by SIGKILL at once, for one that is not heard of any more.
    async fn kill_hung(&self, run_dir: &Path) -> Result<()>;
}

/// A shim that answered.
pub struct Dialled {
    /// The connection.
    pub shim: Arc<dyn Shim>,
    /// What it tells unasked; its end is the end of the connection.
    pub events: Events,
}

/// A connection to one shim.
#[async_trait]
pub trait Shim: Send + Sync {
    /// One request and its reply, which is never [`Reply::Error`], within bounded time.
    ///
    /// # Errors
    /// `Unavailable` when the shim is gone; `Timeout` when nothing was heard of it for too long:
    /// it may do what was asked later all the same. Else a [`Refusal`], with the code of
    /// [`rrun_shim_protocol::WireKind::Exec`] where it is that.
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Answer, Refusal>;

    /// Starts an exec, likewise.
    async fn exec(&self, exec: Exec, stdio: Vec<OwnedFd>) -> Result<Running, Refusal>;
}

/// A reply and the descriptors that came with it.
pub type Answer = (Reply, Vec<OwnedFd>);

/// A request that failed.
#[derive(Debug)]
pub struct Refusal {
    /// Exit code of a program that cannot be executed: 127 or 126.
    pub code: Option<i32>,
    /// Why.
    pub error: Error,
}

impl From<rrun_shim_protocol::Error> for Refusal {
    fn from(error: rrun_shim_protocol::Error) -> Refusal {
        use rrun_shim_protocol::Kind as Shim;
        let kind = match error.kind() {
            Shim::Refused(wire) => {
                let code = match wire.kind {
                    WireKind::Exec(code) => Some(code),
                    _ => None,
                };
                return Refusal { code, error: Error::from(wire.clone()) };
            }
            Shim::Older => Kind::Unimplemented,
            Shim::Gone => Kind::Unavailable,
            Shim::Protocol | Shim::Os => Kind::Internal,
        };
        Error::new(kind, error.to_string()).into()
    }
}

impl From<rrun_shim_protocol::Error> for Error {
    fn from(error: rrun_shim_protocol::Error) -> Error {
        Refusal::from(error).error
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { code: None, error }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        refusal.error
    }
}

/// A container whose processes are to be dumped.
pub struct Dump {
    /// The program, as [`Host::criu`] has found it.
    pub criu: PathBuf,
    /// The first process.
    pub init: Arc<OwnedFd>,
    /// Its group.
    pub cgroup: String,
    /// Namespaces that are its pod's, or another container's, as `/proc/<pid>/ns` calls them.
    pub joined: Vec<String>,
    /// An empty folder for the image.
    pub images: PathBuf,
    /// A folder for the log.
    pub work: PathBuf,
    /// Open in criu until that ends, however this process ends.
    pub held: OwnedFd,
    /// Called while all stands still, and can let the dump fail.
    pub still: Box<dyn FnOnce() -> Result<()> + Send>,
}

/// What the engine itself asks of the kernel. Control groups are in cgroupfs spelling.
#[async_trait]
pub trait Host: Send + Sync {
    /// What the kernel has of what is leant on, as it was when this host was opened.
    fn features(&self) -> &[Feature];

    /// The overlay of these folders as a detached mount, the layers with their ids mapped.
    async fn overlay(&self, dirs: &RootfsDirs, ids: Option<&IdMaps>) -> Result<OwnedFd>;

    /// An image as [`Images::view`] has it, or a folder in it, as a detached read-only mount, with its
    /// ids mapped. An empty `sub_path` is the whole image; no link in it leads out of the image.
    ///
    /// # Errors
    /// `NotFound` without such a path, `Invalid` for one that is no folder.
    async fn view(&self, layers: &[Lower], sub_path: &str, ids: Option<&IdMaps>)
    -> Result<OwnedFd>;

    /// Finds the program that makes checkpoints.
    ///
    /// # Errors
    /// `Unimplemented` when there is none, or one that is too old.
    async fn criu(&self) -> Result<PathBuf>;

    /// Dumps processes, which go on afterwards, whatever becomes of the dump. It goes on to its end when
    /// nobody waits for it any more.
    async fn dump(&self, dump: Dump) -> Result<()>;

    /// Lets the processes of a group go on that criu has stopped, if it has ended before it could.
    /// Missing is done.
    async fn thaw_group(&self, cgroup: &str) -> Result<()>;

    /// Unmounts a pinned namespace and removes its file. Missing is done.
    async fn unpin(&self, path: &Path) -> Result<()>;

    /// Makes a group in every hierarchy. One that is there is taken; a scope is made by
    /// [`Host::place`].
    async fn make_group(&self, cgroup: &str) -> Result<()>;

    /// Makes a scope of systemd of a process that waits for it, with all that is to be written to
    /// its `groups`.
    ///
    /// # Errors
    /// When systemd cannot be reached, or says no.
    async fn place(&self, cgroup: &str, groups: &Cgroups, pid: i32) -> Result<()>;

    /// Tells systemd what was written to the groups of a scope; a group that is none is done.
    async fn tell_limits(&self, cgroup: &str, change: &Cgroups) -> Result<()>;

    /// Kills everything in a group and below it. Missing is done.
    async fn kill_group(&self, cgroup: &str) -> Result<()>;

    /// Removes a group with those below it. Missing is done; busy is an error.
    async fn remove_group(&self, cgroup: &str) -> Result<()>;

    /// Moves every process in a group and below it into the group `to`, and tells which: those that
    /// are killed and cannot die, so that their group can be removed. One that is dying stays.
    async fn move_processes(&self, cgroup: &str, to: &str) -> Result<Vec<i32>>;

    /// Makes sure that an AppArmor profile is loaded; our own default is loaded when it is not.
    ///
    /// # Errors
    /// `Invalid` for another profile that is not loaded, `Unavailable` when there is nothing to load
    /// ours with.
    async fn ensure_apparmor(&self, profile: &str) -> Result<()>;

    /// A descriptor of a process; `None` when it is gone.
    fn pidfd(&self, pid: i32) -> Option<OwnedFd>;

    /// The PID namespace of the process behind `pidfd`, whose number is `pid`.
    ///
    /// # Errors
    /// `FailedPrecondition` when that process has ended.
    async fn pid_namespace(&self, pidfd: &Arc<OwnedFd>, pid: i32) -> Result<OwnedFd>;

    /// The exit code of a process that has ended, waited for within bounded time; `None` where
    /// the kernel does not tell (before 6.15).
    async fn exit_code(&self, pidfd: &Arc<OwnedFd>) -> Option<i32>;

    /// What each of these groups counts; `None` for one that is gone.
    async fn usage(&self, cgroups: Vec<String>) -> Vec<Option<Stats>>;

    /// Everything that is counted of containers, each told by its group and the number of its first
    /// process; `None` for a group that is gone.
    async fn counts(&self, containers: Vec<(String, i32)>) -> Vec<Option<Counts>>;

    /// What the interfaces of each of these network namespaces count, the default one first, `lo`
    /// left out; none for one that cannot be entered.
    async fn interfaces(&self, netns: Vec<PathBuf>) -> Vec<Vec<InterfaceUsage>>;
}
