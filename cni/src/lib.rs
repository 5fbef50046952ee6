//! Pod networks: CNI plugins and the built-in bridge.
//!
//! [`Network`] attaches a pinned network namespace and detaches it again, by one of two ways: the
//! first network configuration of a folder, with plugins executed as the CNI specification has it
//! (0.3.0 to 1.1.0), or a bridge of our own over netlink. What is to be attached is put on record
//! before anything is done, and DEL works from that record alone: with the namespace gone, the
//! configuration changed, or the process that did the ADD dead at any point.
//!
//! The records and the addresses are shared by every process of the machine.

mod attachment;
mod bridge;
mod config;
mod error;
pub mod fsck;
mod netlink;
mod network;
mod plugin;
mod pods;
mod rate;
mod record;
mod selection;
mod store;
mod subnet;
mod subnet6;
mod template;

pub use attachment::{Attached, Attachment, Dns, PortMapping, Protocol, RecordedAttachment};
pub use config::{Config, Mode, Settings};
pub use error::{Error, Kind, Result};
pub use network::{Network, Status};
pub use subnet::Subnet;
pub use subnet6::Subnet6;
pub use template::Filled;
