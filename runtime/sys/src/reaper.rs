//! The reaper's program, built by this crate's `build.rs`.

/// An executable for this machine, of less than a KiB.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rrun-reaper"));
