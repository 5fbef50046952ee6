//! Which images this node can run.

use std::fmt;

use serde::Deserialize;

/// For which machine an image is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// Go's name of the architecture.
    #[serde(default)]
    pub architecture: String,
    /// `v2`, `v7`, …, or empty.
    #[serde(default)]
    pub variant: String,
}

#[cfg(test)]
impl Platform {
    pub(crate) fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        Platform { os: os.into(), architecture: architecture.into(), variant: variant.into() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// This machine: architecture and the highest variant it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    architecture: &'static str,
    level: u32,
}

impl Node {
    pub(crate) fn new(architecture: &'static str, level: u32) -> Node {
        Node { architecture, level }
    }

    /// The machine this runs on.
    pub(crate) fn here() -> Node {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "riscv64" => "riscv64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Node::new(architecture, level())
    }

    /// How well an image for `platform` fits: `None` not at all, else the higher the better.
    pub(crate) fn rank(&self, platform: &Platform) -> Option<u32> {
        // Old images without an architecture are amd64's, from before there was another.
        let architecture = match platform.architecture.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if platform.os != "linux" || architecture != self.architecture {
            return None;
        }
        let base = if architecture == "arm64" { 8 } else { 1 };
        let wanted = match platform.variant.strip_prefix('v') {
            Some(level) => level.split('.').next()?.parse().ok()?,
            None if platform.variant.is_empty() => base,
            None => return None,
        };
        (wanted <= self.level).then_some(wanted)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)
    }
}

/// The x86-64 psABI's levels, by the features that mark each.
#[cfg(target_arch = "x86_64")]
fn level() -> u32 {
    if !std::is_x86_feature_detected!("sse4.2") || !std::is_x86_feature_detected!("popcnt") {
        return 1;
    }
    let third = std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("fma");
    let fourth = std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512cd")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl");
    match (third, fourth) {
        (true, true) => 4,
        (true, false) => 3,
        _ => 2,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn level() -> u32 {
    8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_variant_that_the_machine_runs_fits_best() {
        let node = Node::new("amd64", 3);
        let rank = |arch: &str, variant: &str| node.rank(&Platform::new("linux", arch, variant));
        assert_eq!(rank("amd64", ""), Some(1));
        assert_eq!(rank("amd64", "v3"), Some(3));
        assert_eq!(rank("amd64", "v4"), None);
        assert_eq!(rank("amd64", "odd"), None);
        assert_eq!(rank("arm64", ""), None);
        assert_eq!(node.rank(&Platform::new("windows", "amd64", "")), None);
    }
}
