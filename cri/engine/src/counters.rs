//! What has happened since the engine was opened, and would else be in the log alone.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Counters {
    shims_lost: AtomicU64,
    recovered: OnceLock<BTreeMap<&'static str, usize>>,
}

impl Counters {
    /// A shim is gone that nobody has ended.
    pub(crate) fn lose_shim(&self) {
        self.shims_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn shims_lost(&self) -> u64 {
        self.shims_lost.load(Ordering::Relaxed)
    }

    /// The engine is open; so much of each was met.
    pub(crate) fn opened(&self, met: BTreeMap<&'static str, usize>) {
        let _ = self.recovered.set(met);
    }

    pub(crate) fn recovered(&self) -> BTreeMap<&'static str, usize> {
        self.recovered.get().cloned().unwrap_or_default()
    }
}
