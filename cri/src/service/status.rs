//! What the runtime is and whether it is ready.

use super::Service;
use rrun_cri_api::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus,
    StatusResponse, VersionResponse,
};
use std::collections::BTreeMap;

/// The name that becomes the scheme of every container id that a kubelet shows.
pub const RUNTIME_NAME: &str = "rrun";

/// The version of the kubelet's runtime API. A kubelet refuses any other value.
const KUBELET_API_VERSION: &str = "0.1.0";

pub(super) fn version() -> VersionResponse {
    VersionResponse {
        version: KUBELET_API_VERSION.to_owned(),
        runtime_name: RUNTIME_NAME.to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    }
}

impl Service {
    pub(super) fn runtime_status(&self, verbose: bool) -> StatusResponse {
        let network = self.network.status();
        let runtime = RuntimeCondition {
            r#type: "RuntimeReady".to_owned(),
            status: true,
            ..RuntimeCondition::default()
        };
        let pods = RuntimeCondition {
            r#type: "NetworkReady".to_owned(),
            status: network.ready,
            reason: network.reason.to_owned(),
            message: network.message.clone(),
        };
        // User namespaces are refused by name in this release, so the feature says so.
        let features =
            RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: false };
        let handler =
            |name: &str| RuntimeHandler { name: name.to_owned(), features: Some(features) };
        StatusResponse {
            status: Some(RuntimeStatus { conditions: vec![runtime, pods] }),
            info: if verbose { self.info(&network.message) } else { BTreeMap::new() },
            runtime_handlers: vec![handler(""), handler(RUNTIME_NAME)],
            features: Some(RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
            }),
        }
    }

    fn info(&self, last_load: &str) -> BTreeMap<String, String> {
        let last_load = if last_load.is_empty() { "OK" } else { last_load };
        BTreeMap::from([
            ("config".to_owned(), serde_json::json!(&*self.config).to_string()),
            ("lastCNILoadStatus".to_owned(), last_load.to_owned()),
        ])
    }
}
