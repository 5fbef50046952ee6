//! How long CRI servers and OCI runtimes take, side by side in one run.
//!
//! - [`subject`]: what is measured: a daemon of ours, a peer, or any endpoint;
//! - [`pods`]: the life of a pod phase by phase, and ExecSync;
//! - [`hundred`]: a hundred pods at once, lists beside them, and their memory;
//! - [`pull`]: a large image;
//! - [`images`]: pulls and removals of four images, beside a floor, and lists of a thousand;
//!   [`shapes`]: what is in those images; [`program`]: bytes that compress as programs do;
//!   [`floor`]: what a pull cannot do without; [`cost`]: what a daemon takes for it;
//! - [`starts`]: containers over images of few and of many layers, and reads of what is in them;
//!   [`layered`]: those images;
//! - [`manifests`]: a hundred pods of a folder of manifests that nothing happens to;
//! - [`oci`]: create, start and delete of runtime binaries;
//! - [`table`]: medians, tails, ratios, and the bars that they are held to.
//!
//! Times drift with the machine and its load, by more than what is to be told apart: each round
//! asks every subject in turn, and what counts is the ratio of their medians.

pub mod cost;
pub mod floor;
pub mod hundred;
pub mod images;
pub mod layered;
pub mod manifests;
pub mod oci;
pub mod pods;
pub mod program;
pub mod pull;
pub mod shapes;
pub mod starts;
pub mod subject;
pub mod table;

use std::time::Duration;

/// How often each thing is done.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Lives of a pod, per kind of network.
    pub pods: usize,
    /// ExecSync, one at a time; ten times as many at concurrency 10.
    pub execs: usize,
    /// Times a hundred pods.
    pub hundreds: usize,
    /// Calls of each list beside a hundred pods.
    pub lists: usize,
    /// Pulls of the large image.
    pub pulls: usize,
    /// Pulls of each of the four images.
    pub images: usize,
    /// Containers over each of the images of few and of many layers.
    pub starts: usize,
    /// Times that all in those is read, cold and warm.
    pub reads: usize,
    /// How long the processor's time beside a hundred idle pods is taken.
    pub idle: Duration,
    /// Containers of an OCI runtime.
    pub containers: usize,
}

impl Rounds {
    /// Enough for a p99 that means something.
    pub const FULL: Self = Self {
        pods: 100,
        execs: 100,
        hundreds: 3,
        lists: 50,
        pulls: 5,
        images: 3,
        starts: 50,
        reads: 5,
        idle: Duration::from_secs(60),
        containers: 100,
    };
    /// A look.
    pub const QUICK: Self = Self {
        pods: 15,
        execs: 30,
        hundreds: 1,
        lists: 15,
        pulls: 2,
        images: 1,
        starts: 15,
        reads: 2,
        idle: Duration::from_secs(20),
        containers: 20,
    };
}
