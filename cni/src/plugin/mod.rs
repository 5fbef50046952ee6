//! Networks made by CNI plugins.

mod answer;
mod capability;
mod conf;
mod exec;
mod folder;
mod runner;

pub use conf::Network;
pub use folder::{Found, first};
pub use runner::{Runner, check};
