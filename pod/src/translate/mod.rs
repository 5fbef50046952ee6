//! Pod → CRI messages. Pure: what they need of the node and the moment is passed in.

pub mod container;
pub mod labels;
pub mod sandbox;
