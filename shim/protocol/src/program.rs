//! A container that is made by the command line of another OCI runtime.

use minicbor::{Decode, Encode};
use rrun_runtime::plan::Slot;
use rrun_sys::limit;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a runtime finds in its environment, and no more: the caller's would tell it of sockets that
/// are the caller's.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Has `command` be a call of the command line of an OCI runtime, as each call is made: with options,
/// with a log if there is one, and with the verb, which its own words follow.
pub fn calls(command: &mut Command, options: &[String], log: Option<&Path>, verb: &str) {
    command.args(options);
    if let Some(log) = log {
        command.arg("--log").arg(log).args(["--log-format", "json"]);
    }
    command.arg(verb).env_clear().env("PATH", PATH).current_dir("/");
    limit::hand_down(command);
}

/// The program that makes a container in the shim's place, and adds processes to it. Since version 5.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Program {
    /// The program.
    #[n(0)]
    pub path: PathBuf,
    /// Its options before the verb, but for those of its log.
    #[n(1)]
    pub args: Vec<String>,
    /// The bundle: a folder with `config.json`, and with a place for each attachment. What the shim
    /// and the program tell each other is written there too.
    #[n(2)]
    pub bundle: PathBuf,
    /// What is attached while the program makes the container, in a mount namespace that ends with
    /// it.
    #[n(3)]
    pub attachments: Vec<Attachment>,
    /// How long one call may take.
    #[n(4)]
    pub timeout_ms: u64,
}

/// Something that the program finds at a path.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attachment {
    /// What.
    #[n(0)]
    pub source: AttachmentSource,
    /// Where: a folder, or for a namespace a file.
    #[n(1)]
    pub path: PathBuf,
}

/// What is attached.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum AttachmentSource {
    /// The detached mount in this slot.
    #[n(0)]
    Mount(#[n(0)] Slot),
    /// The namespace in this slot.
    #[n(1)]
    Namespace(#[n(0)] Slot),
    /// A folder of the pod's own mount namespace, such as `shm`.
    #[n(2)]
    PodDir(#[n(0)] String),
}
