//! How a store is opened.

use std::path::PathBuf;

use tokio::sync::watch;

use super::{Layers, Pin};
use crate::registry::pace::Stall;
use crate::registry::ranges::Ranges;
use crate::verifier::Verifiers;

/// Where the store is and where registries are configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store's own directory, on a filesystem that overlayfs takes.
    pub root: PathBuf,
    /// Folders of registry folders, the first that has one for a registry wins. Every pull reads
    /// which they are by then.
    pub certs_dirs: watch::Receiver<Vec<PathBuf>>,
    /// Images that are never collected, as of now.
    pub pinned: watch::Receiver<Vec<Pin>>,
    /// Who may refuse an image. Every pull reads which they are by then.
    pub verifiers: watch::Receiver<Verifiers>,
    /// How slow a layer may come from a registry before it is asked for again, from there on.
    pub stall: Stall,
    /// In which ranges a large layer is asked for.
    pub ranges: Ranges,
    /// How many layers come from one registry at a time, over all pulls; at least 1.
    pub downloads_per_registry: usize,
    /// What layers become that are unpacked from now on.
    pub layers: Layers,
    /// A layer that unpacks to more than so many times its compressed bytes is refused, if it is large;
    /// 0: none is.
    pub largest_ratio: u64,
}

/// What a layer may unpack to, however small it is.
const LARGE: u64 = 256 << 20;

impl Config {
    /// How many bytes a layer may unpack to of which so many come.
    pub(crate) fn largest(&self, compressed: u64) -> u64 {
        match self.largest_ratio {
            0 => u64::MAX,
            ratio => compressed.saturating_mul(ratio).max(LARGE),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        let certs_dirs = vec!["/etc/rrun/certs.d".into(), "/etc/containerd/certs.d".into()];
        Config {
            root: "/var/lib/rrun/images".into(),
            certs_dirs: watch::channel(certs_dirs).1,
            pinned: watch::channel(Vec::new()).1,
            verifiers: watch::channel(Verifiers::default()).1,
            stall: Stall::default(),
            ranges: Ranges::default(),
            downloads_per_registry: 12,
            layers: Layers::default(),
            largest_ratio: 200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, LARGE};

    #[test]
    fn a_small_layer_may_be_large_and_a_larger_one_is_bounded_by_what_came_of_it() {
        let most =
            |largest_ratio, bytes| Config { largest_ratio, ..Config::default() }.largest(bytes);
        assert_eq!(most(200, 1000), LARGE);
        assert_eq!(most(200, 10 << 20), 200 * (10 << 20));
        assert_eq!((most(0, 1), most(2, u64::MAX)), (u64::MAX, u64::MAX));
    }
}
