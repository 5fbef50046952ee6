//! What the engine needs of other rooms, small enough that a test can stand in and fail at will.

use crate::error::Result;
use crate::id::PodId;
use crate::model::PortMapping;
use crate::model::Tags;
use crate::stats::FsUsage;
use async_trait::async_trait;
use rrun_shim_protocol::{Event, Reply, Request};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::broadcast;

/// The rooms that the engine stands on.
#[derive(Clone)]
pub struct Ports {
    /// Images and root file systems.
    pub images: Arc<dyn Images>,
    /// Pod networks.
    pub network: Arc<dyn Network>,
    /// Shims.
    pub shims: Arc<dyn Shims>,
}

/// Images and root file systems. An owner of a root file system is a name chosen by the engine
/// (the container's id): what it holds is not collected before it is released.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image that an id, tag or digest names.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    async fn find(&self, reference: &str) -> Result<ImageInfo>;

    /// Leases the image to `owner` and prepares its root file system. Idempotent.
    async fn prepare(&self, owner: &str, image_id: &str) -> Result<RootfsDirs>;

    /// Gives back what `owner` holds, and its writable layer. Unknown is done.
    async fn release(&self, owner: &str) -> Result<()>;

    /// Owners that hold something, of this engine or of others on this machine.
    async fn owners(&self) -> Result<Vec<String>>;

    /// Space taken by the writable layer of `owner`.
    async fn writable_usage(&self, owner: &str) -> Result<FsUsage>;
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

/// The `config` of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `Entrypoint`
    pub entrypoint: Vec<String>,
    /// `Cmd`
    pub cmd: Vec<String>,
    /// `Env`, `NAME=value`
    pub env: Vec<String>,
    /// `User`
    pub user: String,
    /// `WorkingDir`
    pub working_dir: String,
    /// `StopSignal`
    pub stop_signal: String,
    /// `Volumes`: paths that get an anonymous volume elsewhere; not here.
    pub volumes: Vec<String>,
}

/// The folders of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsDirs {
    /// Read-only layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlay's own.
    pub work: PathBuf,
}

/// Pod networks.
#[async_trait]
pub trait Network: Send + Sync {
    /// Whether pods can be attached now; the error says why not.
    async fn ready(&self) -> Result<()>;

    /// Attaches a pod; the ledger is written before anything is done.
    async fn add(&self, attachment: Attachment) -> Result<Vec<IpAddr>>;

    /// Takes back what `add` did, by the ledger. Unknown is done; a namespace that is gone is no
    /// error.
    async fn del(&self, pod: &PodId) -> Result<()>;

    /// Pods that the ledger knows, of this engine or of others on this machine.
    async fn ledger(&self) -> Result<Vec<String>>;
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
    pub dns: Option<crate::model::Dns>,
    /// The pod's control group, in cgroupfs spelling.
    pub cgroup: String,
}

/// Shims.
#[async_trait]
pub trait Shims: Send + Sync {
    /// Starts the shim of the pod whose run directory this is, and waits until it can be dialled.
    /// Its process id.
    async fn launch(&self, run_dir: &Path) -> Result<i32>;

    /// Dials the shim of the pod whose run directory this is.
    async fn connect(&self, run_dir: &Path) -> Result<Arc<dyn Shim>>;
}

/// A connection to one shim.
#[async_trait]
pub trait Shim: Send + Sync {
    /// One request and its reply. [`Reply::Error`] comes back as an error of this crate, but for
    /// that of kind `Exec`, which callers want to look at.
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>)>;

    /// Events from now on.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Resolves when the connection has ended.
    async fn closed(&self);

    /// The shim's process id, as it told.
    fn pid(&self) -> i32;
}
