//! What is on record of images: since when they are here and when they were last used. A kubelet
//! keeps this in memory; a process that runs one pod may be gone before an image is old enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::record::{Format, try_lock};

const IMAGES: Format = Format { name: "images", version: 1 };

/// One image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// When it was first seen.
    pub first_detected: Timestamp,
    /// When it was last seen in use; zero if it never was.
    pub last_used: Timestamp,
}

impl ImageRecord {
    /// Since when nothing used it.
    pub fn unused_since(&self) -> Timestamp {
        self.first_detected.max(self.last_used)
    }
}

/// The records of all images, while no other process has them.
pub struct ImageRecords {
    images: BTreeMap<String, ImageRecord>,
    path: PathBuf,
    _lock: Flock<File>,
}

impl ImageRecords {
    /// `None` while another process has them. A record that cannot be read is begun anew: images
    /// look younger then than they are.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn lock(store: &Store) -> Result<Option<ImageRecords>> {
        let Some(lock) = try_lock(&store.run.join("images.lock"))? else { return Ok(None) };
        let path = store.root.join("images");
        let images = IMAGES.read(&path).unwrap_or_else(|e| {
            tracing::warn!("{e}");
            None
        });
        Ok(Some(ImageRecords { images: images.unwrap_or_default(), path, _lock: lock }))
    }

    /// Notes which images are there, and which of them are used now. What is gone is forgotten.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn update<'a>(
        &mut self,
        present: impl Iterator<Item = &'a str>,
        used: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<()> {
        let new = || ImageRecord { first_detected: now, last_used: Timestamp::default() };
        let mut images = BTreeMap::new();
        for id in present {
            let mut record = self.images.get(id).copied().unwrap_or_else(new);
            if used.contains(id) {
                record.last_used = now;
            }
            images.insert(id.to_owned(), record);
        }
        self.images = images;
        IMAGES.write(&self.path, &self.images)
    }

    /// What is on record of one.
    pub fn get(&self, id: &str) -> Option<ImageRecord> {
        self.images.get(id).copied()
    }
}
