//! System calls, file descriptors, mounts and in-root path lookup: the one crate with `unsafe`.
//!
//! At the bottom of the house: every room may use it, it uses none of them.

pub mod fdpass;
pub mod pidfd;
pub mod step;
