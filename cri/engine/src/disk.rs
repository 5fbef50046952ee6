//! How a pod's records reach the disk, which may be full or not answer.
//!
//! A pod or a container is made only when that is on record. What comes after is a fact: a pod is
//! stopped, and its containers end and are removed, though the disk takes nothing. A later daemon
//! finds out again what is missing there, from the shim or because there is none.

use crate::error::{Error, Kind, Result};
use crate::queue::Queue;
use rrun_blocking::{Patience, Pool};
use std::time::Duration;

/// How long the disk may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// All that writes records, apart from what else blocks: a disk that hangs holds up no other.
static RECORDS: Pool = Pool::new(64);

/// The records of one pod and its containers. They are written and removed in the order in which
/// that was asked for, also when nobody waited to the end.
#[derive(Clone)]
pub(crate) struct Disk {
    writes: Queue,
    patience: Patience,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk { writes: Queue::new(), patience: Patience::new(PATIENCE) }
    }

    /// Writes or removes something.
    ///
    /// # Errors
    /// Those of `work`; `Timeout`, at once behind another one that hangs: it is done later then.
    pub(crate) async fn run(
        &self,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.push(work).await
    }

    /// The same, begun already: only who must know waits for it.
    pub(crate) fn push<W: FnOnce() -> Result<()> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<()>> + Send + use<W> {
        let patience = self.patience.clone();
        let (waits, came_back) = (patience.clone(), patience);
        let write = self.writes.begin(async move {
            let done = RECORDS.run(work).await;
            came_back.came_back();
            done
        });
        async move {
            let done = waits.wait(write).await;
            done.unwrap_or_else(|| Err(has_not_answered("the disk of the records")))
        }
    }
}

/// Something that waits for a disk is given up.
pub(crate) fn has_not_answered(what: &str) -> Error {
    Error::new(Kind::Timeout, format!("{what} has not answered in {PATIENCE:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn behind_a_write_that_hangs_nobody_waits_and_all_is_written_in_order_later() {
        let disk = Disk { patience: Patience::new(Duration::from_millis(50)), ..Disk::new() };
        let (answer, waits) = mpsc::channel::<()>();
        let (wrote, written) = mpsc::channel();
        let write = |number: u32| {
            let wrote = wrote.clone();
            move || wrote.send(number).map_err(|error| Error::internal(error.to_string()))
        };
        let first = write(1);
        let hangs = move || {
            waits.recv().map_err(|error| Error::internal(error.to_string()))?;
            first()
        };
        assert_eq!(disk.run(hangs).await.unwrap_err().kind(), Kind::Timeout);
        for number in [2, 3] {
            assert_eq!(disk.run(write(number)).await.unwrap_err().kind(), Kind::Timeout);
        }
        answer.send(()).unwrap();
        while disk.run(write(4)).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(written.iter().take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
