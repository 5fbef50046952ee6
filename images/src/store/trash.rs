//! What is removed: renamed into `trash/` at once, and deleted behind, by one thread.
//!
//! Whoever removes a million files thus waits for one rename. Their bytes stay in the records, and
//! so in what the store says it takes, until they are gone. What a process leaves when it ends is
//! deleted by the next one that opens the store, or removes something.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{Disk, records};
use crate::error::{Context, Result};

/// A name in `trash/` that nobody else uses.
pub(super) fn name(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}-{n}-{}", std::process::id(), nanos.as_nanos())
}

impl Disk {
    /// Moves a directory out of the way and has it deleted; one that is not there is no error.
    pub(crate) fn discard(&self, dir: &Path) -> Result<()> {
        let what = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.discard_as(dir, &name(&what))
    }

    /// The same under a name in the trash that is on record already.
    pub(super) fn discard_as(&self, dir: &Path, name: &str) -> Result<()> {
        match std::fs::rename(dir, self.path("trash").join(name)) {
            Ok(()) => {
                self.empty_behind();
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).context(dir.display()),
        }
    }

    /// Deletes what is in the trash, and waits for whoever else does.
    pub(crate) fn empty_trash(&self) -> Result<()> {
        let trash = self.path("trash");
        // A lock on the folder, released by death: one process deletes at a time.
        let lock = File::open(&trash).context(trash.display())?;
        lock.lock().context(trash.display())?;
        let mut left = HashSet::<OsString>::new();
        loop {
            // First: whoever closes the last descriptor of a file without a name waits for its bytes.
            self.finish_unmounting();
            let entries = std::fs::read_dir(&trash).context(trash.display())?;
            let names: Vec<OsString> = entries.flatten().map(|e| e.file_name()).collect();
            let Some(name) = names.into_iter().find(|name| !left.contains(name)) else { break };
            let path = trash.join(&name);
            match rrun_sys::tree::remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    let error = rrun_error::reason(&e);
                    tracing::warn!(path = %path.display(), error, "left behind");
                    left.insert(name);
                }
                _ => {
                    let name = name.to_string_lossy().into_owned();
                    self.records(|r| r.give_back(|tx| records::forget_trash(tx, &name)))?;
                }
            }
        }
        Ok(())
    }

    /// Has a thread of this process empty the trash, unless one does.
    pub(super) fn empty_behind(&self) {
        if self.inner.is_emptying.swap(true, Ordering::SeqCst) {
            return;
        }
        let disk = Disk::from_inner(Arc::clone(&self.inner));
        let work = move || {
            loop {
                if let Err(e) = disk.empty_trash() {
                    tracing::warn!(error = %e, "the trash of images is not emptied");
                    disk.inner.is_emptying.store(false, Ordering::SeqCst);
                    return;
                }
                disk.inner.is_emptying.store(false, Ordering::SeqCst);
                // Whoever came in between saw the flag up and left it to this thread.
                let is_clean = std::fs::read_dir(disk.path("trash"))
                    .map_or(true, |mut entries| entries.next().is_none());
                let is_done = is_clean && !disk.is_unmounting();
                if is_done || disk.inner.is_emptying.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        };
        if let Err(e) = std::thread::Builder::new().name("image-trash".to_owned()).spawn(work) {
            let error = rrun_error::reason(&e);
            tracing::warn!(error, "the trash of images waits for the next removal");
            self.inner.is_emptying.store(false, Ordering::SeqCst);
        }
    }

    /// Forgets bytes whose folder is gone, and goes on with what is left.
    pub(super) fn sweep_trash(&self) -> Result<()> {
        let trash = self.path("trash");
        self.records(|r| {
            r.write(|tx| {
                for name in records::trash(tx)? {
                    if !trash.join(&name).exists() {
                        records::forget_trash(tx, &name)?;
                    }
                }
                Ok(())
            })
        })?;
        if std::fs::read_dir(&trash).context(trash.display())?.next().is_some() {
            self.empty_behind();
        }
        Ok(())
    }
}
