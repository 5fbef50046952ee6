//! A record as it is in memory and on disk.

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::record::{self, Record};
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A write that has begun, and what has become of it.
pub(crate) type Writing = BoxFuture<'static, Result<()>>;

/// The record of a pod or of a container, with the file that it is in.
pub(crate) struct Recorded<R> {
    now: watch::Sender<Arc<R>>,
    file: PathBuf,
    disk: Disk,
}

impl<R: Record + Clone + Send + Sync + 'static> Recorded<R> {
    /// Writes nothing.
    pub(crate) fn new(record: R, file: PathBuf, disk: Disk) -> Recorded<R> {
        Recorded { now: watch::Sender::new(Arc::new(record)), file, disk }
    }

    /// As it is now.
    pub(crate) fn get(&self) -> Arc<R> {
        Arc::clone(&self.now.borrow())
    }

    /// Waits until it is as said.
    pub(crate) async fn until(&self, is_so: impl Fn(&R) -> bool) -> Arc<R> {
        let mut now = self.now.subscribe();
        // The sender lives as long as self.
        let found = now.wait_for(|record| is_so(record)).await;
        found.map_or_else(|_| self.get(), |found| Arc::clone(&found))
    }

    /// Changes it on disk, then in memory.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut R)) -> Result<()> {
        let new = self.changed(change)?;
        self.write(&new).await?;
        self.now.send_replace(new);
        Ok(())
    }

    /// Changes it in memory, and on disk behind that: for what is so already. The future tells what
    /// has become of the write.
    pub(crate) fn change_first(&self, change: impl FnOnce(&mut R)) -> Result<Writing> {
        let new = self.changed(change)?;
        let written = self.write(&new);
        self.now.send_replace(new);
        Ok(written)
    }

    /// The same for what a later daemon finds out by itself, so that nobody need wait: the log says
    /// when it is not on disk. The task ends when it is, or is not.
    pub(crate) fn note(&self, change: impl FnOnce(&mut R)) -> Result<JoinHandle<()>> {
        let written = self.change_first(change)?;
        let new = self.get();
        Ok(tokio::spawn(async move {
            if let Err(error) = written.await {
                let (what, id, phase) = (R::WHAT, new.id(), new.phase());
                tracing::warn!(id, %error, "that the {what} is {phase:?} is not on record");
            }
        }))
    }

    fn changed(&self, change: impl FnOnce(&mut R)) -> Result<Arc<R>> {
        let mut new = R::clone(&self.get());
        let before = new.phase();
        change(&mut new);
        let phase = new.phase();
        if phase != before && !R::may_go(before, phase) {
            let what = R::WHAT;
            return Err(Error::internal(format!("{what} cannot go from {before:?} to {phase:?}")));
        }
        Ok(Arc::new(new))
    }

    fn write(&self, record: &Arc<R>) -> Writing {
        let (file, record) = (self.file.clone(), Arc::clone(record));
        Box::pin(self.disk.push(move || record::write(&file, record.as_ref())))
    }
}
