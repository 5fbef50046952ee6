//! What has come of a layer, kept until all has: a pull that ends before, with its process too, is
//! gone on with from there by the next one.
//!
//! `partial/<algorithm>-<hex of the blob>` in the store, under the lock of the layer. It is never
//! synced, so a power cut may leave anything in it: what is read from it goes through the same
//! check of the digest as what comes from a registry.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nix::sys::statvfs::statvfs;
use rrun_blocking::Pool;

use crate::error::{Context, Result};
use crate::gc::Amount;
use crate::manifest::Descriptor;

/// Smaller layers are fetched again; of larger ones so much is written at a time.
const PIECE: u64 = 1 << 20;
/// A disk that has less room than so many times the blob has none for a second copy of it.
const ROOM: u64 = 8;
/// What nobody went on with for so long is removed.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// Writes and reads of these files.
static FILES: Pool = Pool::new(32);

/// The kept part of one layer.
#[derive(Default)]
pub(crate) struct Partial {
    file: Option<(PathBuf, Arc<File>)>,
    /// So many bytes were there at the start.
    kept: u64,
    /// So many of them have been read.
    read: u64,
    /// So many are in the file.
    written: u64,
    waiting: Vec<Bytes>,
    waiting_bytes: u64,
}

impl Partial {
    /// What is kept of `blob` in `folder`. Where nothing can or need be kept there is nothing, and
    /// nothing will be: a pull does not fail for this.
    pub(crate) async fn open(folder: &Path, blob: &Descriptor) -> Partial {
        let (path, size) = (folder.join(blob.digest.to_string().replace(':', "-")), blob.size);
        if size < PIECE {
            return Partial::default();
        }
        let opened = FILES.run(move || open(&path, size).map(|(file, kept)| (path, file, kept)));
        match opened.await {
            Ok((path, file, kept)) => {
                let file = Some((path, Arc::new(file)));
                Partial { file, kept, written: kept, ..Partial::default() }
            }
            Err(e) => {
                tracing::debug!(layer = %blob.digest, "what comes of it is not kept: {e}");
                Partial::default()
            }
        }
    }

    /// How much of it was kept by an earlier pull.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// The next piece of what was kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let (at, left) = (self.read, self.kept - self.read);
        let Some((_, file)) = self.file.as_ref().filter(|_| left > 0) else { return Ok(None) };
        let file = Arc::clone(file);
        let read = FILES.run(move || {
            let mut piece = vec![0; usize::try_from(left.min(PIECE)).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut piece, at).map(|()| piece)
        });
        let piece = read.await.context("what is kept of it")?;
        self.read += piece.len() as u64;
        Ok(Some(piece.into()))
    }

    /// Keeps what comes behind that. A file that cannot be written is given up.
    pub(crate) async fn add(&mut self, piece: &Bytes) {
        if self.file.is_none() {
            return;
        }
        self.waiting.push(piece.clone());
        self.waiting_bytes += piece.len() as u64;
        if self.waiting_bytes >= PIECE {
            self.write().await;
        }
    }

    async fn write(&mut self) {
        let Some((_, file)) = &self.file else { return };
        let (file, at) = (Arc::clone(file), self.written);
        let pieces = std::mem::take(&mut self.waiting);
        self.written += std::mem::take(&mut self.waiting_bytes);
        let write = FILES.run(move || {
            let mut at = at;
            pieces.iter().try_for_each(|piece| {
                file.write_all_at(piece, at)?;
                at += piece.len() as u64;
                Ok::<_, io::Error>(())
            })
        });
        if let Err(e) = write.await {
            tracing::debug!("what comes of a layer is not kept: {e}");
            self.forget().await;
        }
    }

    /// Writes what has come last: the pull is over before its layer is.
    pub(crate) async fn leave(mut self) {
        self.write().await;
    }

    /// Removes it: the layer is here, or it was not worth to be kept.
    pub(crate) async fn forget(&mut self) {
        let Some((path, _)) = self.file.take() else { return };
        match FILES.run(move || std::fs::remove_file(path)).await {
            // Whoever had it in vain before us has removed it.
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("what was kept of a layer: {e}");
            }
            _ => {}
        }
    }
}

/// The file, made if it is not there, and how much is in it.
fn open(path: &Path, size: u64) -> Result<(File, u64)> {
    let file = rrun_sys::record::open_or_make(path).context(path.display())?;
    let mut kept = file.metadata().context(path.display())?.len();
    if kept > size {
        file.set_len(0).context(path.display())?;
        kept = 0;
    }
    let found = statvfs(path).context(path.display())?;
    let available = found.blocks_available().saturating_mul(found.fragment_size());
    if kept == 0 && available / ROOM < size {
        std::fs::remove_file(path).context(path.display())?;
        return Err(io::Error::from(io::ErrorKind::StorageFull)).context(path.display());
    }
    Ok((file, kept))
}

/// Whether nobody went on with it for long.
pub(crate) fn is_old(found: &Metadata) -> bool {
    let changed = found.modified();
    let age = changed.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    age.is_ok_and(|age| age > OLDEST)
}

/// What all of it takes.
pub(crate) fn measure(folder: &Path) -> Result<Amount> {
    let mut all = Amount::default();
    for entry in std::fs::read_dir(folder).context(folder.display())? {
        // One that is gone again takes nothing.
        let Ok(found) = entry.context(folder.display())?.metadata() else { continue };
        all = all + Amount { bytes: found.blocks() * 512, inodes: 1 };
    }
    Ok(all)
}

/// Removes what nobody went on with for long, or all of it. Whoever has a file open goes on with it
/// and merely keeps nothing.
pub(crate) fn sweep(folder: &Path, all: bool) -> Result<()> {
    for entry in std::fs::read_dir(folder).context(folder.display())? {
        let entry = entry.context(folder.display())?;
        if all || entry.metadata().is_ok_and(|found| is_old(&found)) {
            match std::fs::remove_file(entry.path()) {
                // A folder, for one: it is no reason to collect nothing.
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    let error = rrun_error::reason(&e);
                    tracing::warn!(path = %entry.path().display(), error, "left behind");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_by_way_of_a_link_or_a_fifo() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("precious"), "as it was").unwrap();
        std::os::unix::fs::symlink(at("precious"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "fifo"] {
            let error = open(&at(name), 5).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{name}: not a regular file")), "{error}");
        }
        assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "as it was");
    }
}
