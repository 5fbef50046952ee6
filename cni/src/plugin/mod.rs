//! Networks made by CNI plugins.

mod answer;
mod capability;
mod conf;
mod exec;
mod folder;
mod runner;

pub use conf::Network;
pub use folder::{Found, check_list, first, first_file};
pub use runner::{Runner, check};
