//! Images: registry, layers, snapshots, records.
//!
//! [`Store::pull`] asks the hosts of a registry ([`Credentials`], `hosts.toml` folders), streams
//! each layer once through verification, inflation and unpacking into a directory of its own, and
//! records the image. [`Store::prepare`] turns an image into the directories of an overlay mount
//! for one owner. Nothing here mounts anything, and nothing here knows pods or CRI.

mod credentials;
mod digest;
mod error;
mod layer;
mod layout;
mod manifest;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod store;
mod tar;

pub use credentials::Credentials;
pub use digest::{Algorithm, Digest, ImageId};
pub use error::{Error, Kind, Result};
pub use progress::{Event, Progress};
pub use reference::Reference;
pub use store::{Config, FsInfo, Image, Owner, Rootfs, Store, Usage};
