//! A configuration of containerd or CRI-O as one of ours, with what could not be carried over.

mod table;
mod value;

use crate::config::Config;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use table::{Of, Row};
use toml::{Table, Value};
use value::Carried;

/// Credentials of registries, as containerd calls them.
const SECRETS: [&str; 3] = ["password", "auth", "identitytoken"];

/// A key that was not carried over, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its path.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// Why.
    pub why: String,
}

/// What became of a configuration.
#[derive(Debug)]
pub struct Imported {
    /// Ours: every key that could be carried over, by table and name.
    keys: BTreeMap<(String, String), Value>,
    /// The others.
    pub left: Vec<Left>,
    from: &'static str,
}

/// Carries over what `text` says, which is containerd's `config.toml` or CRI-O's `crio.conf`.
///
/// # Errors
/// `name:line: reason` for what is no TOML.
pub fn import(text: &str, name: &str) -> Result<Imported, String> {
    let theirs: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
        format!("{name}:{line}: {}", error.message().trim())
    })?;
    let of = if theirs.contains_key("crio") { Of::Crio } else { Of::Containerd };
    let mut leaves = Vec::new();
    flatten(&mut Vec::new(), &theirs, &mut leaves);
    let rows = table::rows();
    // A node of a cluster, which must not take pods before there is a network.
    let mode = (("network".to_owned(), "mode".to_owned()), Value::from("cni"));
    let mut imported = Imported { keys: BTreeMap::from([mode]), left: Vec::new(), from: of.name() };
    let mut addresses = value::Addresses::default();
    for (path, value) in leaves {
        let key = of.key(&path);
        let row = rows.iter().find(|row| row.of == of && row.is_of(&key));
        if addresses.take(of, &key, &value) {
            continue;
        }
        match value::carried(of, &key, &value) {
            Ok(Some(carried)) => imported.put(&path, &value, carried),
            Ok(None) => imported.leave(&path, &value, reason(&key, row)),
            Err(why) => imported.leave(&path, &value, why),
        }
    }
    for (path, value, carried) in addresses.joined() {
        imported.put(&[path], &value, carried);
    }
    Ok(imported)
}

fn reason(key: &[String], row: Option<&Row>) -> String {
    match row.map(|row| row.why.as_str()) {
        None if table::is_elsewhere(key) => "it is not of the CRI".to_owned(),
        None => "it is not a key that is known here".to_owned(),
        Some("") => "it has no counterpart".to_owned(),
        Some(why) => why.to_owned(),
    }
}

/// Each value with its path. An empty table is a value too.
fn flatten(above: &mut Vec<String>, table: &Table, into: &mut Vec<(Vec<String>, Value)>) {
    for (key, value) in table {
        above.push(key.clone());
        match value {
            Value::Table(table) if !table.is_empty() => flatten(above, table, into),
            value => into.push((above.clone(), value.clone())),
        }
        above.pop();
    }
}

impl Imported {
    /// Takes a key of ours, if it can be used by itself.
    fn put(&mut self, path: &[String], theirs: &Value, carried: Carried) {
        for (key, value) in carried.0 {
            let Some((table, name)) = key.rsplit_once('.') else { continue };
            let text = format!("[{table}]\n{name} = {value}\n");
            match Config::parse(&text, "") {
                Ok(_) => {
                    self.keys.insert((table.to_owned(), name.to_owned()), value);
                }
                Err(error) => {
                    // There is no file: what stands behind the line is what counts.
                    let error = error.to_string();
                    let why = error.splitn(3, ':').nth(2).unwrap_or(&error).trim().to_owned();
                    self.leave(path, theirs, why);
                }
            }
        }
    }

    fn leave(&mut self, path: &[String], value: &Value, why: String) {
        // What is printed is kept in files that others may read.
        let is_secret =
            path.last().is_some_and(|last| SECRETS.contains(&last.as_str()) && value.is_str());
        let value = if is_secret { "…".to_owned() } else { value.to_string() };
        self.left.push(Left { key: path.join("."), value, why });
    }

    /// A file of ours, with what could not be carried over as comments at its end.
    pub fn text(&self) -> String {
        let mut text = format!("# Imported from a configuration of {}.\n", self.from);
        let mut last = "";
        for ((table, name), value) in &self.keys {
            if table != last {
                let _ = write!(text, "\n[{table}]\n");
                last = table;
            }
            let _ = writeln!(text, "{name} = {value}");
        }
        let (off, on): (Vec<_>, Vec<_>) = self.left.iter().partition(|one| is_off(&one.value));
        if !on.is_empty() {
            text.push_str("\n# Not carried over:\n");
        }
        for Left { key, value, why } in on {
            // A value may have several lines.
            let value = value.replace('\n', "\\n");
            let _ = write!(text, "#\n# {key} = {value}\n#   {why}\n");
        }
        if !off.is_empty() {
            text.push_str("\n# Not carried over either, but empty or off there:\n");
        }
        for Left { key, .. } in off {
            let _ = writeln!(text, "# {key}");
        }
        text
    }
}

