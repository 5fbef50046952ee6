//! The harness is tested by leaking one object of each kind on purpose. Needs root.
#![allow(clippy::unwrap_used)]

mod images;
mod killed;
mod leaks;
mod peer;
