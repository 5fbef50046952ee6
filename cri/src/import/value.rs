//! Which values mean the same here, and how they are written.

use super::table::Of;
use std::borrow::Cow;
use std::collections::BTreeMap;
use toml::Value;

/// A key of ours, as `table.key`, with its value.
pub(super) struct Carried {
    pub(super) key: Cow<'static, str>,
    pub(super) value: Value,
    /// Its entries go behind those that are there, each for itself.
    pub(super) is_added: bool,
}

impl Carried {
    fn whole(key: impl Into<Cow<'static, str>>, value: Value) -> Carried {
        Carried { key: key.into(), value, is_added: false }
    }
}

/// How a value becomes ours.
#[derive(Clone, Copy)]
enum As {
    Same,
    /// A list of it alone.
    One,
    /// A list of what stands between colons.
    Paths,
    /// A time of Go in whole seconds.
    Seconds,
    /// `true` is systemd.
    Driver,
    /// The reverse.
    Not,
    /// An `http://` is put before it where there is none.
    Url,
    /// One more of a list, or several.
    Added,
}

type Known = (Of, &'static str, &'static str, As);

const KNOWN: &[Known] = &[
    (Of::Containerd, "containerd.runtimes.runc.options.SystemdCgroup", "cgroup.driver", As::Driver),
    (Of::Containerd, "cni.bin_dir", "network.bin_dirs", As::One),
    (Of::Containerd, "cni.bin_dirs", "network.bin_dirs", As::Same),
    (Of::Containerd, "cni.conf_dir", "network.conf_dir", As::Same),
    (Of::Containerd, "cni.conf_template", "network.conf_template", As::Same),
    (Of::Containerd, "registry.config_path", "images.certs_dirs", As::Paths),
    (Of::Containerd, "pinned_images.*", "images.pinned", As::Added),
    (Of::Containerd, "image_pull_progress_timeout", "images.stall_timeout", As::Seconds),
    (Of::Containerd, "enable_criu", "images.restore_checkpoints", As::Same),
    (Of::Containerd, "cdi_spec_dirs", "cdi.spec_dirs", As::Same),
    (Of::Containerd, "nri.disable", "nri.disable", As::Same),
    (Of::Containerd, "nri.disable_connections", "nri.disable_connections", As::Same),
    (Of::Containerd, "nri.socket_path", "nri.socket_path", As::Same),
    (Of::Containerd, "nri.plugin_path", "nri.plugin_path", As::Same),
    (Of::Containerd, "nri.plugin_config_path", "nri.plugin_config_path", As::Same),
    (
        Of::Containerd,
        "nri.plugin_registration_timeout",
        "nri.plugin_registration_timeout",
        As::Seconds,
    ),
    (Of::Containerd, "nri.plugin_request_timeout", "nri.plugin_request_timeout", As::Seconds),
    (Of::Containerd, "nri.default_validator.required_plugins", "nri.required_plugins", As::Same),
    (Of::Containerd, "image-verifier.bin_dir", "images.verifier_bin_dir", As::Same),
    (Of::Containerd, "image-verifier.max_verifiers", "images.max_verifiers", As::Same),
    (
        Of::Containerd,
        "image-verifier.per_verifier_timeout",
        "images.per_verifier_timeout",
        As::Seconds,
    ),
    (Of::Containerd, "otlp.endpoint", "tracing.endpoint", As::Url),
    (Of::Containerd, "metrics.address", "metrics.address", As::Same),
    (Of::Crio, "runtime.enable_criu_support", "images.restore_checkpoints", As::Same),
    (Of::Crio, "runtime.cdi_spec_dirs", "cdi.spec_dirs", As::Same),
    (Of::Crio, "runtime.cgroup_manager", "cgroup.driver", As::Same),
    (Of::Crio, "image.pinned_images", "images.pinned", As::Added),
    (Of::Crio, "image.pull_progress_timeout", "images.stall_timeout", As::Seconds),
    (Of::Crio, "network.network_dir", "network.conf_dir", As::Same),
    (Of::Crio, "network.plugin_dir", "network.bin_dirs", As::One),
    (Of::Crio, "network.plugin_dirs", "network.bin_dirs", As::Same),
    (
        Of::Crio,
        "tracing.tracing_sampling_rate_per_million",
        "tracing.sampling_rate_per_million",
        As::Same,
    ),
    (Of::Crio, "nri.enable_nri", "nri.disable", As::Not),
    (Of::Crio, "nri.nri_listen", "nri.socket_path", As::Same),
    (Of::Crio, "nri.nri_plugin_dir", "nri.plugin_path", As::Same),
    (Of::Crio, "nri.nri_plugin_config_dir", "nri.plugin_config_path", As::Same),
    (
        Of::Crio,
        "nri.nri_plugin_registration_timeout",
        "nri.plugin_registration_timeout",
        As::Seconds,
    ),
    (Of::Crio, "nri.nri_plugin_request_timeout", "nri.plugin_request_timeout", As::Seconds),
    (Of::Crio, "nri.nri_disable_connections", "nri.disable_connections", As::Same),
    (
        Of::Crio,
        "nri.default_validator.nri_validator_required_plugins",
        "nri.required_plugins",
        As::Same,
    ),
];

