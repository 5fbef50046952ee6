//! The reaper's program, built by this crate's `build.rs`.

/// An executable of a few KiB for this machine.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rrun-reaper"));
