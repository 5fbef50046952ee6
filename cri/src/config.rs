//! The daemon's configuration: TOML, every key optional, an unknown one refused.

mod files;
mod images;
mod nri;
mod runtimes;
mod streaming;
mod telemetry;

pub use files::{Files, Unusable, text};
pub use images::Images;
pub use nri::Nri;
pub use runtimes::{Runtime, Runtimes};
pub use streaming::Streaming;
pub use telemetry::{LogFormat, Metrics, Tracing};

use rrun_engine::CgroupDriver;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the configuration is looked for without `--config`; a missing file there is no error.
pub const DEFAULT_PATH: &str = "/etc/rrun/rrund.toml";

/// Every key with its default, and what it means, as a file.
pub const DEFAULTS: &str = include_str!("config/default.toml");

/// `rrund.toml`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The CRI socket, mode 0660.
    #[serde(deserialize_with = "socket")]
    pub socket: PathBuf,
    /// State that survives a reboot.
    #[serde(deserialize_with = "absolute")]
    pub root: PathBuf,
    /// State of this boot.
    #[serde(deserialize_with = "run")]
    pub run: PathBuf,
    /// The shim's program; default: beside the daemon's.
    #[serde(deserialize_with = "some_absolute")]
    pub shim: Option<PathBuf>,
    /// The folder of manifests whose pods `rrun manifests` runs; empty for none.
    #[serde(deserialize_with = "absolute_or_empty")]
    pub manifests: PathBuf,
    /// Pod networks.
    pub network: Network,
    /// Images.
    pub images: Images,
    /// Control groups.
    pub cgroup: Cgroup,
    /// Exec, attach and port-forward.
    pub streaming: Streaming,
    /// Seccomp.
    pub seccomp: Seccomp,
    /// Devices by the Container Device Interface.
    pub cdi: Cdi,
    /// Plugins of the Node Resource Interface.
    pub nri: Nri,
    /// Logs.
    pub log: Log,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Traces for OpenTelemetry.
    pub tracing: Tracing,
    /// Other OCI runtimes, which a pod may ask for by these names.
    pub runtimes: Runtimes,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            socket: "/run/rrun/rrun.sock".into(),
            root: "/var/lib/rrun".into(),
            run: "/run/rrun".into(),
            shim: None,
            manifests: "/etc/rrun/manifests".into(),
            network: Network::default(),
            images: Images::default(),
            cgroup: Cgroup::default(),
            streaming: Streaming::default(),
            seccomp: Seccomp::default(),
            cdi: Cdi::default(),
            nri: Nri::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            tracing: Tracing::default(),
            runtimes: Runtimes::default(),
        }
    }
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Who makes pod networks.
    pub mode: NetworkMode,
    /// Folder of CNI configurations.
    #[serde(deserialize_with = "absolute")]
    pub conf_dir: PathBuf,
    /// Folders of CNI plugins.
    #[serde(deserialize_with = "all_absolute")]
    pub bin_dirs: Vec<PathBuf>,
    /// Template of a CNI configuration, which is filled with the addresses that the kubelet tells.
    #[serde(deserialize_with = "some_absolute")]
    pub conf_template: Option<PathBuf>,
    /// Where network namespaces are pinned.
    #[serde(deserialize_with = "absolute")]
    pub netns_dir: PathBuf,
    /// Name of the built-in bridge.
    pub bridge: String,
    /// Addresses of the built-in bridge, in CIDR notation; default: the first of a list that no
    /// route of the host covers.
    #[serde(deserialize_with = "subnet::<rrun_cni::Subnet, _>")]
    pub subnet: Option<String>,
    /// IPv6 addresses that pods on the built-in bridge have beside, in CIDR notation; default: none.
    #[serde(deserialize_with = "subnet::<rrun_cni::Subnet6, _>")]
    pub subnet6: Option<String>,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            mode: NetworkMode::Auto,
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            conf_template: None,
            netns_dir: "/var/run/netns".into(),
            bridge: "rrun0".into(),
            subnet: None,
            subnet6: None,
        }
    }
}

/// Who makes pod networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The first CNI configuration, else the built-in bridge.
    Auto,
    /// CNI alone: the network is not ready before there is a configuration. For nodes of a
    /// cluster, which must not take pods before its network is there.
    Cni,
    /// The built-in bridge alone.
    Builtin,
}

