//! The configuration in force: one place that holds it, and readers for the parts that go by it.

use crate::config::{Config, Images, Log, Network, NetworkMode};
use rrun_images::{Pin, Verifiers};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The configuration in force. Its readers see each change from their next look on.
pub struct Current {
    config: watch::Sender<Arc<Config>>,
    engine: watch::Sender<rrun_engine::Settings>,
    network: watch::Sender<rrun_cni::Settings>,
    certs_dirs: watch::Sender<Vec<PathBuf>>,
    pinned: watch::Sender<Vec<Pin>>,
    verifiers: watch::Sender<Verifiers>,
}

/// The keys in which a new configuration differs from the one in force.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes {
    /// They have their new values from now on.
    pub applied: Vec<String>,
    /// They keep their old values until the program is started again.
    pub needs_restart: Vec<String>,
}

impl Current {
    /// Begins with `config`.
    pub fn new(config: Config) -> Current {
        Current {
            engine: watch::Sender::new(of_engine(&config)),
            network: watch::Sender::new(of_network(&config)),
            certs_dirs: watch::Sender::new(config.images.certs_dirs.clone()),
            pinned: watch::Sender::new(pinned(&config)),
            verifiers: watch::Sender::new(verifiers(&config)),
            config: watch::Sender::new(Arc::new(config)),
        }
    }

