//! Image references, `[registry/]repository[:tag][@digest]`, as docker, kubelet and containerd
//! read them.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A normalised reference: it always has a registry, and a tag, a digest or both.
///
/// `busybox` is `docker.io/library/busybox:latest`. With a digest the tag only documents; what is
/// pulled is the digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The registry of a name that has none.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// Of registry and repository together, as in docker's grammar.
const LONGEST_NAME: usize = 255;

impl Reference {
    /// Host and port, for example `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path at the registry, for example `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if written or implied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What the registry is asked for: the digest, else the tag.
    pub(crate) fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// `name:tag`, unless the reference has a digest: then it names no tag.
    pub(crate) fn tagged(&self) -> Option<String> {
        match (&self.digest, &self.tag) {
            (None, Some(tag)) => Some(format!("{}:{tag}", self.name())),
            _ => None,
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        parse(text).map_err(|why| Error::invalid(format_args!("image reference {text:?}: {why}")))
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse().map_err(|e: Error| e.to_string())?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; before it, a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if name.is_empty() {
        return Err("no name".to_owned());
    }
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    check_host(registry)?;
    check_path(path)?;
    let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + repository.len() > LONGEST_NAME {
        return Err(format!("the name is longer than {LONGEST_NAME} characters"));
    }
    if digest.is_none() && tag.is_none() && is_bare_hex(text) {
        return Err("64 hex digits are an image id, not a name".to_owned());
    }
    let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// The first component is a registry if nothing else could be meant: it has a dot, a port or a
/// capital, or is localhost.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_bare_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_host(host: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("registry {host:?}: {why}"));
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return bad("not an IPv6 address");
                }
                ("", port.strip_prefix(':'))
            }
            None => return bad("`[` without `]`"),
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if port.is_some_and(|p| p.parse::<u16>().is_err() || p.starts_with('+')) {
        return bad("not a port number");
    }
    let label = |l: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(l.bytes().next())
            && edge(l.bytes().last())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !host.starts_with('[') && !name.split('.').all(label) {
        return bad("not a host name");
    }
    Ok(())
}

/// Lower case letters and digits, joined by `.`, `_`, `__` or dashes, in components.
fn check_path(path: &str) -> Result<(), String> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("repository {path:?} must be lower case"));
    }
    for part in path.split('/') {
        let runs = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let edges =
            part.bytes().next().is_some_and(alnum) && part.bytes().last().is_some_and(alnum);
        let joined = runs
            .filter(|r| !r.is_empty())
            .all(|r| matches!(r, "." | "_" | "__") || r.bytes().all(|b| b == b'-'));
        if !edges || !joined {
            return Err(format!("repository {path:?}: component {part:?} is malformed"));
        }
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    if good { Ok(()) } else { Err(format!("tag {tag:?} is malformed")) }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_reference_is_normalised_as_docker_does() {
        let digest = format!("@sha256:{HEX}");
        let table = [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("busybox:1", "docker.io/library/busybox:1".to_owned()),
            ("a/b", "docker.io/a/b:latest".to_owned()),
            ("docker.io/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("index.docker.io/a/b", "docker.io/a/b:latest".to_owned()),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("localhost:5000/x:y", "localhost:5000/x:y".to_owned()),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest".to_owned()),
            ("[::1]:5000/x", "[::1]:5000/x:latest".to_owned()),
            ("[::1]/x", "[::1]/x:latest".to_owned()),
            ("gcr.io/a__b/c--d:E_f.1-2", "gcr.io/a__b/c--d:E_f.1-2".to_owned()),
            ("Host/x", "Host/x:latest".to_owned()),
            (&format!("x{digest}"), format!("docker.io/library/x{digest}")),
            (&format!("x:1{digest}"), format!("docker.io/library/x:1{digest}")),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn a_malformed_reference_is_refused_and_named() {
        for bad in [
            "",
            ":tag",
            "@sha256:00",
            "X",
            "a//b",
            "a/",
            "/a",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a:",
            "a:-x",
            "a:b c",
            "a b",
            "ä",
            "a@b",
            "gcr.io/",
            "gcr.io:port/a",
            "host.:1/a",
            "a.b:99999/c",
            "https://gcr.io/a",
            "[::g]/x",
            "[::1/x",
            "-h.io/x",
            HEX,
            "a:b/c",
            "a/b:c:d",
            "../a",
            "a/../b",
            "a/.",
            "a\n",
        ] {
            let error = bad.parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        assert!("a".repeat(256).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }
}
