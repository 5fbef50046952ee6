//! What a client asks for: the CRI's messages without their encoding.
//!
//! Everything a client gives is kept, also what this release does not act on, because it is read
//! back (labels and annotations are the kubelet's database) or refused by name.

mod container;
mod pod;
mod resources;
mod security;

pub use container::{ContainerConfig, DeviceSpec, EnvVar, ImageSpec, MountPropagation, MountSpec};
pub use pod::{Dns, PodConfig, PodKey, PodSecurity, PortMapping, Protocol};
pub use resources::{HugepageLimit, Resources};
pub use security::{
    Capability, ContainerSecurity, GroupsPolicy, IdMapping, NamespaceMode, NamespaceOptions,
    SeLinux, SecurityProfile, UserNamespace,
};

/// Labels or annotations, kept as they came.
pub type Tags = std::collections::BTreeMap<String, String>;
