//! Plugins of the Node Resource Interface (NRI, up to 0.12): programs of the node's administrator that
//! are told what happens to pods and containers, and may change how a container is made.
//!
//! A plugin is one connection with two of ttrpc in it ([`mux`], [`ttrpc`]): over one it is called, over
//! the other it calls. [`Plugins`] has them all, in the order in which they are asked. What several ask
//! of one container is put together by [`merge`], and applied to its OCI configuration by [`oci`]: both
//! are pure. A plugin that ends, hangs or answers nonsense is closed, and what it was asked about goes
//! on without it.

pub mod api;
mod config;
mod connection;
mod error;
mod launch;
mod merge;
mod mux;
pub mod oci;
mod owners;
mod plugin;
mod plugins;
mod resources;
mod synchronize;
mod ttrpc;

pub use config::Config;
pub use connection::unanswered;
pub use error::{Error, Kind, Result};
pub use merge::Answer;
pub use plugins::{Known, Notice, Plugins, Runtime};
