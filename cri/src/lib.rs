//! CRI handlers, the streaming server and the rrund daemon.

pub mod config;
pub mod convert;
pub mod current;
pub mod daemon;
pub mod doctor;
mod follow;
pub mod fsck;
mod health;
pub mod import;
pub mod log;
mod metrics;
mod nri;
pub mod parts;
pub mod service;
pub mod streaming;
mod systemd;
mod traces;
