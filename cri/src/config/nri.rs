//! `[nri]`

use super::{absolute, some_seconds};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[nri]`: plugins of the Node Resource Interface. The keys are containerd's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nri {
    /// There are no plugins.
    pub disable: bool,
    /// Plugins that connect are not heard; those that are installed are.
    pub disable_connections: bool,
    /// Where plugins connect.
    #[serde(deserialize_with = "absolute")]
    pub socket_path: PathBuf,
    /// Plugins that are started with the daemon.
    #[serde(deserialize_with = "absolute")]
    pub plugin_path: PathBuf,
    /// Their configurations.
    #[serde(deserialize_with = "absolute")]
    pub plugin_config_path: PathBuf,
    /// How many seconds a plugin may take to register, and to take in the pods that there are.
    #[serde(deserialize_with = "some_seconds")]
    pub plugin_registration_timeout: u64,
    /// How many seconds a plugin may take for an answer.
    #[serde(deserialize_with = "some_seconds")]
    pub plugin_request_timeout: u64,
    /// Plugins without which no container is made, by their names.
    pub required_plugins: Vec<String>,
}

impl Default for Nri {
    fn default() -> Self {
        Nri {
            disable: false,
            disable_connections: false,
            socket_path: "/var/run/nri/nri.sock".into(),
            plugin_path: "/opt/nri/plugins".into(),
            plugin_config_path: "/etc/nri/conf.d".into(),
            plugin_registration_timeout: 5,
            plugin_request_timeout: 2,
            required_plugins: Vec::new(),
        }
    }
}