/// Programs of runtime handlers: what comes before the name of one, and after.
const HANDLERS: [(Of, &str, &str); 2] = [
    (Of::Containerd, "containerd.runtimes.", ".options.BinaryName"),
    (Of::Crio, "runtime.runtimes.", ".runtime_path"),
];

/// What a handler's containers are run by, likewise.
const SHIMS: [(Of, &str, &str); 2] = [
    (Of::Containerd, "containerd.runtimes.", ".runtime_type"),
    (Of::Crio, "runtime.runtimes.", ".runtime_type"),
];

/// Parts of the types of shims that make a virtual machine of a pod.
const MACHINES: [&str; 4] = ["kata", "firecracker", "runhcs", "hyperv"];

/// What programs of shims are called.
const SHIM: &str = "containerd-shim-";

/// Values that mean something together alone: addresses, and what is on by another key.
const JOINED: [(Of, &str, &str); 15] = [
    (Of::Containerd, "stream_server_address", "streaming.address"),
    (Of::Containerd, "stream_server_port", "streaming.address"),
    (Of::Crio, "api.stream_address", "streaming.address"),
    (Of::Crio, "api.stream_port", "streaming.address"),
    (Of::Crio, "metrics.metrics_host", "metrics.address"),
    (Of::Crio, "metrics.metrics_port", "metrics.address"),
    (Of::Crio, "metrics.enable_metrics", "metrics.address"),
    (Of::Crio, "tracing.enable_tracing", "tracing.endpoint"),
    (Of::Containerd, "enable_tls_streaming", "streaming.tls_cert_file"),
    (Of::Containerd, "x509_key_pair_streaming.tls_cert_file", "streaming.tls_cert_file"),
    (Of::Containerd, "x509_key_pair_streaming.tls_key_file", "streaming.tls_key_file"),
    (Of::Crio, "api.stream_enable_tls", "streaming.tls_cert_file"),
    (Of::Crio, "api.stream_tls_cert", "streaming.tls_cert_file"),
    (Of::Crio, "api.stream_tls_key", "streaming.tls_key_file"),
    (Of::Crio, "api.stream_tls_ca", "streaming.tls_ca_file"),
];

/// Whether streams are encrypted, and with what, by ours.
const TLS: [(&str, &[&str]); 2] = [
    (
        "enable_tls_streaming",
        &["x509_key_pair_streaming.tls_cert_file", "x509_key_pair_streaming.tls_key_file"],
    ),
    ("api.stream_enable_tls", &["api.stream_tls_cert", "api.stream_tls_key", "api.stream_tls_ca"]),
];

/// CRI-O's, which counts only where traces are on.
const ENDPOINT: &str = "tracing.tracing_endpoint";

