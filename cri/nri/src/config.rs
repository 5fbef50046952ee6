//! Settings.

use std::path::PathBuf;
use std::time::Duration;

/// What plugins are met with. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where plugins connect; `None`: only those that are installed are there.
    pub socket: Option<PathBuf>,
    /// Plugins that are started with the daemon.
    pub plugins: PathBuf,
    /// Their configurations.
    pub plugin_configs: PathBuf,
    /// How long a plugin may take to register, and to take in what there is.
    pub registration_timeout: Duration,
    /// How long it may take for an answer.
    pub request_timeout: Duration,
    /// What it is told of the runtime.
    pub runtime_name: String,
    /// Likewise.
    pub runtime_version: String,
}
