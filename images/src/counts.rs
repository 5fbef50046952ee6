//! What a process has done since it opened the store, in figures.

use std::sync::atomic::{AtomicU64, Ordering};

/// Since the store was opened by this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pulls that have ended, those that found all here included.
    pub pulls: u64,
    /// How many of them failed.
    pub failed_pulls: u64,
    /// Compressed bytes of layers that the others fetched.
    pub pulled_bytes: u64,
    /// Collections of images that were carried out.
    pub collections: u64,
    /// Images that they removed.
    pub collected: u64,
    /// Bytes that this freed.
    pub collected_bytes: u64,
    /// Removals that failed.
    pub not_collected: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pulls: AtomicU64,
    failed_pulls: AtomicU64,
    pulled_bytes: AtomicU64,
    collections: AtomicU64,
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    not_collected: AtomicU64,
}

impl Counters {
    /// A pull has ended; `bytes` were fetched where it succeeded.
    pub(crate) fn pulled(&self, bytes: Option<u64>) {
        add(&self.pulls, 1);
        add(&self.failed_pulls, u64::from(bytes.is_none()));
        add(&self.pulled_bytes, bytes.unwrap_or(0));
    }

    /// A collection was carried out: it removed so many images, which freed so many bytes, and could
    /// not remove others.
    pub(crate) fn collected(&self, images: usize, bytes: u64, failures: usize) {
        add(&self.collections, 1);
        add(&self.collected, images as u64);
        add(&self.collected_bytes, bytes);
        add(&self.not_collected, failures as u64);
    }

    pub(crate) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            pulls: read(&self.pulls),
            failed_pulls: read(&self.failed_pulls),
            pulled_bytes: read(&self.pulled_bytes),
            collections: read(&self.collections),
            collected: read(&self.collected),
            collected_bytes: read(&self.collected_bytes),
            not_collected: read(&self.not_collected),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
