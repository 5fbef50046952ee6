//! Messages between the daemon and a pod's shim, their encoding, and the client.
//!
//! One connection is a stream socket on `<pod run dir>/shim.sock` that only root may open. A frame
//! is a fixed header and a message in CBOR; file descriptors ride on the first byte of their frame.
//! The first exchange is [`Request::Hello`]: both sides name the versions they speak and the
//! highest common one rules the connection. That exchange, and the re-execution of the shim in
//! place, are frozen.

mod client;
pub mod cri_log;
mod error;
pub mod exit_record;
pub mod frame;
mod launch;
pub mod log_file;
pub mod log_journal;
mod message;
pub mod program;
pub mod remaining_output;
mod report;

pub use client::{Client, Events, Running};
pub use error::{Error, Kind};
pub use launch::{Launch, launch};
pub use message::{
    Ask, AskRefusal, Create, Event, Exec, LogSpec, NamespaceKind, Pin, Reaper, Reply, Request,
    Restore, Sandbox, Update,
};
pub use program::{Attachment, AttachmentSource, Program};
pub use report::{
    ContainerReport, ContainerState, Exit, ExitReason, ShimReport, WireError, WireKind,
};

/// The newest version of the protocol that this code speaks. `COMPATIBILITY.md` beside this crate
/// says what needs a new one.
pub const VERSION: u16 = 6;

/// The oldest version of the protocol that this code still speaks.
pub const OLDEST: u16 = 1;
