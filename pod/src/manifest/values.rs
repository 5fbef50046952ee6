//! Values that several documents and fields have in common.

use super::fields::{Item, Read};
use crate::model::{Protocol, PullPolicy};

/// Metadata that only an API server or a controller writes.
pub const CLUSTER_META: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
];

/// The words of `imagePullPolicy`.
pub const PULL_POLICIES: &[(&str, PullPolicy)] = &[
    ("Always", PullPolicy::Always),
    ("IfNotPresent", PullPolicy::IfNotPresent),
    ("Never", PullPolicy::Never),
];

/// The words of `protocol`.
pub const PROTOCOLS: &[(&str, Protocol)] =
    &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// An image reference: whoever pulls it knows the grammar; what no reference can have is refused
/// here, because the place in the file is known here.
pub fn image_name(item: &Item<'_>) -> Read<String> {
    let text = item.text()?;
    if text.is_empty() {
        return Err(item.fault("must not be empty"));
    }
    if text.len() > 1024 || text.bytes().any(|b| b <= b' ' || b >= 127) {
        return Err(item.fault(format!("{text:?} is not an image reference")));
    }
    Ok(text)
}

/// `Always` for `:latest` or no tag and no digest, else `IfNotPresent`.
pub fn default_pull_policy(image: &str) -> PullPolicy {
    if image.contains('@') {
        return PullPolicy::IfNotPresent;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest")) => PullPolicy::Always,
        Some(_) => PullPolicy::IfNotPresent,
    }
}

/// An IP address.
pub fn address(item: &Item<'_>) -> Read<String> {
    let text = item.text()?;
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(text),
        Err(_) => Err(item.fault(format!("{text:?} is not an IP address"))),
    }
}

/// A field that can have one value only.
pub fn expect(item: &Item<'_>, want: &str) -> Read<()> {
    let found = item.text()?;
    if found == want { Ok(()) } else { Err(item.fault(format!("expected {want}, found {found}"))) }
}

/// Why `path` cannot stand below a folder, or `None` if it can.
pub fn local_path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("must not be empty")
    } else if path.starts_with('/') {
        Some("must be a relative path")
    } else if path.split('/').any(|part| part == "..") {
        Some("must not contain '..'")
    } else {
        None
    }
}

/// Why `key` cannot be a key of a ConfigMap or Secret, or `None` if it can.
pub fn data_key_fault(key: &str) -> Option<&'static str> {
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ok = (1..=253).contains(&key.len())
        && key.bytes().all(part)
        && key != "."
        && !key.starts_with("..");
    (!ok).then_some("is not a key: letters, digits, '-', '_' and '.', not '..'")
}
