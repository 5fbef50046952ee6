//! The namespaces that the containers of a pod share.

use crate::files;
use crate::model::{NamespaceMode, PodConfig};
use rrun_shim_protocol::NamespaceKind;

/// The namespaces of a pod, in the order of its slots.
pub(crate) fn namespaces(config: &PodConfig) -> Vec<NamespaceKind> {
    let options = &config.security.namespaces;
    let mut kinds = Vec::with_capacity(5);
    if files::has_network(config) {
        kinds.push(NamespaceKind::Network);
    }
    if options.ipc != NamespaceMode::Node {
        kinds.push(NamespaceKind::Ipc);
    }
    if files::has_network(config) {
        kinds.push(NamespaceKind::Uts);
    }
    if options.own_users().is_some() {
        kinds.push(NamespaceKind::User);
    }
    if options.pid == NamespaceMode::Pod {
        kinds.push(NamespaceKind::Pid);
    }
    kinds
}
