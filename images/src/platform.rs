//! Which images this node can run.

use std::fmt;

/// For which machine an image is, as its documents write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// Go's name of the architecture, as a rule.
    pub architecture: String,
    /// `v2`, `v7`, …, or empty.
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
pub(crate) struct HostPlatform {
    architecture: &'static str,
    level: u32,
}

impl HostPlatform {
    pub(crate) fn new(architecture: &'static str, level: u32) -> HostPlatform {
        HostPlatform { architecture, level }
    }

    /// The machine this runs on.
    pub(crate) fn here() -> HostPlatform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "riscv64" => "riscv64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        HostPlatform::new(architecture, level())
    }

    /// How well an image for `platform` fits: `None` not at all, else the higher the better. Upper
    /// case and the kernel's names of architectures are what containerd takes as well.
    pub(crate) fn rank(&self, platform: &Platform) -> Option<u32> {
        let lower = platform.architecture.to_ascii_lowercase();
        let architecture = match lower.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" => "386",
            other => other,
        };
        if !platform.os.eq_ignore_ascii_case("linux") || architecture != self.architecture {
            return None;
        }
        let base = if architecture == "arm64" { 8 } else { 1 };
        let variant = platform.variant.to_ascii_lowercase();
        let wanted = match variant.strip_prefix('v').unwrap_or(&variant) {
            "" if variant.is_empty() => base,
            level => level.split('.').next()?.parse().ok()?,
        };
        (wanted <= self.level).then_some(wanted)
    }

    /// Whether an image runs here whose config says `platform`. What it leaves out is as here: old
    /// and small builders wrote nothing.
    pub(crate) fn runs(&self, platform: &Platform) -> bool {
        let or = |text: &str, here: &str| if text.is_empty() { here } else { text }.to_owned();
        let whole = Platform {
            os: or(&platform.os, "linux"),
            architecture: or(&platform.architecture, self.architecture),
            variant: platform.variant.clone(),
        };
        self.rank(&whole).is_some()
    }
}

impl fmt::Display for HostPlatform {
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
        let node = HostPlatform::new("amd64", 3);
        let rank = |arch: &str, variant: &str| node.rank(&Platform::new("linux", arch, variant));
        assert_eq!(rank("amd64", ""), Some(1));
        assert_eq!(rank("amd64", "v3"), Some(3));
        assert_eq!(rank("amd64", "v4"), None);
        assert_eq!(rank("amd64", "odd"), None);
        assert_eq!(rank("arm64", ""), None);
        assert_eq!(node.rank(&Platform::new("windows", "amd64", "")), None);
        assert_eq!(node.rank(&Platform::new("Linux", "X86_64", "V2")), Some(2));
        assert_eq!(
            HostPlatform::new("arm64", 8).rank(&Platform::new("linux", "aarch64", "8")),
            Some(8)
        );
    }

    #[test]
    fn what_a_config_leaves_out_is_as_here_and_what_it_says_counts() {
        let node = HostPlatform::new("amd64", 3);
        assert!(node.runs(&Platform::new("", "", "")));
        assert!(node.runs(&Platform::new("linux", "", "")));
        assert!(!node.runs(&Platform::new("", "arm64", "")));
        assert!(!node.runs(&Platform::new("windows", "", "")));
    }
}
