//! Looking at paths of the host that a client names: any of them may lie on a file system that
//! never answers.
//!
//! Each look has a thread of its own, which is left behind when it takes too long. What it hangs
//! at is remembered until it comes back: the next look at that path fails at once instead of
//! leaving a thread behind as well.

use crate::error::{Context, Error, Kind, Result};
use rrun_blocking::Pool;
use rrun_sys::thread;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one may take at paths that have answered before.
const ONCE_MORE: Duration = Duration::from_secs(1);

/// Who waits for looks: they wait for each other and hold up nothing else that blocks.
static WAITING: Pool = Pool::new(64);

/// The same for logs of shims that are gone, which may all hang at once.
static WAITING_FOR_LOGS: Pool = Pool::new(64);

/// Paths of the host, as this process knows them.
#[derive(Clone, Default)]
pub(crate) struct HostPaths {
    /// What looks that were given up hang at. Locked for single look-ups only.
    hanging: Arc<Mutex<HashSet<String>>>,
}

/// One look, in its own thread's hands.
#[derive(Clone)]
pub(crate) struct Look {
    paths: HostPaths,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    /// What is being looked at.
    at: Option<String>,
    /// Nobody waits any more.
    given_up: bool,
}

impl HostPaths {
    /// Runs `work`, which does all that touches such paths within [`Look::at`], and which owns no
    /// descriptor.
    ///
    /// # Errors
    /// `Timeout`, naming the path that does not answer.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Look) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.look_within(PATIENCE, work).await
    }

    /// Looks at paths once more, and what to say of the first that does not answer.
    pub(crate) async fn hanging_among(&self, paths: Vec<String>) -> Option<String> {
        let look = move |look: &Look| {
            let there = |path: &String| look.at(path, || Ok(std::fs::metadata(path).is_ok()));
            paths.iter().try_for_each(|path| there(path).map(drop))
        };
        self.look_within(ONCE_MORE, look).await.err().map(|hangs| hangs.to_string())
    }

    /// Appends to a log, likewise; the descriptors that `work` needs are open as long as it hangs.
    ///
    /// # Errors
    /// As of [`HostPaths::look`].
    pub(crate) async fn append<T: Send + 'static>(
        &self,
        descriptors: Vec<OwnedFd>,
        work: impl FnOnce(&Look, &[OwnedFd]) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (look, (done, outcome)) = (self.begin(), sync_channel(1));
        let its = look.clone();
        // Nobody waits any more: nobody misses it.
        let work = move |descriptors: &[OwnedFd]| drop(done.send(work(&its, descriptors)));
        thread::run_with_descriptors(descriptors, work).context(|| "start a thread")?;
        WAITING_FOR_LOGS.run(move || look.outcome(&outcome, PATIENCE)).await
    }

    fn begin(&self) -> Look {
        Look { paths: self.clone(), progress: Arc::default() }
    }

    async fn look_within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Look) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (look, (done, outcome)) = (self.begin(), sync_channel(1));
        let its = look.clone();
        thread::run_without_descriptors(move || {
            // Nobody waits any more: nobody misses it.
            let _ = done.send(work(&its));
        })
        .context(|| "start a thread that looks at the host's paths")?;
        // Waited for by a thread too: one without descriptors cannot wake the runtime.
        WAITING.run(move || look.outcome(&outcome, limit)).await
    }

    fn hanging(&self) -> MutexGuard<'_, HashSet<String>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// Looks at one path. After the look was given up nothing more is looked at, nor made.
    ///
    /// # Errors
    /// Those of `work`; `Timeout` when an earlier look still hangs at the path.
    pub(crate) fn at<T>(&self, path: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.paths.hanging().contains(path) {
            let message = "an earlier look at it has not come back";
            return Err(Error::new(Kind::Timeout, format!("host path {path}: {message}")));
        }
        self.progress().at = Some(path.to_owned());
        let outcome = work();
        let mut progress = self.progress();
        progress.at = None;
        if progress.given_up {
            self.paths.hanging().remove(path);
            let message = format!("host path {path}: nobody waits for it any more");
            return Err(Error::new(Kind::Timeout, message));
        }
        outcome
    }

    /// Waits for what the thread sends.
    fn outcome<T>(&self, outcome: &Receiver<Result<T>>, limit: Duration) -> Result<T> {
        match outcome.recv_timeout(limit) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Err(self.give_up(limit)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::internal("the thread that looked at the host's paths has panicked"))
            }
        }
    }

    fn give_up(&self, limit: Duration) -> Error {
        let mut progress = self.progress();
        progress.given_up = true;
        let path = progress.at.clone().unwrap_or_default();
        if progress.at.is_some() {
            self.paths.hanging().insert(path.clone());
        }
        Error::new(Kind::Timeout, format!("host path {path}: no answer in {limit:?}"))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_path_that_hangs_is_named_and_asked_again_only_when_it_has_answered() {
        let paths = HostPaths::default();
        let (answer, waits) = mpsc::channel::<()>();
        let look = move |look: &Look| {
            look.at("/good", || Ok(()))?;
            look.at("/hangs", || waits.recv().map_err(|e| Error::internal(e.to_string())))?;
            let never = || -> Result<()> { panic!("looked at after the look was given up") };
            look.at("/never", never)
        };
        let late = paths.look_within(Duration::from_millis(50), look).await.unwrap_err();
        assert_eq!(late.kind(), Kind::Timeout);
        assert_eq!(late.to_string(), "host path /hangs: no answer in 50ms");
        let again = paths.look(|look| look.at("/hangs", || Ok(()))).await.unwrap_err();
        assert!(again.to_string().contains("has not come back"), "{again}");
        assert_eq!(paths.look(|look| look.at("/good", || Ok(7))).await.unwrap(), 7);
        answer.send(()).unwrap();
        while paths.look(|look| look.at("/hangs", || Ok(()))).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
