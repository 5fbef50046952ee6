//! The CRI v1 contract: generated types, the CRI trait, its gRPC client and its gRPC server.

pub mod client;
mod codec;
mod cri;
pub mod server;

pub use client::Client;
pub use codec::Answer;
pub use cri::{Cri, Messages};

/// Messages and service stubs, generated from `proto/api.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// The compiled contract: an encoded `google.protobuf.FileDescriptorSet`, without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Largest message either way, in bytes: what the kubelet sets on its side.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
