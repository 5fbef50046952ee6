//! Programs that run while a container is made and started: runtime-spec's `hooks`, as far as the
//! process that becomes the container's has to do with them.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The hooks of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hooks {
    /// A directory on the host where the root is mounted, so that hooks find it, in a mount namespace
    /// with all that the caller's has. There with hooks that run before the root is entered.
    #[n(0)]
    pub rootfs: Option<PathBuf>,
    /// The parent is asked to run the hooks of its own namespaces, when all mounts are made.
    #[n(1)]
    pub ask: bool,
    /// After those, in the container's namespaces and with the host's files: `createContainer`.
    #[n(2)]
    pub create_container: Vec<Hook>,
    /// Between the start and the program, as the container's user, with its files:
    /// `startContainer`.
    #[n(3)]
    pub start_container: Vec<Hook>,
    /// What the first two read.
    #[n(4)]
    pub creating: StateText,
    /// What the last ones read.
    #[n(5)]
    pub created: StateText,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Hook {
    /// Absolute path.
    #[n(0)]
    pub path: String,
    /// Arguments, the first of which names it.
    #[n(1)]
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    #[n(2)]
    pub env: Vec<String>,
    /// Seconds after which it is killed and has failed; `None` is never.
    #[n(3)]
    pub timeout: Option<u32>,
}

/// The state of a container as JSON, to be written around its process id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct StateText {
    /// Up to the process id.
    #[n(0)]
    pub before: String,
    /// What comes after it.
    #[n(1)]
    pub after: String,
}

impl StateText {
    /// The whole, of a process with this number.
    pub fn of(&self, pid: i32) -> String {
        format!("{}{pid}{}", self.before, self.after)
    }
}