/// `[cgroup]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cgroup {
    /// Where the control groups are mounted.
    #[serde(deserialize_with = "absolute")]
    pub mount: PathBuf,
    /// Who makes them.
    pub driver: Driver,
    /// Group above pods that name no parent, and above shims: a path, or a slice of systemd;
    /// default: `/rrun` or `rrun.slice`.
    #[serde(deserialize_with = "group")]
    pub parent: Option<String>,
}

/// Who makes control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// systemd where it is the first process, unless [`Cgroup::parent`] is a path; else ourselves.
    Auto,
    /// systemd, as slices and scopes.
    Systemd,
    /// Ourselves, as directories.
    Cgroupfs,
}

impl Cgroup {
    /// Who makes control groups on this host.
    pub fn driver(&self) -> CgroupDriver {
        match (self.driver, &self.parent) {
            (Driver::Systemd, _) => CgroupDriver::Systemd,
            (Driver::Cgroupfs, _) => CgroupDriver::Cgroupfs,
            (Driver::Auto, Some(parent)) if !is_slice(parent) => CgroupDriver::Cgroupfs,
            (Driver::Auto, Some(_)) => CgroupDriver::Systemd,
            (Driver::Auto, None) => CgroupDriver::of_host(),
        }
    }

    /// Refuses a parent that `driver` cannot make.
    ///
    /// # Errors
    /// Names both keys.
    pub fn check(&self, driver: CgroupDriver) -> Result<(), String> {
        match (&self.parent, driver) {
            (Some(parent), CgroupDriver::Systemd) if !is_slice(parent) => Err(format!(
                "config: cgroup.parent: {parent:?} is no slice, and cgroup.driver is systemd"
            )),
            (Some(parent), CgroupDriver::Cgroupfs) if is_slice(parent) => Err(format!(
                "config: cgroup.parent: {parent:?} is a slice, and cgroup.driver is cgroupfs"
            )),
            _ => Ok(()),
        }
    }

    /// The group above pods that name no parent, as `driver` spells it.
    pub fn parent(&self, driver: CgroupDriver) -> String {
        let slices = driver == CgroupDriver::Systemd;
        match &self.parent {
            Some(parent) if is_slice(parent) == slices => parent.clone(),
            _ if slices => "rrun.slice".to_owned(),
            _ => "/rrun".to_owned(),
        }
    }
}

fn is_slice(parent: &str) -> bool {
    !parent.starts_with('/')
}

impl Default for Cgroup {
    fn default() -> Self {
        Cgroup { mount: "/sys/fs/cgroup".into(), driver: Driver::Auto, parent: None }
    }
}

/// `[seccomp]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seccomp {
    /// Folder of relative `Localhost` profiles.
    #[serde(deserialize_with = "absolute")]
    pub profiles: PathBuf,
}

impl Default for Seccomp {
    fn default() -> Self {
        Seccomp { profiles: "/var/lib/kubelet/seccomp".into() }
    }
}

/// `[cdi]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cdi {
    /// Folders of specs; a later one goes before an earlier one.
    #[serde(deserialize_with = "all_absolute")]
    pub spec_dirs: Vec<PathBuf>,
}

impl Default for Cdi {
    fn default() -> Self {
        Cdi { spec_dirs: rrun_engine::Settings::default().cdi_spec_dirs }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How many seconds the last output of a container that has ended is waited for, when the
    /// disk of its log is slow.
    pub drain_timeout: u64,
    /// How many bytes of it are read.
    pub drain_bytes: u64,
    /// How the daemon's own log is written.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log { drain_timeout: 20, drain_bytes: 64 << 20, format: LogFormat::Text }
    }
}

/// A daemon and a tool with other working directories must mean the same place.
fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    match path.is_absolute() {
        true => Ok(path),
        false => Err(D::Error::custom(format!("{} is not an absolute path", path.display()))),
    }
}

fn some_absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    absolute(deserializer).map(Some)
}

/// Where it can be listened: unix(7) has room for so much.
const LONGEST_SOCKET: usize = 107;

fn socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = absolute(deserializer)?;
    match path.as_os_str().len() {
        0..=LONGEST_SOCKET => Ok(path),
        length => Err(D::Error::custom(format!(
            "{length} bytes, a socket's path has {LONGEST_SOCKET} at most"
        ))),
    }
}

fn run<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = absolute(deserializer)?;
    check_run(&path).map_err(D::Error::custom)?;
    Ok(path)
}