/// Whether a value says nothing, for most keys.
fn is_off(value: &str) -> bool {
    matches!(value, "false" | "0" | "\"\"" | "\"0\"" | "\"0s\"" | "[]" | "{}" | "{  }")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD: &str = r#"
version = 3
root = "/var/lib/containerd"
[metrics]
address = "127.0.0.1:1338"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
image_pull_progress_timeout = "5m0s"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"
base = "docker.io/library/base:1"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
enable_selinux = false
cdi_spec_dirs = ["/etc/cdi"]
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = true
BinaryName = "/usr/sbin/runc"
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dir = "/usr/libexec/cni"
[plugins."io.containerd.grpc.v1.cri"]
stream_server_address = "0.0.0.0"
stream_server_port = "10010"
[plugins."io.containerd.nri.v1.nri"]
plugin_request_timeout = "3s"
[plugins."io.containerd.nri.v1.nri".default_validator]
required_plugins = ["a"]
"#;

    /// What was left, by the last part of its key.
    fn why(imported: &Imported, key: &str) -> String {
        let found = imported.left.iter().find(|one| one.key.ends_with(key));
        found.unwrap_or_else(|| panic!("{key} is not among {:#?}", imported.left)).why.clone()
    }

    #[test]
    fn what_containerd_is_told_is_carried_over_where_it_means_the_same() {
        let imported = import(CONTAINERD, "f").unwrap();
        let text = imported.text();
        let config = Config::parse(&text, "ours").unwrap();
        assert_eq!(config.network.mode, crate::config::NetworkMode::Cni);
        assert_eq!(config.network.bin_dirs, ["/usr/libexec/cni".into()] as [std::path::PathBuf; 1]);
        assert_eq!(config.cgroup.driver, crate::config::Driver::Systemd);
        assert_eq!(config.images.stall_timeout, 300);
        assert_eq!(config.images.pinned, ["docker.io/library/base:1"]);
        assert_eq!(config.images.certs_dirs.len(), 2);
        assert_eq!(config.metrics.address, Some("127.0.0.1:1338".parse().unwrap()));
        assert_eq!((config.nri.plugin_request_timeout, config.nri.required_plugins.len()), (3, 1));
        assert_eq!(config.runtimes.handlers()["runc"].path, std::path::Path::new("/usr/sbin/runc"));
        assert_eq!(why(&imported, "sandbox"), "there is no pause image");
        assert!(why(&imported, "stream_server_address").contains("not on loopback"), "{text}");
        assert!(why(&imported, "snapshotter").contains("images.layers"));
        assert_eq!(why(&imported, "root"), "it is not of the CRI");
        let off = text.split("empty or off").nth(1).unwrap();
        assert!(off.contains("enable_selinux"), "{text}");
    }

    #[test]
    fn what_cri_o_is_told_is_carried_over_where_it_means_the_same() {
        let text = r#"
[crio.api]
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
cgroup_manager = "cgroupfs"
pids_limit = -1
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
runtime_type = "oci"
[crio.runtime.runtimes.kata]
runtime_path = "kata"
[crio.image]
pinned_images = ["quay.io/x/y:1", "quay.io/*"]
[crio.network]
network_dir = "/etc/cni/net.d"
plugin_dirs = ["/opt/cni/bin"]
[crio.metrics]
enable_metrics = true
metrics_port = 9537
[crio.tracing]
enable_tracing = true
tracing_endpoint = "127.0.0.1:4317"
tracing_sampling_rate_per_million = 1000
[crio.nri]
enable_nri = false
"#;
        let imported = import(text, "f").unwrap();
        let config = Config::parse(&imported.text(), "ours").unwrap();
        assert_eq!(config.cgroup.driver, crate::config::Driver::Cgroupfs);
        assert_eq!(config.streaming.address, "127.0.0.1:0".parse().unwrap());
        assert_eq!(config.metrics.address, Some("127.0.0.1:9537".parse().unwrap()));
        assert_eq!(config.tracing.endpoint.as_deref(), Some("http://127.0.0.1:4317"));
        assert_eq!(config.tracing.sampling_rate_per_million, 1000);
        assert!(config.nri.disable);
        assert!(why(&imported, "pinned_images").contains("quay.io/*"), "{imported:?}");
        assert_eq!(config.runtimes.handlers()["crun"].path, std::path::Path::new("/usr/bin/crun"));
        assert!(why(&imported, "kata.runtime_path").contains("absolute"), "{imported:?}");
        assert!(why(&imported, "runtime_type").contains("by hand"));
        assert!(why(&imported, "pids_limit").contains("NRI"));
    }

    #[test]
    fn credentials_are_not_printed() {
        let text = "[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'x'.auth]\n\
                    username = 'u'\npassword = 'hidden'\nauth = 'hidden'\n";
        let text = import(text, "f").unwrap().text();
        assert!(text.contains("password = …") && !text.contains("hidden"), "{text}");
        assert!(text.contains("hosts.toml"), "{text}");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = import("a = 1\nb = = 2\n", "config.toml").unwrap_err();
        assert!(error.starts_with("config.toml:2: "), "{error}");
    }
}
