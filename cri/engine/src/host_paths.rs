//! Looking at paths of the host that a client names: any of them may lie on a file system that
//! never answers.
//!
//! Each look has a thread of its own, which is left behind when it takes too long. What it hangs
//! at is remembered until it comes back: the next look at that path fails at once instead of
//! leaving a thread behind as well. Each pod has a share of the looks that go on at a time, and none
//! while so many of its own hang: its paths hold up no other pod.

use crate::error::{Context, Error, Kind, Result};
use crate::id::PodId;
use rrun_blocking::{Full, Shares};
use rrun_sys::thread;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one may take at paths that have answered before.
const ONCE_MORE: Duration = Duration::from_secs(1);

/// How long one waits for its turn behind others of its pod, or behind too many pods.
const TURN: Duration = Duration::from_secs(30);

/// How many looks go on at a time. Each is waited for by a thread as well, because one without
/// descriptors cannot wake the runtime.
const LOOKS: usize = 64;

/// How many of them a pod may have, and at how many paths its looks may hang.
const EACH_POD: usize = 8;

/// The same for logs of shims that are gone: those of a pod may all hang at once.
const LOGS: usize = 128;
const LOGS_OF_EACH_POD: usize = 32;

/// Paths of the host, as this process knows them.
#[derive(Clone)]
pub(crate) struct HostPaths {
    /// What looks that were given up hang at, and whose they are. Locked for single look-ups only.
    hanging: Arc<Mutex<HashMap<String, PodId>>>,
    looks: Shares,
    logs: Shares,
}

impl Default for HostPaths {
    fn default() -> HostPaths {
        HostPaths {
            hanging: Arc::default(),
            looks: Shares::new(LOOKS, EACH_POD),
            logs: Shares::new(LOGS, LOGS_OF_EACH_POD),
        }
    }
}

/// One look, in its own thread's hands.
#[derive(Clone)]
pub(crate) struct Look {
    paths: HostPaths,
    pod: PodId,
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
    /// Runs `work` for a pod: it does all that touches such paths within [`Look::at`], and owns no
    /// descriptor.
    ///
    /// # Errors
    /// `Timeout`, naming the path that does not answer; `Exhausted` when others have taken all the
    /// time that there is for it.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        pod: &PodId,
        work: impl FnOnce(&Look) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.look_within(PATIENCE, pod, work).await
    }

    /// Looks at paths of a pod once more, and what to say of the first that does not answer.
    pub(crate) async fn hanging_among(&self, pod: &PodId, paths: Vec<String>) -> Option<String> {
        let look = move |look: &Look| {
            let there = |path: &String| look.at(path, || Ok(std::fs::metadata(path).is_ok()));
            paths.iter().try_for_each(|path| there(path).map(drop))
        };
        let looked = self.look_within(ONCE_MORE, pod, look).await;
        looked.err().filter(|error| error.kind() == Kind::Timeout).map(|hangs| hangs.to_string())
    }

    /// Appends to a log, likewise; the descriptors that `work` needs are open as long as it hangs.
    ///
    /// # Errors
    /// As of [`HostPaths::look`].
    pub(crate) async fn append<T: Send + 'static>(
        &self,
        pod: &PodId,
        descriptors: Vec<OwnedFd>,
        work: impl FnOnce(&Look, &[OwnedFd]) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let look = self.begin(pod);
        let append = move || {
            let (its, (done, outcome)) = (look.clone(), sync_channel(1));
            // Nobody waits any more: nobody misses it.
            let work = move |descriptors: &[OwnedFd]| drop(done.send(work(&its, descriptors)));
            thread::run_with_descriptors(descriptors, work).context(|| "start a thread")?;
            look.outcome(&outcome, PATIENCE)
        };
        self.logs.run(pod.as_str(), TURN, append).await.map_err(no_turn)?
    }

    fn begin(&self, pod: &PodId) -> Look {
        Look { paths: self.clone(), pod: pod.clone(), progress: Arc::default() }
    }

    async fn look_within<T: Send + 'static>(
        &self,
        limit: Duration,
        pod: &PodId,
        work: impl FnOnce(&Look) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let look = self.begin(pod);
        let wait = move || {
            look.may_hang_once_more()?;
            let (its, (done, outcome)) = (look.clone(), sync_channel(1));
            thread::run_without_descriptors(move || {
                // Nobody waits any more: nobody misses it.
                let _ = done.send(work(&its));
            })
            .context(|| "start a thread that looks at the host's paths")?;
            look.outcome(&outcome, limit)
        };
        self.looks.run(pod.as_str(), TURN, wait).await.map_err(no_turn)?
    }

    fn hanging(&self) -> MutexGuard<'_, HashMap<String, PodId>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_turn(full: Full) -> Error {
    let whose = match full {
        Full::Share => "of this pod",
        Full::All => "of other pods",
    };
    let message = format!("paths of the host: others {whose} have not answered in {TURN:?}");
    Error::new(Kind::Exhausted, message)
}

