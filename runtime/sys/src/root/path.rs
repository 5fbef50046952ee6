//! Paths that stay below the directory they are used in.

use std::fmt;
use std::io;

/// A path below a root, as parsed from foreign bytes: components joined by single slashes, none
/// of them `.` or `..` or empty, no NUL. The empty path is the root itself.
///
/// A leading slash is dropped, as in a tar archive or an OCI config, where `/etc` means the
/// root's `etc`. That the text is clean says nothing about symlinks; those are [`super::RootDir`]'s work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Vec<u8>);

/// The kernel's PATH_MAX without the NUL.
const LONGEST: usize = 4095;
/// The kernel's NAME_MAX.
const LONGEST_NAME: usize = 255;

impl RelPath {
    /// Parses `text`; fails with `InvalidInput` and the reason.
    pub fn parse(text: impl AsRef<[u8]>) -> io::Result<RelPath> {
        let text = text.as_ref();
        if text.contains(&0) {
            return Err(invalid("the path contains a NUL"));
        }
        let mut clean = Vec::with_capacity(text.len().min(LONGEST));
        for name in text.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".") {
            if name == b".." {
                return Err(invalid("the path contains `..`"));
            }
            if name.len() > LONGEST_NAME {
                return Err(invalid("a name in the path is longer than 255 bytes"));
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(name);
        }
        if clean.len() > LONGEST {
            return Err(invalid("the path is longer than 4095 bytes"));
        }
        Ok(RelPath(clean))
    }

    /// The bytes, without a slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything before the last name, and the last name; `None` for the root.
    pub fn split(&self) -> Option<(RelPath, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => (RelPath(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (RelPath::default(), &self.0),
        })
    }

    /// Where each of its names ends.
    pub(super) fn ends(&self) -> Vec<usize> {
        let slashes = self.0.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        slashes.chain((!self.is_root()).then_some(self.0.len())).collect()
    }

    /// The last name; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The path of `name` in this directory; `name` must be a single clean name.
    pub fn join(&self, name: &[u8]) -> io::Result<RelPath> {
        let mut text = self.0.clone();
        text.push(b'/');
        text.extend_from_slice(name);
        RelPath::parse(text)
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &RelPath) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(other.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("/") } else { self.0.escape_ascii().fmt(f) }
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_and_what_climbs_is_refused() {
        let table: [(&str, Option<&str>); 12] = [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("", Some("")),
            ("./", Some("")),
            ("/", Some("")),
            ("..", None),
            ("a/../b", None),
            ("/..", None),
            ("a/..", None),
            ("a\0b", None),
            ("...", Some("...")),
        ];
        for (text, want) in table {
            let got = RelPath::parse(text).ok();
            assert_eq!(got.as_ref().map(RelPath::as_bytes), want.map(str::as_bytes), "{text}");
        }
        assert!(RelPath::parse("x".repeat(256)).is_err());
        assert!(RelPath::parse("x/".repeat(3000)).is_err());
    }

    #[test]
    fn a_path_is_within_its_ancestors_and_not_within_a_longer_name() {
        let path = |text: &str| RelPath::parse(text).unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&path("")));
        assert!(!path("ab").is_within(&path("a")));
    }
}