    /// What is in force now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// What is in force whenever the reader looks.
    pub fn reader(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    pub(crate) fn of_engine(&self) -> watch::Receiver<rrun_engine::Settings> {
        self.engine.subscribe()
    }

    pub(crate) fn of_network(&self) -> watch::Receiver<rrun_cni::Settings> {
        self.network.subscribe()
    }

    pub(crate) fn of_images(&self) -> watch::Receiver<Vec<PathBuf>> {
        self.certs_dirs.subscribe()
    }

    pub(crate) fn of_pins(&self) -> watch::Receiver<Vec<Pin>> {
        self.pinned.subscribe()
    }

    pub(crate) fn of_verifiers(&self) -> watch::Receiver<Verifiers> {
        self.verifiers.subscribe()
    }

    /// Puts of `new` in force what may change while a program runs.
    pub fn replace(&self, new: &Config) -> Changes {
        let old = self.config();
        let next = reloaded(&old, new);
        let changes =
            Changes { applied: differing(&old, &next), needs_restart: differing(&next, new) };
        self.engine.send_replace(of_engine(&next));
        self.network.send_replace(of_network(&next));
        self.certs_dirs.send_replace(next.images.certs_dirs.clone());
        self.pinned.send_replace(pinned(&next));
        self.verifiers.send_replace(verifiers(&next));
        self.config.send_replace(Arc::new(next));
        changes
    }
}

/// `old` with those values of `new` that may change while a program runs. The others are where state
/// is, what listens, and what pods that run were made with.
fn reloaded(old: &Config, new: &Config) -> Config {
    let Network { mode, conf_dir, bin_dirs, conf_template, .. } = new.network.clone();
    let Images { stall_timeout, stall_bytes, layers, largest_ratio, .. } = old.images;
    let Images { range_bytes, ranges_at_once, downloads_per_registry, .. } = old.images;
    Config {
        network: Network { mode, conf_dir, bin_dirs, conf_template, ..old.network.clone() },
        images: Images {
            stall_timeout,
            stall_bytes,
            range_bytes,
            ranges_at_once,
            downloads_per_registry,
            layers,
            largest_ratio,
            ..new.images.clone()
        },
        seccomp: new.seccomp.clone(),
        manifests: new.manifests.clone(),
        cdi: new.cdi.clone(),
        log: Log { format: old.log.format, ..new.log.clone() },
        runtimes: new.runtimes.clone(),
        ..old.clone()
    }
}

/// All of them can be read: the configuration was.
fn pinned(config: &Config) -> Vec<Pin> {
    config.images.pinned.iter().filter_map(|pin| pin.parse().ok()).collect()
}

fn verifiers(config: &Config) -> Verifiers {
    let Images { verifier_bin_dir, max_verifiers, per_verifier_timeout, .. } = &config.images;
    Verifiers {
        bin_dir: verifier_bin_dir.clone(),
        max: usize::try_from(*max_verifiers).ok(),
        timeout: Duration::from_secs(*per_verifier_timeout),
    }
}

fn of_engine(config: &Config) -> rrun_engine::Settings {
    rrun_engine::Settings {
        seccomp_profiles: config.seccomp.profiles.clone(),
        cdi_spec_dirs: config.cdi.spec_dirs.clone(),
        log: rrun_engine::LogLimits {
            drain_timeout: Duration::from_secs(config.log.drain_timeout),
            drain_bytes: config.log.drain_bytes,
        },
        handlers: config.runtimes.handlers(),
        restore_checkpoints: config.images.restore_checkpoints,
    }
}

fn of_network(config: &Config) -> rrun_cni::Settings {
    let Network { mode, conf_dir, bin_dirs, conf_template, .. } = config.network.clone();
    let mode = match mode {
        NetworkMode::Auto => rrun_cni::Mode::Auto,
        NetworkMode::Cni => rrun_cni::Mode::Cni,
        NetworkMode::Builtin => rrun_cni::Mode::Builtin,
    };
    rrun_cni::Settings { mode, conf_dir, bin_dirs, conf_template }
}

/// The keys whose values differ, as `table.key`.
fn differing(a: &Config, b: &Config) -> Vec<String> {
    let (a, b) = (values(a), values(b));
    // Either may have keys that the other has not: tables of runtimes.
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    keys.into_iter().filter(|key| a.get(*key) != b.get(*key)).cloned().collect()
}

/// Every key with its value.
fn values(config: &Config) -> BTreeMap<String, serde_json::Value> {
    let mut values = BTreeMap::new();
    let serde_json::Value::Object(all) = serde_json::json!(config) else { return values };
    for (name, value) in all {
        match value {
            serde_json::Value::Object(table) => {
                values
                    .extend(table.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                values.insert(name, value);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another value for each key than its default.
    const OTHERS: &[(&str, &str)] = &[
        ("socket", "'/x'"),
        ("root", "'/x'"),
        ("run", "'/x'"),
        ("shim", "'/x'"),
        ("network.mode", "'cni'"),
        ("network.conf_dir", "'/x'"),
        ("network.bin_dirs", "['/x']"),
        ("network.conf_template", "'/x'"),
        ("network.netns_dir", "'/x'"),
        ("network.bridge", "'x0'"),
        ("network.subnet", "'10.1.0.0/16'"),
        ("network.subnet6", "'fd00::/64'"),
        ("images.certs_dirs", "['/x']"),
        ("images.verifier_bin_dir", "'/x'"),
        ("images.max_verifiers", "-1"),
        ("images.per_verifier_timeout", "1"),
        ("images.stall_timeout", "1"),
        ("images.stall_bytes", "1"),
        ("images.range_bytes", "65536"),
        ("images.ranges_at_once", "1"),
        ("images.downloads_per_registry", "1"),
        ("images.layers", "'erofs'"),
        ("images.largest_ratio", "1"),
        ("images.restore_checkpoints", "true"),
        ("images.pinned", "['x']"),
        ("images.image_gc_high_threshold_percent", "90"),
        ("images.image_gc_low_threshold_percent", "70"),
        ("images.image_minimum_gc_age", "1"),
        ("images.image_maximum_gc_age", "1"),
        ("images.image_pull_credentials_verification_policy", "'AlwaysVerify'"),
        ("images.preloaded_images_verification_allowlist", "['x']"),
        ("cgroup.mount", "'/x'"),
        ("cgroup.driver", "'cgroupfs'"),
        ("cgroup.parent", "'/x'"),
        ("manifests", "'/x'"),
        ("streaming.address", "'127.0.0.1:1'"),
        ("streaming.tls_cert_file", "'/x'"),
        ("streaming.tls_key_file", "'/x'"),
        ("streaming.tls_ca_file", "'/x'"),
        ("seccomp.profiles", "'/x'"),
        ("cdi.spec_dirs", "['/x']"),
        ("nri.disable", "true"),
        ("nri.disable_connections", "true"),
        ("nri.socket_path", "'/x'"),
        ("nri.plugin_path", "'/x'"),
        ("nri.plugin_config_path", "'/x'"),
        ("nri.plugin_registration_timeout", "1"),
        ("nri.plugin_request_timeout", "1"),
        ("nri.required_plugins", "['x']"),
        ("log.drain_timeout", "1"),
        ("log.drain_bytes", "1"),
        ("log.format", "'json'"),
        ("metrics.address", "'127.0.0.1:1'"),
        ("tracing.endpoint", "'http://127.0.0.1:1'"),
        ("tracing.sampling_rate_per_million", "1"),
    ];

    /// A file of the repository.
    fn read(name: &str) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        std::fs::read_to_string(format!("{root}/{name}")).unwrap()
    }

    /// The keys of README's table, with what it says of a reload.
    fn readme_keys() -> BTreeMap<String, String> {
        let readme = read("README.md");
        let section = readme.split("\n## ").find(|part| part.starts_with("Configuration")).unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let keys = rows.flat_map(|row| {
            let columns: Vec<_> = row.split(" | ").collect();
            let keys = columns[0].trim_start_matches("| ").split(", ");
            let reload = columns[2].to_owned();
            keys.map(move |key| (key.trim_matches('`').to_owned(), reload.clone()))
        });
        keys.collect()
    }

    #[test]
    fn the_readme_has_every_key_and_no_other_and_says_of_each_what_a_reload_does() {
        let mut keys = readme_keys();
        for key in values(&Config::default()).into_keys() {
            let other = OTHERS.iter().find(|(other, _)| *other == key);
            let (_, other) = other.unwrap_or_else(|| panic!("no other value for {key}"));
            let line = match key.split_once('.') {
                Some((table, name)) => format!("[{table}]\n{name} = {other}\n"),
                None => format!("{key} = {other}\n"),
            };
            let current = Current::new(Config::default());
            let changes = current.replace(&Config::parse(&line, "f").unwrap());
            let expected = match keys.remove(&key).as_deref() {
                // `rrun` reads it at its start, and the daemon never.
                Some("yes" | "`rrun`") => Changes { applied: vec![key], needs_restart: vec![] },
                Some("restart") => Changes { applied: vec![], needs_restart: vec![key] },
                other => panic!("README says of {key}: {other:?}"),
            };
            assert_eq!(changes, expected);
        }
        assert!(keys.is_empty(), "no keys: {keys:?}");
    }

    #[test]
    fn the_printed_defaults_have_every_key_and_no_other_with_its_default_and_a_comment() {
        use crate::config::DEFAULTS;
        assert_eq!(Config::parse(DEFAULTS, "f").unwrap(), Config::default());
        let (mut keys, mut table) = (values(&Config::default()), String::new());
        let mut before = "";
        let (all, example) = DEFAULTS.split_once("# [").unwrap();
        for line in all.lines() {
            let set = line.strip_prefix("# ").unwrap_or(line).split_once(" = ");
            if let Some(name) = line.strip_prefix('[') {
                table = format!("{}.", name.trim_end_matches(']'));
            } else if let Some((key, _)) = set.filter(|(key, _)| !key.contains(' ')) {
                let value = keys.remove(&format!("{table}{key}"));
                let value = value.unwrap_or_else(|| panic!("there is no {table}{key}"));
                assert_eq!(value.is_null(), line.starts_with('#'), "{table}{key}");
                assert!(before.starts_with("# "), "{table}{key} has no comment");
            }
            before = line;
        }
        assert!(keys.is_empty(), "missing: {keys:?}");
        let example = format!("[{}", example.replace("\n# ", "\n#")).replace("\n#", "\n");
        let example: Vec<_> =
            example.lines().filter(|line| line.starts_with('[') || line.contains(" = ")).collect();
        let runtimes = Config::parse(&example.join("\n"), "f").unwrap().runtimes;
        assert!(runtimes.handlers().contains_key("runc"), "{example:?}");
    }

    #[test]
    fn the_readme_shows_the_unit_file_that_is_installed() {
        let readme = read("README.md");
        let shown = readme.split("# /etc/systemd/system/rrund.service\n").nth(1).unwrap();
        let shown = shown.split("```").next().unwrap();
        assert_eq!(shown, read("dist/rrund.service"));
        // What README's section about reloads tells people to use.
        assert!(shown.contains("\nExecReload="), "{shown}");
    }

    #[test]
    fn a_key_that_only_one_of_two_configurations_has_is_told_by_name() {
        let with = |name: &str| Config::parse(&format!("[runtimes.{name}]\npath = '/r'\n"), "f");
        let current = Current::new(with("a").unwrap());
        let changes = current.replace(&with("b").unwrap());
        assert_eq!(changes.applied, ["runtimes.a", "runtimes.b"]);
        assert!(current.config().runtimes.handlers().contains_key("b"));
    }

    #[test]
    fn what_may_change_reaches_its_readers_and_the_rest_stays() {
        let current = Current::new(Config::default());
        let (config, engine) = (current.reader(), current.of_engine());
        let (network, certs_dirs) = (current.of_network(), current.of_images());
        let (pins, verifiers) = (current.of_pins(), current.of_verifiers());
        let text = "root = '/x'\n[network]\nmode = 'cni'\nbridge = 'x0'\n[images]\n\
                    certs_dirs = ['/c']\npinned = ['x']\nmax_verifiers = -1\n[seccomp]\nprofiles = '/s'\n[log]\ndrain_bytes = 7\n";
        current.replace(&Config::parse(text, "f").unwrap());
        assert_eq!(network.borrow().mode, rrun_cni::Mode::Cni);
        assert_eq!(*certs_dirs.borrow(), [PathBuf::from("/c")]);
        assert_eq!(*pins.borrow(), ["x:latest".parse().unwrap()]);
        assert_eq!(verifiers.borrow().max, None);
        let engine = engine.borrow().clone();
        assert_eq!((engine.seccomp_profiles, engine.log.drain_bytes), ("/s".into(), 7));
        let (config, default) = (config.borrow().clone(), Config::default());
        assert_eq!(
            (&config.root, &config.network.bridge),
            (&default.root, &default.network.bridge)
        );
        assert_eq!(config.seccomp.profiles, PathBuf::from("/s"));
    }
}
