//! What the runtime is and whether it is ready.

use super::Service;
use rrun_cri_api::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeStatus, StatusResponse, VersionResponse,
};
use rrun_sys::kernel::Feature;
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
    pub(super) async fn runtime_status(&self, verbose: bool) -> StatusResponse {
        let network = self.network.status().await;
        let runtime = runtime_ready(self.engine.kernel());
        let pods = RuntimeCondition {
            r#type: "NetworkReady".to_owned(),
            status: network.ready,
            reason: network.reason.to_owned(),
            message: network.message.clone(),
        };
        let (runtime_handlers, runtimes) = self.handlers_told().await;
        StatusResponse {
            status: Some(RuntimeStatus { conditions: vec![runtime, pods] }),
            info: if verbose { self.info(network, &runtimes) } else { BTreeMap::new() },
            runtime_handlers,
            features: Some(RuntimeFeatures {
                supplemental_groups_policy: true,
                // Refused by name.
                user_namespaces_host_network: false,
            }),
        }
    }

    /// Whether runtime and network are ready.
    ///
    /// # Errors
    /// The conditions that do not hold, as the status has them.
    pub(crate) async fn readiness(&self) -> Result<(), String> {
        let status = self.runtime_status(false).await.status.unwrap_or_default();
        let wanting = status.conditions.into_iter().filter(|condition| !condition.status);
        let in_words = |RuntimeCondition { r#type, reason, message, .. }| {
            format!("{}: {reason}: {message}", r#type)
        };
        match wanting.map(in_words).collect::<Vec<_>>().join("\n") {
            none if none.is_empty() => Ok(()),
            wanting => Err(wanting),
        }
    }

    fn info(
        &self,
        network: rrun_cni::Status,
        runtimes: &serde_json::Value,
    ) -> BTreeMap<String, String> {
        let mut config = serde_json::json!(**self.config.borrow());
        // By containerd's name, where node agents look for root file systems.
        config["stateDir"] = serde_json::json!(self.config.borrow().root.join("images"));
        let last_load = if network.message.is_empty() { "OK".to_owned() } else { network.message };
        BTreeMap::from([
            ("cniconfig".to_owned(), network.config),
            ("config".to_owned(), config.to_string()),
            ("kernel".to_owned(), kernel_info(self.engine.kernel()).to_string()),
            ("lastCNILoadStatus".to_owned(), last_load),
            ("runtimes".to_owned(), runtimes.to_string()),
        ])
    }
}

/// False where something is missing that no pod can be run without.
fn runtime_ready(kernel: &[Feature]) -> RuntimeCondition {
    let wanting = kernel.iter().filter(|feature| feature.is_wanting()).map(in_words);
    let message = wanting.collect::<Vec<_>>().join("; ");
    let status = message.is_empty();
    RuntimeCondition {
        r#type: "RuntimeReady".to_owned(),
        status,
        reason: if status { "" } else { "KernelLacksFeature" }.to_owned(),
        message,
    }
}

fn in_words(feature: &Feature) -> String {
    let Feature { name, since, missing, .. } = feature;
    let why = missing.map(|errno| format!(" ({errno:?})")).unwrap_or_default();
    format!("the kernel lacks {name}{why}, which Linux {since} has")
}

/// Each feature with `ok`, or with what is done instead.
fn kernel_info(kernel: &[Feature]) -> serde_json::Value {
    let line = |feature: &Feature| {
        let state = match (feature.missing, feature.instead) {
            (None, _) => "ok".to_owned(),
            (Some(_), Some(instead)) => format!("{}: {instead}", in_words(feature)),
            (Some(_), None) => in_words(feature),
        };
        (feature.name.to_owned(), state.into())
    };
    serde_json::Value::Object(kernel.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_kernel_that_lacks_what_pods_want_is_not_ready_and_says_what_it_is() {
        let feature = |name, missing, instead| Feature { name, since: "5.12", instead, missing };
        let fine = [
            feature("openat2", None, None),
            feature("lowerdir+", Some(Errno::EINVAL), Some("one list")),
        ];
        assert!(runtime_ready(&fine).status);
        let info = kernel_info(&fine);
        assert_eq!(info["openat2"], "ok");
        let words = "the kernel lacks lowerdir+ (EINVAL), which Linux 5.12 has: one list";
        assert_eq!(info["lowerdir+"], words);
        let ready = runtime_ready(&[feature("mount_setattr", Some(Errno::ENOSYS), None)]);
        assert!(!ready.status);
        assert_eq!(ready.reason, "KernelLacksFeature");
        let words = "the kernel lacks mount_setattr (ENOSYS), which Linux 5.12 has";
        assert_eq!(ready.message, words);
    }
}
