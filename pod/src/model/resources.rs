//! Requests and limits.

use std::collections::BTreeMap;

use crate::quantity::Quantity;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList {
    /// Cores.
    pub cpu: Option<Quantity>,
    /// Bytes.
    pub memory: Option<Quantity>,
    /// Bytes.
    pub ephemeral_storage: Option<Quantity>,
    /// Bytes by page size (`2Mi`).
    pub hugepages: BTreeMap<String, Quantity>,
}

/// What a container or a pod asks for and may not exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Filled from the limits where the manifest says nothing.
    pub requests: ResourceList,
    /// What the kernel enforces.
    pub limits: ResourceList,
}