impl Look {
    /// # Errors
    /// `Timeout`, naming a path, when so many of the pod's looks hang that it may have no more.
    fn may_hang_once_more(&self) -> Result<()> {
        let hanging = self.paths.hanging();
        let mut its = hanging.iter().filter(|(_, pod)| **pod == self.pod).map(|(path, _)| path);
        let Some(path) = its.nth(EACH_POD - 1) else { return Ok(()) };
        let message =
            format!("looks at it and {} more for this pod have not come back", EACH_POD - 1);
        Err(Error::new(Kind::Timeout, format!("host path {path}: {message}")))
    }

    /// Looks at one path. After the look was given up nothing more is looked at, nor made.
    ///
    /// # Errors
    /// Those of `work`; `Timeout` when an earlier look still hangs at the path.
    pub(crate) fn at<T>(&self, path: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.paths.hanging().contains_key(path) {
            let message = "an earlier look at it has not come back";
            return Err(Error::new(Kind::Timeout, format!("host path {path}: {message}")));
        }
        let given_up = || {
            let message = format!("host path {path}: nobody waits for it any more");
            Error::new(Kind::Timeout, message)
        };
        {
            let mut progress = self.progress();
            if progress.given_up {
                return Err(given_up());
            }
            progress.at = Some(path.to_owned());
        }
        let outcome = work();
        let mut progress = self.progress();
        progress.at = None;
        if progress.given_up {
            self.paths.hanging().remove(path);
            return Err(given_up());
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
            self.paths.hanging().insert(path.clone(), self.pod.clone());
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
    use crate::blocking::{AT_ONCE, blocking};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn a_path_that_hangs_is_named_and_asked_again_only_when_it_has_answered() {
        let (paths, pod) = (HostPaths::default(), PodId::random().unwrap());
        let (answer, waits) = mpsc::channel::<()>();
        let look = move |look: &Look| {
            look.at("/good", || Ok(()))?;
            look.at("/hangs", || waits.recv().map_err(|e| Error::internal(e.to_string())))?;
            let never = || -> Result<()> { panic!("looked at after the look was given up") };
            look.at("/never", never)
        };
        let late = paths.look_within(Duration::from_millis(50), &pod, look).await.unwrap_err();
        assert_eq!(late.kind(), Kind::Timeout);
        assert_eq!(late.to_string(), "host path /hangs: no answer in 50ms");
        let again = paths.look(&pod, |look| look.at("/hangs", || Ok(()))).await.unwrap_err();
        assert!(again.to_string().contains("has not come back"), "{again}");
        assert_eq!(paths.look(&pod, |look| look.at("/good", || Ok(7))).await.unwrap(), 7);
        answer.send(()).unwrap();
        while paths.look(&pod, |look| look.at("/hangs", || Ok(()))).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn looks_of_a_pod_that_hang_hold_up_no_other_pods() {
        let paths = HostPaths::default();
        let (hangs, good) = (PodId::random().unwrap(), PodId::random().unwrap());
        let mut looks = JoinSet::new();
        let begun = Arc::new(AtomicUsize::new(0));
        let mut gates = Vec::new();
        for number in 0..2 * LOOKS {
            let (gate, waits) = mpsc::channel::<()>();
            gates.push(gate);
            let (paths, hangs, begun) = (paths.clone(), hangs.clone(), Arc::clone(&begun));
            looks.spawn(async move {
                let look = move |look: &Look| {
                    look.at(&format!("/{number}"), || {
                        begun.fetch_add(1, Ordering::Relaxed);
                        Ok(waits.recv().is_ok())
                    })
                };
                paths.look_within(Duration::from_millis(500), &hangs, look).await
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(paths.look(&good, |look| look.at("/good", || Ok(7))).await.unwrap(), 7);
        // Those that came after the first had hung have left no thread behind.
        let mut refused = 0;
        while let Some(look) = looks.join_next().await {
            let error = look.unwrap().unwrap_err();
            assert_eq!(error.kind(), Kind::Timeout, "{error}");
            refused += usize::from(error.to_string().contains("7 more for this pod"));
        }
        let begun = begun.load(Ordering::Relaxed);
        assert!(begun < 2 * EACH_POD, "{begun}");
        assert!(refused > 0);
        drop(gates);
        while paths.look(&hangs, |look| look.at("/0", || Ok(()))).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn logs_that_hang_take_no_place_of_what_other_pods_do() {
        let paths = HostPaths::default();
        let (mut gates, mut appends) = (Vec::new(), JoinSet::new());
        let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..=AT_ONCE {
            let (gate, waits) = mpsc::channel::<()>();
            gates.push(gate);
            let (paths, begun, pod) = (paths.clone(), begun.clone(), PodId::random().unwrap());
            appends.spawn(async move {
                let append = move |look: &Look, _: &[OwnedFd]| {
                    look.at(&format!("/{number}"), || {
                        begun.send(()).unwrap();
                        Ok(waits.recv().is_ok())
                    })
                };
                paths.append(&pod, Vec::new(), append).await
            });
        }
        for _ in 0..=AT_ONCE {
            let next = tokio::time::timeout(Duration::from_secs(60), has_begun.recv());
            next.await.expect("each hangs at its log in a minute");
        }
        let good = PodId::random().unwrap();
        assert_eq!(paths.look(&good, |look| look.at("/good", || Ok(7))).await.unwrap(), 7);
        assert_eq!(blocking(|| Ok(7)).await.unwrap(), 7);
        drop(gates);
        appends.join_all().await;
    }
}
