//! Addresses of a pod: known only once its sandbox is made.

/// A pod's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The pod's, first is primary; the node's for host-network pods.
    pub pod: Vec<String>,
}
