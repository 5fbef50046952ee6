//! How processes end, how a pod stands, and errors: what several messages have in them.

use minicbor::{Decode, Encode};

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exit {
    /// Exit code, 128 + n for signal n.
    #[n(0)]
    pub code: i32,
    /// Nanoseconds since the epoch.
    #[n(1)]
    pub at: i64,
    /// Why.
    #[n(2)]
    pub reason: ExitReason,
    /// The error of one that could not be executed, else empty.
    #[n(3)]
    pub message: String,
    /// Bytes of output that are missing in its log, because it took them too slowly or not at all.
    #[cbor(n(4), default)]
    pub output_lost: u64,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum ExitReason {
    /// It ended, or was killed by somebody.
    #[default]
    #[n(0)]
    Ended,
    /// The kernel killed it for want of memory in its group, in this run.
    #[n(1)]
    OutOfMemory,
    /// Its program could not be executed.
    #[n(2)]
    StartError,
    /// It was killed because its time was over.
    #[n(3)]
    Timeout,
}

/// Everything that a shim knows of its pod.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct ShimReport {
    /// The sandbox was made.
    #[n(0)]
    pub sandbox: bool,
    /// Process id of the reaper, if it runs.
    #[n(1)]
    pub reaper: Option<i32>,
    /// Containers, in the order in which they were made.
    #[n(2)]
    pub containers: Vec<ContainerReport>,
}

/// One container of a shim.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct ContainerReport {
    /// Container id.
    #[n(0)]
    pub id: String,
    /// Process id of its init, seen from the host, while it lives.
    #[n(1)]
    pub pid: Option<i32>,
    /// Where it stands.
    #[n(2)]
    pub state: ContainerState,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum ContainerState {
    /// Its init waits.
    #[n(0)]
    Created,
    /// Its program runs.
    #[n(1)]
    Running {
        /// Nanoseconds since the epoch.
        #[n(0)]
        started_at: i64,
    },
    /// It has ended.
    #[n(2)]
    Exited {
        /// Nanoseconds since the epoch; 0 if it never started.
        #[n(0)]
        started_at: i64,
        /// How.
        #[n(1)]
        exit: Exit,
    },
}

/// An error that crosses a process border: never flattened to one string.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WireError {
    /// What sort of error.
    #[n(0)]
    pub kind: WireKind,
    /// Contexts, outermost first: `create web`, `mount /etc/hosts`, `EPERM`.
    #[n(1)]
    pub chain: Vec<String>,
}

/// Sorts of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum WireKind {
    /// No such container or exec.
    #[n(0)]
    NotFound,
    /// It is there already.
    #[n(1)]
    Exists,
    /// The request makes no sense, now or ever.
    #[n(2)]
    Invalid,
    /// A program cannot be executed: code 127 when it is missing, else 126.
    #[n(3)]
    Exec(#[n(0)] i32),
    /// The kernel refused.
    #[n(4)]
    Kernel,
}
