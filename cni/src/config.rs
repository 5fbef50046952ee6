//! Settings: which network pods get, and where plugins, records and the bridge are.

use crate::error::{Error, Result};
use crate::subnet::Subnet;
use crate::subnet6::Subnet6;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// Which network pods get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The first network configuration of the folder; the built-in bridge while there is none.
    #[default]
    Auto,
    /// The first network configuration of the folder; not ready while there is none, as the node
    /// of a cluster must be, or it takes pods before its network has come.
    Cni,
    /// The built-in bridge, whatever the folder holds.
    Builtin,
}

/// What may change while a [`crate::Network`] is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which network pods get.
    pub mode: Mode,
    /// Folder of network configurations, `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// Folders of plugins, first match wins.
    pub bin_dirs: Vec<PathBuf>,
    /// Template of a configuration, for [`crate::Network::fill_template`].
    pub conf_template: Option<PathBuf>,
}

impl Settings {
    /// The template, if it is used.
    pub(crate) fn template(&self) -> Option<&Path> {
        self.conf_template.as_deref().filter(|_| self.mode != Mode::Builtin)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Auto,
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            conf_template: None,
        }
    }
}

/// What a [`crate::Network`] is opened with. Everything that is visible on the machine has a name
/// here, so that two networks can stand side by side.
#[derive(Clone, Debug)]
pub struct Config {
    /// Each call goes by what they are by then.
    pub settings: watch::Receiver<Settings>,
    /// Folder of the records and the addresses; every process of this machine that shares the
    /// bridge must share it.
    pub state_dir: PathBuf,
    /// Name of the built-in bridge.
    pub bridge: String,
    /// The built-in bridge's subnet. `None` takes the first of 10.77.0.0/16 … 10.84.0.0/16,
    /// 10.90.0.0/16 … 10.99.0.0/16 that overlaps no route of the host (10.85 and 10.88 are what
    /// CRI-O and podman take), once: the choice is kept in `state_dir`.
    pub subnet: Option<Subnet>,
    /// The subnet of the IPv6 addresses that pods on the built-in bridge have beside; `None`: they have
    /// none.
    pub subnet6: Option<Subnet6>,
    /// Name of the built-in bridge's nftables tables, families `ip` and `ip6`.
    pub table: String,
    /// How long one execution of a plugin may take before it is killed.
    pub plugin_timeout: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            settings: watch::channel(Settings::default()).1,
            state_dir: "/var/lib/rrun/network".into(),
            bridge: "rrun0".into(),
            subnet: None,
            subnet6: None,
            table: "rrun".into(),
            plugin_timeout: Duration::from_secs(100),
        }
    }
}

impl Config {
    /// Refuses names that the kernel would refuse.
    ///
    /// # Errors
    /// `Invalid`, with the name.
    pub fn check(&self) -> Result<()> {
        let name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let link = !self.bridge.is_empty() && self.bridge.len() <= 15;
        if !link || !self.bridge.chars().all(name) || self.bridge.starts_with('.') {
            let why = "is no interface name: 1 to 15 of letters, digits, `_`, `-` and `.`";
            return Err(Error::invalid(format!("bridge {:?} {why}", self.bridge)));
        }
        let table = self.table.starts_with(|c: char| c.is_ascii_alphabetic());
        if !table || !self.table.chars().all(name) || self.table.len() > 31 {
            return Err(Error::invalid(format!("table name {:?}", self.table)));
        }
        Ok(())
    }

    /// Subnets to choose from when none is configured.
    pub(crate) fn candidates() -> impl Iterator<Item = Subnet> {
        (77..=84).chain(90..=99).filter_map(|n| Subnet::new([10, n, 0, 0].into(), 16).ok())
    }
}
