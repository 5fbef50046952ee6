//! Messages between the daemon and a pod's shim, their encoding, and the client.
//!
//! One connection is a stream socket on `<pod run dir>/shim.sock` that only root may open. A frame
//! is a fixed header and a postcard body; file descriptors ride on the first byte of their frame.
//! The first exchange is [`Request::Hello`]: both sides name the versions they speak and the
//! highest common one rules the connection. That exchange, and the re-execution of the shim in
//! place, are frozen.

mod client;
pub mod cri_log;
mod error;
pub mod exit_record;
pub mod frame;
mod launch;
pub mod log_journal;
mod message;
pub mod rest;

pub use client::{Client, Events, Running};
pub use error::{Error, Kind};
pub use launch::{Launch, launch};
pub use message::{
    ContainerReport, ContainerState, Create, Event, Exec, Exit, ExitReason, LogSpec, NamespaceKind,
    Pin, Reaper, Reply, Request, Sandbox, ShimReport, WireError, WireKind,
};

/// The newest version of the protocol that this code speaks.
pub const VERSION: u16 = 2;

/// The oldest version of the protocol that this code still speaks.
///
/// Version 1 has no [`Request::LogPipes`]: a daemon that meets such a shim goes without duplicate
/// read ends, so that the last unread bytes of a pod's output die with a shim that is killed.
pub const OLDEST: u16 = 1;
