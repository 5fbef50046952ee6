//! How a pod's records reach the disk, which may be full or not answer.
//!
//! A pod or a container is made only when that is on record. What comes after is a fact: a pod is
//! stopped, and its containers end and are removed, though the disk takes nothing. A later daemon
//! finds out again what is missing there, from the shim or because there is none.

use crate::error::{Error, Kind, Result};
use crate::queue::Queue;
use rrun_blocking::Pool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How long the disk may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All that writes records, apart from what else blocks: a disk that hangs holds up no other.
static RECORDS: Pool = Pool::new(64);

/// The records of one pod and its containers. They are written and removed in the order in which
/// that was asked for, also when nobody waited to the end.
#[derive(Clone)]
pub(crate) struct Disk {
    writes: Queue,
    /// One was given up and has not come back.
    hangs: Arc<AtomicBool>,
    patience: Duration,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk { writes: Queue::new(), hangs: Arc::default(), patience: PATIENCE }
    }

    /// Writes or removes something.
    ///
    /// # Errors
    /// Those of `work`; `Timeout`, at once behind another one that hangs: it is done later then.
    pub(crate) async fn run(
        &self,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let patience = match self.hangs.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => self.patience,
        };
        let hangs = Arc::clone(&self.hangs);
        let write = self.writes.run(async move {
            let done = RECORDS.run(work).await;
            hangs.store(false, Ordering::Relaxed);
            done
        });
        // Queued by the first poll, which comes before the first look at the time.
        match timeout(patience, write).await {
            Ok(done) => done,
            Err(_) => {
                // Who did not wait has found out nothing.
                if patience > Duration::ZERO {
                    self.hangs.store(true, Ordering::Relaxed);
                }
                let limit = self.patience;
                let message = format!("the disk of the records has not answered in {limit:?}");
                Err(Error::new(Kind::Timeout, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn behind_a_write_that_hangs_nobody_waits_and_all_is_written_in_order_later() {
        let disk = Disk { patience: Duration::from_millis(50), ..Disk::new() };
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
