//! Names and uids of Kubernetes, checked once, where they are read.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

/// A pod's UID: 1 to 63 characters of `[0-9a-zA-Z-]`, safe as a path component and a label value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(String);

impl PodUid {
    /// Checks `text`. `Invalid` for anything that could not be one path component.
    pub fn parse(text: &str) -> Result<Self> {
        let ok = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !text.starts_with('-');
        if ok {
            Ok(PodUid(text.to_owned()))
        } else {
            Err(Error::new(
                Kind::Invalid,
                format!("uid {text:?}: want 1 to 63 letters, digits or '-'"),
            ))
        }
    }

    /// The UID of a manifest that names none: derived from its text and its name, so that the
    /// same file is the same pod after a restart, and an edited file is another pod (as the
    /// kubelet does with static pods).
    pub fn derive(namespace: &str, name: &str, manifest: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [namespace.as_bytes(), name.as_bytes(), manifest] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let hex: String = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        PodUid(parts.join("-"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why `text` is not an RFC 1123 label (container and volume names), or `None` if it is one.
pub fn label_fault(text: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() {
        Some("must not be empty")
    } else if text.len() > 63 {
        Some("must be no more than 63 characters")
    } else if !text.bytes().all(inner) || text.starts_with('-') || text.ends_with('-') {
        Some(
            "must consist of lower case letters, digits and '-', and start and end with a letter or digit",
        )
    } else {
        None
    }
}

/// Why `text` is not an RFC 1123 subdomain (pod and object names), or `None` if it is one.
pub fn subdomain_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("must not be empty");
    }
    if text.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    let label = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if text.split('.').all(label) {
        None
    } else {
        Some(
            "must consist of lower case letters, digits, '-' and '.', and start and end with a letter or digit",
        )
    }
}

/// Why `text` is not a port name (IANA service name), or `None` if it is one.
pub fn port_name_fault(text: &str) -> Option<&'static str> {
    let ok = (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    if ok {
        None
    } else {
        Some("must be 1 to 15 lower case letters, digits and single '-', with a letter")
    }
}

/// Why `text` is not a label or annotation key (`[prefix/]name`), or `None` if it is one.
pub fn key_fault(text: &str) -> Option<&'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_some_and(|p| subdomain_fault(p).is_some()) {
        return Some("prefix must be a DNS subdomain");
    }
    qualified_fault(name, false)
}

/// Why `text` is not a label value, or `None` if it is one.
pub fn label_value_fault(text: &str) -> Option<&'static str> {
    qualified_fault(text, true)
}

fn qualified_fault(text: &str, may_be_empty: bool) -> Option<&'static str> {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() && may_be_empty {
        None
    } else if text.len() > 63 {
        Some("must be no more than 63 characters")
    } else if !edge(text.bytes().next()) || !edge(text.bytes().last()) || !text.bytes().all(inner) {
        Some(
            "must consist of letters, digits, '-', '_' and '.', and start and end with a letter or digit",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_cannot_leave_its_folder() {
        for bad in ["", "..", "a/b", "-x", "a b", "é"] {
            assert!(PodUid::parse(bad).is_err(), "{bad}");
        }
        assert!(PodUid::parse("0f3a-42").is_ok());
    }

    #[test]
    fn the_same_manifest_is_the_same_pod_and_an_edit_is_another() {
        let uid = PodUid::derive("default", "web", b"a");
        assert_eq!(uid, PodUid::derive("default", "web", b"a"));
        assert_ne!(uid, PodUid::derive("default", "web", b"b"));
        assert_ne!(uid, PodUid::derive("default", "weba", b""));
        assert_eq!(uid.as_str().len(), 36);
    }

    #[test]
    fn names_follow_the_api_servers_rules() {
        assert!(label_fault("web-1").is_none());
        assert!(label_fault("Web").is_some());
        assert!(label_fault("a.b").is_some());
        assert!(subdomain_fault("a.b-c.d").is_none());
        assert!(subdomain_fault("a..b").is_some());
        assert!(port_name_fault("http").is_none());
        assert!(port_name_fault("80").is_some());
        assert!(key_fault("app.kubernetes.io/name").is_none());
        assert!(key_fault("a/b/c").is_some());
        assert!(label_value_fault("").is_none());
        assert!(label_value_fault("-x").is_some());
    }
}