/// Whether shims can listen below a folder for `run`: at `pods/<64 digits>/shim.sock`.
///
/// # Errors
/// How long it is, and how long it may be.
pub fn check_run(path: &Path) -> Result<(), String> {
    const LONGEST: usize = LONGEST_SOCKET - "/pods//shim.sock".len() - 64;
    match path.as_os_str().len() {
        0..=LONGEST => Ok(()),
        length => Err(format!(
            "{length} bytes, of which there may be {LONGEST}: pods have their sockets below it"
        )),
    }
}

fn absolute_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    match path.is_absolute() || path.as_os_str().is_empty() {
        true => Ok(path),
        false => Err(D::Error::custom(format!("{} is not an absolute path", path.display()))),
    }
}

fn all_absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths = Vec::<PathBuf>::deserialize(deserializer)?;
    match paths.iter().find(|path| !path.is_absolute()) {
        None => Ok(paths),
        Some(path) => Err(D::Error::custom(format!("{} is not an absolute path", path.display()))),
    }
}

/// Nothing is done in no time.
fn some_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("want a second or more")),
        seconds => Ok(seconds),
    }
}

/// Addresses in CIDR notation, which pods can be given.
fn subnet<'de, S, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    S: FromStr<Err = rrun_cni::Error>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    match text.parse::<S>() {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(D::Error::custom(error)),
    }
}

