//! System calls, file descriptors, mounts and in-root path lookup: the one crate with `unsafe`.
//!
//! Every other crate may use it, it uses none of them.

pub mod bpf;
mod call;
pub mod capability;
pub mod command;
pub mod daemon;
pub mod exe;
pub mod fdpass;
pub mod first_page;
pub mod fnv;
pub mod heap;
pub mod in_root;
pub mod inherited;
pub mod kernel;
pub mod limit;
pub mod loopback;
pub mod lsm;
pub mod memfd;
mod mode;
pub mod mount;
pub mod namespace;
pub mod netns;
pub mod pidfd;
pub mod pipe;
pub mod procfs;
pub mod program;
pub mod pty;
pub mod reaper;
pub mod record;
pub mod regex;
mod rename;
pub mod root;
pub mod step;
pub mod thread;
pub mod time;
pub mod tree;
pub mod write_back;
pub mod xattr;
