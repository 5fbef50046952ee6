//! What was read of the records, kept as long as nobody has changed them: what a node's agent asks
//! for again and again is answered from memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rrun_database::Commit;

use super::Disk;
use crate::error::Result;

/// Something that was read of the records last.
pub(super) struct Kept<T> {
    /// Locked for a moment alone, never while something is read.
    last: Mutex<Option<Known<T>>>,
    /// Held by whoever reads it anew.
    reading: Mutex<()>,
}

struct Known<T> {
    /// The last commit that was told before it was read, or before SQLite said that nothing has
    /// changed.
    commit: Option<Commit>,
    /// See [`super::records::Records::state`]; as it was before it was read.
    state: (i64, u64),
    value: Arc<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept { last: Mutex::default(), reading: Mutex::default() }
    }
}

impl<T> Kept<T> {
    fn last(&self) -> MutexGuard<'_, Option<Known<T>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// What is kept, if that is so now and can be told at once: without the disk and without a lock
    /// that is held for long, and so by any thread. No commit that has returned is missed.
    pub(super) fn kept_now<T>(&self, of: &Kept<T>) -> Option<Arc<T>> {
        let last = of.last();
        let known = last.as_ref()?;
        (self.last_commit()? == known.commit?).then(|| Arc::clone(&known.value))
    }

    /// The same, for which otherwise SQLite is asked.
    pub(super) fn kept<T>(&self, of: &Kept<T>) -> Result<Option<Arc<T>>> {
        let now = self.kept_now(of);
        if now.is_some() || of.last().is_none() {
            return Ok(now);
        }
        // Before it: what it says is so for that commit too.
        let commit = self.last_commit();
        let state = self.records(|r| r.state())?;
        let mut last = of.last();
        let known = last.as_mut().filter(|known| known.state == state);
        Ok(known.map(|known| {
            known.commit = commit.or(known.commit);
            Arc::clone(&known.value)
        }))
    }

    /// What is kept, if the records are as they were and `is_so` says the same of all else; or else
    /// what `read` reads, once for all who ask meanwhile.
    pub(super) fn kept_or_read<T>(
        &self,
        of: &Kept<T>,
        is_so: impl Fn(&T) -> bool,
        read: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let _reading = of.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.kept(of)?.filter(|known| is_so(known)) {
            return Ok(known);
        }
        // Before it is read: what is changed in between is read once more.
        let (commit, state) = (self.last_commit(), self.records(|r| r.state())?);
        let value = Arc::new(read()?);
        *of.last() = Some(Known { commit, state, value: Arc::clone(&value) });
        Ok(value)
    }

    fn last_commit(&self) -> Option<Commit> {
        self.inner.index.as_ref()?.last_commit()
    }
}