/// A group below the root of the hierarchy in cgroupfs spelling, or the name of a slice.
fn group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let parent = String::deserialize(deserializer)?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let is_group = match parent.strip_prefix('/') {
        Some(below) => below.split('/').all(plain),
        None => parent.ends_with(".slice") && !parent.contains('/'),
    };
    match is_group {
        true => Ok(Some(parent)),
        false => Err(D::Error::custom(format!(
            "{parent:?} is no path of a group, such as /rrun, and no slice, such as rrun.slice"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("", "f").unwrap(), Config::default());
    }

    #[test]
    fn the_driver_of_control_groups_is_the_one_that_the_parent_is_spelled_for() {
        use CgroupDriver::{Cgroupfs, Systemd};
        let host = CgroupDriver::of_host();
        for (text, driver, parent) in [
            ("", host, if host == Systemd { "rrun.slice" } else { "/rrun" }),
            ("parent = \"/x\"", Cgroupfs, "/x"),
            ("parent = \"x.slice\"", Systemd, "x.slice"),
            ("driver = \"systemd\"", Systemd, "rrun.slice"),
            ("driver = \"cgroupfs\"", Cgroupfs, "/rrun"),
        ] {
            let cgroup = Config::parse(&format!("[cgroup]\n{text}\n"), "f").unwrap().cgroup;
            assert_eq!((cgroup.driver(), cgroup.parent(driver).as_str()), (driver, parent));
            assert_eq!(cgroup.check(driver), Ok(()));
        }
        for (driver, parent) in [("systemd", "/x"), ("cgroupfs", "x.slice")] {
            let text = format!("[cgroup]\ndriver = \"{driver}\"\nparent = \"{parent}\"\n");
            let cgroup = Config::parse(&text, "f").unwrap().cgroup;
            let words = cgroup.check(cgroup.driver()).unwrap_err();
            assert!(words.contains(driver) && words.contains(parent), "{words}");
        }
    }

    #[test]
    fn a_refusal_names_file_line_and_path() {
        for (text, expected) in [
            ("root = \"/r\"\nrot = 1\n", "f:2: rot: unknown field `rot`"),
            ("[network]\nmode = \"cni\"\nmoed = 1\n", "f:3: network.moed: unknown field `moed`"),
            ("[network]\nmode = \"flannel\"\n", "f:2: network.mode: unknown variant `flannel`"),
            ("\nsocket = 7\n", "f:2: socket: invalid type: integer `7`"),
            ("[streaming]\naddress = \"x\"\n", "f:2: streaming.address: invalid socket address"),
            (
                "[streaming]\naddress = \"0.0.0.0:0\"\n",
                "f:2: streaming.address: 0.0.0.0:0 is no single",
            ),
            ("[streaming]\naddress = \"[::]:10010\"\n", "f:2: streaming.address: [::]:10010 is"),
            ("[streaming]\ntls_cert_file = 'c'\n", "f:2: streaming.tls_cert_file: c is not an"),
            ("root = \"r\"\n", "f:1: root: r is not an absolute path"),
            ("shim = 's'\n", "f:1: shim: s is not an absolute path"),
            ("[network]\nbin_dirs = ['/a', 'b']\n", "f:2: network.bin_dirs: b is not an absolute"),
            ("[images]\ncerts_dirs = ['c']\n", "f:2: images.certs_dirs: c is not an absolute path"),
            (
                "[nri]\nplugin_request_timeout = 0\n",
                "f:2: nri.plugin_request_timeout: want a second",
            ),
            ("[network]\nnetns_dir = \"n\"\n", "f:2: network.netns_dir: n is not an absolute"),
            ("[cdi]\nspec_dirs = ['/a', 'b']\n", "f:2: cdi.spec_dirs: b is not an absolute path"),
            ("[nri]\nsocket_path = 'x'\n", "f:2: nri.socket_path: x is not an absolute path"),
            ("[cgroup]\nparent = \"/a/../b\"\n", "f:2: cgroup.parent: \"/a/../b\" is no path"),
            ("[cgroup]\nparent = \"a.slice/b\"\n", "f:2: cgroup.parent: \"a.slice/b\" is no path"),
            ("[cgroup]\ndriver = \"x\"\n", "f:2: cgroup.driver: unknown variant `x`"),
            ("[cgroup]\nparent = \"\"\n", "f:2: cgroup.parent: \"\" is no path of a group"),
            ("[network]\nsubnet = \"10.1.2.3\"\n", "f:2: network.subnet: subnet \"10.1.2.3\": "),
            ("[network]\nsubnet6 = 'fe80::/64'\n", "f:2: network.subnet6: subnet fe80::/64: "),
            ("[images]\nper_verifier_timeout = 0\n", "f:2: images.per_verifier_timeout: want a"),
            ("[images]\nverifier_bin_dir = 'x'\n", "f:2: images.verifier_bin_dir: x is not an"),
            ("[images]\npinned = ['a', 'B']\n", "f:2: images.pinned: image reference \"B\""),
            ("[images]\nlayers = 'x'\n", "f:2: images.layers: unknown variant `x`"),
            (
                "[runtimes.runc]\npath = 'runc'\n",
                "f:2: runtimes.runc.path: runc is not an absolute",
            ),
            ("[runtimes.runc]\nargs = []\n", "f:1: runtimes.runc: missing field `path`"),
            ("[runtimes.runc]\npath = '/r'\nx = 1\n", "f:3: runtimes.runc.x: unknown field `x`"),
            (
                "[runtimes.runc]\npath = '/r'\ntimeout = 0\n",
                "f:3: runtimes.runc.timeout: 0 is not from 1 to 55",
            ),
            ("[runtimes.rrun]\npath = '/r'\n", "f:1: runtimes: \"rrun\" is the built-in"),
            ("[metrics]\naddress = '0.0.0.0:80'\n", "f:2: metrics.address: 0.0.0.0:80 is not on"),
            ("[tracing]\nendpoint = 'x:4317'\n", "f:2: tracing.endpoint: \"x:4317\" is no URL"),
            (
                "[tracing]\nsampling_rate_per_million = 1000001\n",
                "f:2: tracing.sampling_rate_per_million: want 0 to 1000000",
            ),
            ("[log]\nformat = 'xml'\n", "f:2: log.format: unknown variant `xml`"),
            ("a = = 1\n", "f:1: "),
        ] {
            let error = Config::parse(text, "f").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_socket_has_a_path_that_can_be_listened_at() {
        let parsed =
            |length: usize| Config::parse(&format!("socket = '/{:x<1$}'\n", "", length - 1), "f");
        assert!(parsed(107).is_ok());
        let error = parsed(108).unwrap_err().to_string();
        assert_eq!(error, "f:1: socket: 108 bytes, a socket's path has 107 at most");
    }

    #[test]
    fn the_folder_of_a_boot_leaves_room_for_the_sockets_of_its_pods() {
        let parsed =
            |length: usize| Config::parse(&format!("run = '/{:x<1$}'\n", "", length - 1), "f");
        let longest = parsed(27).unwrap().run;
        let socket = longest.join("pods").join("0".repeat(64)).join("shim.sock");
        assert_eq!(socket.as_os_str().len(), LONGEST_SOCKET);
        let error = parsed(28).unwrap_err().to_string();
        let why = "28 bytes, of which there may be 27: pods have their sockets below it";
        assert_eq!(error, format!("f:1: run: {why}"));
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = Config::load(Some(Path::new("/nonexistent/rrund.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/rrund.toml"), "{error}");
    }
}
