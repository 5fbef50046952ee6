//! One pod, one verb at a time, without a lock: verbs queue up in the pod's own task.

use crate::error::{Error, Kind, Result};
use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs what it is given, one after the other. Its task ends with the last handle.
#[derive(Clone)]
pub(crate) struct Queue {
    work: mpsc::UnboundedSender<Work>,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        let (work, mut next) = mpsc::unbounded_channel::<Work>();
        tokio::spawn(async move {
            while let Some(work) = next.recv().await {
                // A panic ends one verb and not the pod. It is told where it happens; a task of its
                // own for each verb would only wake one more thread.
                if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                    tracing::error!("a verb broke off");
                }
            }
        });
        Queue { work }
    }

    /// Queues `work` and waits for its value. Dropping the future drops the waiting, not the work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.begin(work).await
    }

    /// Queues `work` at once; its value comes by the future.
    pub(crate) fn begin<T: Send + 'static, W: Future<Output = Result<T>> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + use<T, W> {
        let (sender, outcome) = oneshot::channel();
        self.push(async move {
            let _ = sender.send(work.await);
        });
        async move {
            outcome.await.unwrap_or_else(|_| {
                Err(Error::new(Kind::Internal, "the task that does it has panicked"))
            })
        }
    }

    /// Queues `work` without waiting.
    pub(crate) fn push(&self, work: impl Future<Output = ()> + Send + 'static) {
        // The task ends only after the last sender.
        let _ = self.work.send(Box::pin(work.in_current_span()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_in_order_and_outlives_whoever_waits() {
        let queue = Queue::new();
        let (open, gate) = oneshot::channel::<()>();
        let first = queue.run(async move {
            gate.await.unwrap();
            Ok(1)
        });
        // Polled once, so that it is queued, then dropped.
        tokio::select! { biased; _ = first => unreachable!(), () = async {} => {} }
        let second = tokio::spawn({
            let queue = queue.clone();
            async move { queue.run(async { Ok(2) }).await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        open.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn work_that_panics_ends_alone() {
        let queue = Queue::new();
        let broken = queue.run(async { if true { panic!("on purpose") } else { Ok(0) } }).await;
        assert_eq!(broken.unwrap_err().kind(), Kind::Internal);
        assert_eq!(queue.run(async { Ok(7) }).await.unwrap(), 7);
    }
}
