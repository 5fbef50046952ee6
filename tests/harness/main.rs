//! The harness is tested by leaking one object of each kind on purpose. Needs root.
#![allow(clippy::unwrap_used)]

mod images;
mod leaks;
mod peer;
