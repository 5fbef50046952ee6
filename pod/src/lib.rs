//! What a Pod means: the kubelet's half of a node, over the CRI trait and the Node trait.

pub mod clock;
pub mod dns;
pub mod env;
pub mod error;
pub mod hosts;
pub mod ids;
pub mod manifest;
pub mod model;
pub mod node;
pub mod quantity;
pub mod resources;
pub mod security;
#[cfg(test)]
mod testing;
pub mod translate;
mod validate;
