//! CRI handlers, the streaming server and the rrund daemon.

pub mod config;
pub mod convert;
pub mod current;
pub mod daemon;
pub mod fsck;
pub mod log;
mod nri;
pub mod parts;
pub mod service;
pub mod streaming;
