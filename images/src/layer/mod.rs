//! Layers: from a stream of compressed bytes to a directory that overlayfs takes.
//!
//! Each layer is unpacked by itself, without the ones below it, so that layers are keyed by
//! nothing but their content and unpack in parallel.

mod attributes;
mod decode;
pub(crate) mod directories;
mod lookup;
mod pipeline;
mod split;
mod unpack;
mod write_back;

pub(crate) use decode::{Compression, decoder, sniff};
pub(crate) use pipeline::{Feed, Job, run};
pub(crate) use split::join;
pub(crate) use unpack::Facts;
