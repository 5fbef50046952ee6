//! A configuration of containerd or CRI-O as one of ours, with what could not be carried over.

mod table;
mod value;

use crate::config::Config;
use rrun_error::printable_line;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use table::{Of, Row};
use toml::{Table, Value};
use value::Carried;

/// Parts of the names of keys that have credentials, or tables of them.
const SECRETS: [&str; 8] =
    ["password", "passwd", "auth", "token", "secret", "credential", "header", "private"];

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
    let (mut addresses, mut shims) = (value::Addresses::default(), value::Shims::default());
    leaves.iter().for_each(|(path, value)| shims.take(of, &of.key(path), value));
    for (path, value) in leaves {
        let key = of.key(&path);
        let row = rows.iter().find(|row| row.of == of && row.is_of(&key));
        if addresses.take(of, &key, &value) {
            continue;
        }
        match value::carried(of, &key, &value, &shims) {
            Ok(Some(carried)) => imported.put(&path, &value, carried),
            Ok(None) => imported.leave(&path, &value, reason(&key, row)),
            Err(why) => imported.leave(&path, &value, why),
        }
    }
    for (path, value, carried) in addresses.joined() {
        imported.put(&[path], &value, carried);
    }
    imported.leave_half_tls();
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
        let Carried { key, value, is_added } = carried;
        let Some((table, name)) = key.rsplit_once('.') else { return };
        let key = (table.to_owned(), name.to_owned());
        let entries = match value {
            Value::Array(entries) if is_added => entries,
            value => match check(table, name, &value) {
                Ok(()) => return drop(self.keys.insert(key, value)),
                Err(why) => return self.leave(path, theirs, why),
            },
        };
        for entry in entries {
            match check(table, name, &Value::Array(vec![entry.clone()])) {
                Ok(()) => {
                    let all = self.keys.entry(key.clone()).or_insert(Value::Array(Vec::new()));
                    if let Value::Array(all) = all
                        && !all.contains(&entry)
                    {
                        all.push(entry);
                    }
                }
                Err(why) => self.leave(path, &entry, why),
            }
        }
    }

    fn leave(&mut self, path: &[String], value: &Value, why: String) {
        let is_secret = path.iter().any(|part| is_secret(part));
        // Both are text of a file that anybody may have written: it must not become keys of ours.
        let [key, why] = [path.join("."), why].map(|text| printable_line(&text));
        let value = printable_line(&shown(value, is_secret).to_string());
        self.left.push(Left { key, value, why: without_credentials(&why) });
    }

    /// Of streams, what makes no sense together: a certificate that the other runtime makes for itself.
    fn leave_half_tls(&mut self) {
        let Ok(config) = Config::parse(&self.text(), "") else { return };
        let Err(why) = config.streaming.tls() else { return };
        let all = std::mem::take(&mut self.keys);
        let (left, kept): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|((table, _), _)| table == "streaming");
        self.keys = kept;
        for ((table, name), value) in left {
            self.leave(&[table, name], &value, why.clone());
        }
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