/// Every key that is carried over, with ours.
#[cfg(test)]
pub(super) fn known() -> impl Iterator<Item = (Of, &'static str, &'static str)> {
    let single = KNOWN.iter().map(|(of, key, ours, _)| (*of, *key, *ours));
    let handlers = [
        (Of::Containerd, "containerd.runtimes.*.options.BinaryName", "runtimes.*.path"),
        (Of::Crio, "runtime.runtimes.*.runtime_path", "runtimes.*.path"),
    ];
    single.chain(JOINED).chain(handlers).chain([(Of::Crio, ENDPOINT, "tracing.endpoint")])
}

/// What is ours of a value; `None` where its row in the table says why not.
///
/// # Errors
/// Why this value does not mean anything here.
pub(super) fn carried(
    of: Of,
    key: &[String],
    value: &Value,
    shims: &Shims,
) -> Result<Option<Carried>, String> {
    let key = key.join(".");
    if key == "pinned_images.sandbox" {
        return Ok(None);
    }
    if let Some(name) = named(&SHIMS, of, &key) {
        return shims.check(name).map(|()| None);
    }
    if let Some(name) = named(&HANDLERS, of, &key) {
        shims.check(name)?;
        return program(name, value).map(Some);
    }
    let is_it = |known: &&Known| {
        let pattern = known.1;
        known.0 == of
            && (pattern == key
                || pattern.strip_suffix('*').is_some_and(|start| key.starts_with(start)))
    };
    let Some((_, _, ours, how)) = KNOWN.iter().find(is_it) else { return Ok(None) };
    let value = match (how, value) {
        (As::Same, value) => value.clone(),
        (As::Added, Value::Array(all)) => Value::Array(all.clone()),
        (As::One | As::Added, value) => Value::Array(vec![value.clone()]),
        (As::Paths, Value::String(paths)) => Value::Array(
            paths.split(':').filter(|path| !path.is_empty()).map(Value::from).collect(),
        ),
        (As::Seconds, Value::String(time)) => {
            let seconds = seconds(time).ok_or_else(|| format!("{time:?} is no time"))?;
            Value::Integer(i64::try_from(seconds).unwrap_or(i64::MAX))
        }
        (As::Driver, Value::Boolean(systemd)) => {
            Value::from(if *systemd { "systemd" } else { "cgroupfs" })
        }
        (As::Not, Value::Boolean(value)) => Value::Boolean(!value),
        (As::Url, Value::String(endpoint)) => url(endpoint),
        _ => return Err("its value is of another type".to_owned()),
    };
    if value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty) {
        // Their default, whatever that is.
        return Err("it is empty".to_owned());
    }
    Ok(Some(Carried { key: (*ours).into(), value, is_added: matches!(how, As::Added) }))
}

/// The program of a handler.
fn program(name: &str, value: &Value) -> Result<Carried, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.chars().all(is_plain) {
        return Err("its name has other characters than letters, digits, - and _".to_owned());
    }
    let file = value.as_str().and_then(|path| path.rsplit('/').next());
    if file.is_some_and(|file| file.starts_with(SHIM)) {
        return Err("it is a shim, and no command line of an OCI runtime".to_owned());
    }
    Ok(Carried::whole(format!("runtimes.{name}.path"), value.clone()))
}

/// The name of the handler of which this key is one of these.
fn named<'k>(keys: &[(Of, &str, &str)], of: Of, key: &'k str) -> Option<&'k str> {
    let name = |(known, before, after): &(Of, &str, &str)| {
        let name = key.strip_prefix(before)?.strip_suffix(after)?;
        (*known == of).then_some(name)
    };
    keys.iter().find_map(name)
}

/// What runs the containers of each handler.
#[derive(Default)]
pub(super) struct Shims(BTreeMap<String, String>);

impl Shims {
    /// Takes a key, if it is about that.
    pub(super) fn take(&mut self, of: Of, key: &[String], value: &Value) {
        if let (Some(name), Some(shim)) = (named(&SHIMS, of, &key.join(".")), value.as_str()) {
            self.0.insert(name.to_owned(), shim.to_owned());
        }
    }

