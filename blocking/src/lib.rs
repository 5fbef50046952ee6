//! The one way from an asynchronous task to work that blocks: through threads made for it.
//!
//! A thread of the runtime that waits for a disk, a lock or a database holds up every call that
//! happens to be on it, Version as well.

pub mod program;
mod shares;

pub use shares::{Full, Place, Shares};

use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Span;

/// Something whose methods block. What holds it can only call it on threads made for that, so
/// many at a time: a store that stalls takes those and no other's.
pub struct Blocking<T> {
    inner: Arc<T>,
    places: Arc<Semaphore>,
}

impl<T> Clone for Blocking<T> {
    fn clone(&self) -> Self {
        Blocking { inner: Arc::clone(&self.inner), places: Arc::clone(&self.places) }
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Blocking<T> {
    /// Lets `inner` be called by at most `at_once` calls at a time, over all clones.
    pub fn new(inner: T, at_once: usize) -> Blocking<T> {
        Blocking { inner: Arc::new(inner), places: Arc::new(Semaphore::new(at_once)) }
    }

    /// Runs `work` on a thread that may block. Dropping the future ends the waiting: work that has
    /// begun goes on.
    pub async fn call<R: Send + 'static>(&self, work: impl FnOnce(&T) -> R + Send + 'static) -> R {
        // Nobody closes it.
        let place = Arc::clone(&self.places).acquire_owned().await;
        let inner = Arc::clone(&self.inner);
        let done = spawn(move || {
            let value = work(&inner);
            drop(place);
            value
        });
        value(done).await
    }
}

/// Places for one kind of work that blocks and has no owner to be wrapped: so many of it run at a
/// time.
pub struct Pool(Semaphore);

impl Pool {
    /// At most `at_once` at a time.
    pub const fn new(at_once: usize) -> Pool {
        Pool(Semaphore::const_new(at_once))
    }

    /// Runs `work` as [`Blocking::call`] does.
    pub async fn run<R: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        let place = self.0.acquire().await;
        let done = spawn(move || {
            let value = work();
            drop(place);
            value
        });
        value(done).await
    }
}

/// How long work is waited for that a disk may hold up: up to a limit, and not at all behind work
/// that was given up and has not come back. Clones share what they know.
#[derive(Clone)]
pub struct Patience {
    limit: Duration,
    hangs: Arc<AtomicBool>,
}

impl Patience {
    /// Up to `limit`.
    pub fn new(limit: Duration) -> Patience {
        Patience { limit, hangs: Arc::default() }
    }

    /// The limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Said by the work itself at its end, which may come long after it was given up.
    pub fn came_back(&self) {
        self.hangs.store(false, Ordering::Relaxed);
    }

    /// Waits for `work`, which must go on when its future is dropped; `None` when it is given up.
    pub async fn wait<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        let limit = match self.hangs.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => self.limit,
        };
        // Begun by the first poll, which comes before the first look at the time.
        let done = timeout(limit, work).await.ok();
        // Who did not wait has found out nothing.
        if done.is_none() && limit > Duration::ZERO {
            self.hangs.store(true, Ordering::Relaxed);
        }
        done
    }
}

/// What work that blocks has come to: its value, or its panic.
type Done<R> = oneshot::Receiver<thread::Result<R>>;

fn spawn<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Done<R> {
    // What is done there belongs to what has asked for it.
    let span = Span::current();
    let (sender, done) = oneshot::channel();
    begin(Box::new(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| span.in_scope(work)));
        // It ends before what it was done for goes on.
        drop(span);
        // Nobody waits any more: nobody misses it.
        let _ = sender.send(outcome);
    }));
    done
}

/// Of one type: tokio's task is compiled once, and not for each kind of work (400 KB of text).
#[expect(clippy::disallowed_methods, reason = "the one place; its callers count")]
fn begin(work: Box<dyn FnOnce() + Send>) {
    drop(spawn_blocking(work));
}

async fn value<R>(done: Done<R>) -> R {
    match done.await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        // The runtime is going down, and its tasks with it.
        Err(_) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::sync::{Mutex, PoisonError};

    #[tokio::test]
    async fn calls_that_hang_take_no_thread_of_the_runtime_and_no_more_than_their_places() {
        let (open, gate) = mpsc::channel::<()>();
        let stalled = Blocking::new(Mutex::new(gate), 2);
        let wait = || {
            let stalled = stalled.clone();
            tokio::spawn(async move {
                let wait = |gate: &Mutex<mpsc::Receiver<()>>| {
                    gate.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok()
                };
                stalled.call(wait).await
            })
        };
        let calls: Vec<_> = (0..3).map(|_| wait()).collect();
        // This test's runtime has one thread, and it goes on.
        let free = || stalled.places.available_permits();
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(free(), 0);
        assert!(calls.iter().all(|call| !call.is_finished()));
        for _ in 0..3 {
            open.send(()).unwrap();
        }
        for call in calls {
            assert!(call.await.unwrap());
        }
        assert_eq!(free(), 2);
    }
}
