//! Layers: from a stream of compressed bytes to what overlayfs takes, in one of two formats: a
//! directory, or an EROFS image that is its archive and an index of it.
//!
//! Each layer is unpacked by itself, without the ones below it, so that layers are keyed by
//! nothing but their content and unpack in parallel.

mod attributes;
mod changes;
mod decode;
pub(crate) mod directories;
mod entries;
pub(crate) mod erofs;
mod facts;
mod lookup;
mod pipeline;
mod split;
mod stored;
mod unpack;
mod write_back;

pub(crate) use changes::Changes;
pub(crate) use decode::{Compression, decoder, sniff};
pub(crate) use entries::OVERLAY_OPAQUE;
pub(crate) use facts::{Facts, Format};
pub(crate) use pipeline::{Feed, Job, run};
pub(crate) use stored::Stored;
