//! The test images: a table, and what turns it into a registry's storage.
//!
//! [`catalogue`] says which images exist, [`rootfs`] what is in their layers, [`layer`] makes tar
//! files of it, [`manifest`] the JSON around them, [`push`] speaks the registry's protocol and
//! [`build`] keeps the result in the cache.

mod blob;
mod build;
mod catalogue;
mod layer;
mod manifest;
mod push;
mod rootfs;

pub use blob::{Blob, digest_of};
pub use build::{Built, Store, store};
pub use catalogue::{HOSTS, Image, catalogue};
pub use layer::{Data, Entry, Layer, LayerBlob, LayerFacts, Sources};
pub use manifest::{Config, Format, assemble, assemble_of};
pub use push::Pusher;
pub use rootfs::reads;