    /// Refuses a handler that is not to be had by a command line.
    fn check(&self, name: &str) -> Result<(), String> {
        let is_machine =
            |shim: &&String| *shim == "vm" || MACHINES.iter().any(|machine| shim.contains(machine));
        match self.0.get(name).filter(is_machine) {
            None => Ok(()),
            Some(shim) => Err(format!(
                "the shim {shim:?} runs pods in virtual machines, and a handler here is the command \
                 line of an OCI runtime: {name:?} is left out"
            )),
        }
    }
}

fn url(endpoint: &str) -> Value {
    match endpoint {
        "" => Value::from(""),
        with_scheme if with_scheme.contains("://") => Value::from(with_scheme),
        bare => Value::from(format!("http://{bare}")),
    }
}

/// A time as Go writes it (`1h2m3.5s`) in whole seconds, rounded up.
fn seconds(text: &str) -> Option<u64> {
    let (mut rest, mut all) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest_of) = (rest[..end].parse::<f64>().ok()?, &rest[end..]);
        let (unit, seconds) = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)]
            .into_iter()
            .find(|(name, _)| rest_of.starts_with(name))?;
        all += number * seconds;
        rest = rest_of.strip_prefix(unit)?;
    }
    Some(all.ceil() as u64)
}

/// Parts of addresses, as they are met.
#[derive(Default)]
pub(super) struct Addresses(Vec<(Of, String, Value)>);

impl Addresses {
    /// Whether it is one, and noted.
    pub(super) fn take(&mut self, of: Of, key: &[String], value: &Value) -> bool {
        let key = key.join(".");
        let is_one = JOINED.iter().any(|(known, name, _)| *known == of && *name == key);
        let is_one = is_one || (of == Of::Crio && key == ENDPOINT);
        if is_one {
            self.0.push((of, key, value.clone()));
        }
        is_one
    }

    /// The addresses, each with a key of theirs and its value.
    pub(super) fn joined(self) -> Vec<(String, Value, Carried)> {
        let found = |wanted: &str| {
            self.0.iter().find(|(_, key, _)| key == wanted).map(|(_, _, value)| value.clone())
        };
        let text = |key: &str, default: &str| match found(key) {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(Value::Integer(number)) => number.to_string(),
            _ => default.to_owned(),
        };
        let is_on = |key: &str| found(key) == Some(Value::Boolean(true));
        let mut all = Vec::new();
        for (host, port) in [
            ("stream_server_address", "stream_server_port"),
            ("api.stream_address", "api.stream_port"),
        ] {
            if found(host).is_some() || found(port).is_some() {
                let address = address(&text(host, "127.0.0.1"), &text(port, "0"));
                all.push((host, "streaming.address", address));
            }
        }
        if is_on("metrics.enable_metrics") {
            let host = text("metrics.metrics_host", "127.0.0.1");
            let address = address(&host, &text("metrics.metrics_port", "9090"));
            all.push(("metrics.metrics_host", "metrics.address", address));
        }
        if is_on("tracing.enable_tracing") {
            all.push((ENDPOINT, "tracing.endpoint", url(&text(ENDPOINT, "127.0.0.1:4317"))));
        }
        for (is_on_by, files) in TLS {
            for file in files.iter().filter(|file| is_on(is_on_by) && !text(file, "").is_empty()) {
                let ours = JOINED.iter().find(|(_, key, _)| key == file).map(|(.., ours)| *ours);
                all.extend(ours.map(|ours| (*file, ours, Value::from(text(file, "")))));
            }
        }
        let whole = |(key, ours, value): (&str, &'static str, Value)| {
            (key.to_owned(), value.clone(), Carried::whole(ours, value))
        };
        all.into_iter().map(whole).collect()
    }
}

fn address(host: &str, port: &str) -> Value {
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.replace("localhost", "127.0.0.1")
    };
    Value::from(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_go_are_seconds() {
        for (text, expected) in
            [("5m0s", Some(300)), ("2s", Some(2)), ("1h1m", Some(3660)), ("500ms", Some(1))]
        {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(seconds("5"), None);
        assert_eq!(seconds("x"), None);
    }
}
