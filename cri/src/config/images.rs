//! Images: where registries are configured, how layers come, and what is collected.

use super::{absolute, all_absolute, some_seconds};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// `[images]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// Folders with a folder per registry (`hosts.toml`); the first that has one counts.
    #[serde(deserialize_with = "all_absolute")]
    pub certs_dirs: Vec<PathBuf>,
    /// Folder of programs that may refuse an image before it is pulled, as containerd's `bin_dir`;
    /// one that is not there has none.
    #[serde(deserialize_with = "absolute")]
    pub verifier_bin_dir: PathBuf,
    /// So many of them are called, the first by name; a negative number is no limit.
    pub max_verifiers: i64,
    /// How many seconds each may take.
    #[serde(deserialize_with = "some_seconds")]
    pub per_verifier_timeout: u64,
    /// A layer of which fewer than `stall_bytes` came while its registry was waited for so many
    /// seconds is asked for again, from there on, and given up after five times in a row.
    pub stall_timeout: u64,
    /// See `stall_timeout`; 0 is no bound.
    pub stall_bytes: u64,
    /// A large layer that comes slowly is asked for in ranges of so many bytes.
    #[serde(deserialize_with = "range_bytes")]
    pub range_bytes: u64,
    /// So many ranges of one layer at a time, at most; 1 is one connection for each layer.
    #[serde(deserialize_with = "ranges_at_once")]
    pub ranges_at_once: usize,
    /// So many layers come from one registry at a time, over all pulls.
    #[serde(deserialize_with = "some_downloads")]
    pub downloads_per_registry: usize,
    /// What layers become that are unpacked from now on.
    pub layers: rrun_images::Layers,
    /// A layer of more than 256 MiB that is more than so many times what came of it is refused.
    pub largest_ratio: u64,
    /// A container may be made of an image that is a checkpoint of one, which criu then reads as root.
    pub restore_checkpoints: bool,
    /// Images that are never collected: names, or digests. Clients of the CRI see them as pinned.
    #[serde(deserialize_with = "pins")]
    pub pinned: Vec<String>,
    /// This one and the next three are called as the kubelet calls them. Images that nobody uses
    /// are collected when so many percent of their disk, or of its inodes, are used; 100 is never.
    /// By `rrun` while it runs a pod, by `rrund` where no kubelet does it.
    pub image_gc_high_threshold_percent: u8,
    /// Until no more than so many are.
    pub image_gc_low_threshold_percent: u8,
    /// No image is collected that was first seen less than so many seconds ago.
    pub image_minimum_gc_age: u64,
    /// One that was not used for so many seconds is collected in any case; 0 is never.
    pub image_maximum_gc_age: u64,
    /// Of `rrun` alone: which images that are here a pod may use without asking their registry.
    pub image_pull_credentials_verification_policy: String,
    /// The repositories of `"NeverVerifyAllowlistedImages"`.
    pub preloaded_images_verification_allowlist: Vec<String>,
}

impl Default for Images {
    fn default() -> Self {
        Images {
            certs_dirs: vec!["/etc/rrun/certs.d".into(), "/etc/containerd/certs.d".into()],
            verifier_bin_dir: "/opt/containerd/image-verifier/bin".into(),
            max_verifiers: 10,
            per_verifier_timeout: 10,
            stall_timeout: 60,
            stall_bytes: 64 << 10,
            range_bytes: rrun_images::Ranges::default().bytes,
            ranges_at_once: rrun_images::Ranges::default().at_once,
            downloads_per_registry: rrun_images::Config::default().downloads_per_registry,
            layers: rrun_images::Layers::Auto,
            largest_ratio: rrun_images::Config::default().largest_ratio,
            restore_checkpoints: false,
            pinned: Vec::new(),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            image_minimum_gc_age: 120,
            image_maximum_gc_age: 0,
            image_pull_credentials_verification_policy: "NeverVerifyPreloadedImages".into(),
            preloaded_images_verification_allowlist: Vec::new(),
        }
    }
}

/// Each range costs a request, and waits in memory for those before it.
fn range_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    match bytes {
        65_536..=16_777_216 => Ok(bytes),
        _ => Err(D::Error::custom("want 65536 to 16777216 bytes")),
    }
}

fn ranges_at_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    match count {
        1..=16 => Ok(count),
        _ => Err(D::Error::custom("want 1 to 16")),
    }
}

/// Nothing comes by no connection.
fn some_downloads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=1024 => Ok(count),
        _ => Err(D::Error::custom("want 1 to 1024")),
    }
}

/// Names and digests of images, as they are written.
fn pins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let pins = Vec::<String>::deserialize(deserializer)?;
    for pin in &pins {
        pin.parse::<rrun_images::Pin>().map_err(D::Error::custom)?;
    }
    Ok(pins)
}
