//! Images: registry, layers, snapshots, records.
//!
//! [`Store::pull`] asks the hosts of a registry ([`Credentials`], `hosts.toml` folders), streams
//! each layer once through verification, inflation and unpacking into a directory of its own, and
//! records the image. A [`Holder`] holds as many images as he likes: [`Store::view`] tells the
//! directories for a read-only mount, [`Store::prepare`] those of an overlay with a writable layer.
//! What nobody holds and no name leads to is removed behind. Nothing here mounts anything, and
//! nothing here knows pods or CRI.
//!
//! From the bottom: `store` (disk and records, blocking), `layer` and `tar`, `registry` and
//! `layout`, `source` (either of them), `verifier`, `pull`, and on top `api`, which is async
//! throughout, and `fsck`, which looks through a store before it is opened: these two are what other
//! crates see.

mod api;
mod changes;
mod checkpoint;
mod config;
mod counts;
mod credentials;
mod digest;
mod docker_archive;
mod error;
mod export;
mod flights;
mod fsck;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gc;
mod import;
mod json;
mod layer;
mod layout;
mod manifest;
mod partial;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod source;
mod store;
mod tar;
mod verifier;

pub use api::Store;
pub use changes::write_changes;
pub use checkpoint::{Checkpoint, Documents};
pub use config::ImageConfig;
pub use counts::Counts;
pub use credentials::{Credentials, Known};
pub use digest::{Algorithm, Digest, ImageId};
pub use error::{Error, Kind, Result};
pub use export::{ExportTo, Exported};
pub use fsck::{Check, Outcome, Report, fsck};
pub use import::Imported;
pub use progress::{Event, LayerPhase, LayerPull, Progress, Pulling, Summary, Wait, Watched};
pub use reference::Reference;
pub use registry::login;
pub use registry::pace::Stall;
pub use registry::ranges::Ranges;
pub use store::{
    Collection, Config, Containers, Decision, Entry, Fault, FileSystem, Finding, FsInfo, Holder,
    HolderKind, Ids, Image, ImageUsage, LayerState, LayerUsage, Layers, Lower, Origin, Pin, Rootfs,
    Shift, Usage, Verified,
};
pub use verifier::Verifiers;
