//! What is known of a pod only once its sandbox stands.

/// A pod's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The pod's, first is primary; the node's for host-network pods.
    pub pod: Vec<String>,
}
