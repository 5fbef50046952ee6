//! What a Pod means: the kubelet's half of a node, over the CRI trait and the Node trait.

pub mod clock;
pub mod error;
pub mod ids;
pub mod manifest;
pub mod model;
pub mod quantity;
mod validate;