/// Whether a key of ours can have this value, beside defaults.
fn check(table: &str, name: &str, value: &Value) -> Result<(), String> {
    let text = format!("[{table}]\n{name} = {value}\n");
    Config::parse(&text, "").map(drop).map_err(|error| {
        // There is no file: what stands behind the line is what counts.
        let error = error.to_string();
        error.splitn(3, ':').nth(2).unwrap_or(&error).trim().to_owned()
    })
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// A value as it is printed: what is printed is kept in files that others may read.
fn shown(value: &Value, is_hidden: bool) -> Value {
    match value {
        Value::Table(table) => {
            let shown = |(key, value): (&String, &Value)| {
                (key.clone(), shown(value, is_hidden || is_secret(key)))
            };
            Value::Table(table.iter().map(shown).collect())
        }
        Value::Array(all) => {
            Value::Array(all.iter().map(|value| shown(value, is_hidden)).collect())
        }
        Value::String(text) if !is_hidden || text.is_empty() => without_credentials(text).into(),
        Value::Boolean(value) => Value::from(*value),
        _ if is_hidden => Value::from("…"),
        value => value.clone(),
    }
}

/// Without what stands before the host of a URL.
fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', '?', '#', '"', ' ']).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        shown.push_str(if host > 0 { "://…@" } else { "://" });
        shown.push_str(&part[host..]);
    }
    shown
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
other = "docker.io/library/other:1"
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
        assert_eq!(config.images.pinned, ["docker.io/library/base:1", "docker.io/library/other:1"]);
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
        // Of several each one counts for itself.
        assert_eq!(config.images.pinned, ["quay.io/x/y:1"]);
        assert!(why(&imported, "pinned_images").contains("quay.io/*"), "{imported:?}");
        assert_eq!(config.runtimes.handlers()["crun"].path, std::path::Path::new("/usr/bin/crun"));
        assert!(why(&imported, "kata.runtime_path").contains("absolute"), "{imported:?}");
        assert!(why(&imported, "runtime_type").contains("by hand"));
        assert!(why(&imported, "pids_limit").contains("NRI"));
    }

    #[test]
    fn streams_are_encrypted_where_they_were_and_what_is_half_of_that_is_left() {
        let text = "[crio.api]\nstream_address = '192.0.2.1'\nstream_enable_tls = true\n\
                    stream_tls_cert = '/c'\nstream_tls_key = '/k'\nstream_tls_ca = '/a'\n";
        let config = Config::parse(&import(text, "f").unwrap().text(), "f").unwrap();
        let files = config.streaming.tls().unwrap().unwrap();
        assert_eq!(
            (files.cert, files.key, files.ca),
            ("/c".into(), "/k".into(), Some("/a".into()))
        );
        for text in [
            "[crio.api]\nstream_address = '192.0.2.1'\n".to_owned(),
            text.replace("stream_tls_key = '/k'", ""),
            text.replace("true", "false"),
        ] {
            let imported = import(&text, "f").unwrap();
            let config = Config::parse(&imported.text(), "f").unwrap();
            assert_eq!(config.streaming, crate::config::Streaming::default());
            assert!(why(&imported, "address").contains("streaming"), "{imported:?}");
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let text = r#"
[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'x'.auth]
username = 'hidden-1'
password = 123456
auth = 'hidden-2'
[plugins.'io.containerd.grpc.v1.cri'.registry.headers]
Authorization = ["Basic hidden-3"]
[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'y']
endpoint = ["https://me:hidden-4@y:5000/p@q", "https://z"]
[[plugins.'io.containerd.grpc.v1.cri'.registry.others]]
API_Token = 'hidden-5'
[plugins.'io.containerd.tracing.processor.v1.otlp']
endpoint = "https://me:hidden-6@collector:4317"
"#;
        let text = import(text, "f").unwrap().text();
        assert!(!text.contains("hidden") && !text.contains("123456"), "{text}");
        assert!(text.contains("password = \"…\"") && text.contains("hosts.toml"), "{text}");
        assert!(text.contains("https://…@y:5000/p@q") && text.contains("\"https://z\""), "{text}");
    }

    #[test]
    fn no_text_of_theirs_becomes_a_key_of_ours_or_speaks_to_a_terminal() {
        let text = "\"a\\nroot = '/evil'\\n\\u001b[2J\" = \"\"\"x\nroot = '/evil'\n\"\"\"\n\
                    [plugins.'io.containerd.cri.v1.images'.pinned_images]\n\
                    x = \"A\\nroot = '/evil'\"\n\
                    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.\"a]\\nb\".options]\n\
                    BinaryName = '/x'\n";
        let text = import(text, "f").unwrap().text();
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        let ours = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert_eq!(ours.collect::<Vec<_>>(), ["[network]", "mode = \"cni\""], "{text}");
    }

    #[test]
    fn a_handler_of_virtual_machines_is_left_out_with_these_words() {
        for text in [
            "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]\n\
             runtime_type = 'io.containerd.kata.v2'\noptions = { BinaryName = '/usr/bin/kata-runtime' }\n",
            "[crio.runtime.runtimes.kata]\nruntime_type = 'vm'\nruntime_path = '/usr/bin/kata'\n",
        ] {
            let imported = import(text, "f").unwrap();
            assert!(Config::parse(&imported.text(), "f").unwrap().runtimes.handlers().is_empty());
            for left in &imported.left {
                assert!(left.why.contains("virtual machines") && left.why.contains("left out"));
            }
            assert_eq!(imported.left.len(), 2, "{imported:?}");
        }
        let shim = "[crio.runtime.runtimes.x]\nruntime_path = '/usr/bin/containerd-shim-x-v2'\n";
        assert!(why(&import(shim, "f").unwrap(), "runtime_path").contains("it is a shim"));
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = import("a = 1\nb = = 2\n", "config.toml").unwrap_err();
        assert!(error.starts_with("config.toml:2: "), "{error}");
    }
}
