//! Jobs that make something, so that a retry joins instead of colliding.
//!
//! A name is never "reserved": it belongs to the job that makes its object, and to the object
//! from then on. The job runs in a task of its own; whoever asked for it only waits.

use crate::error::{Error, Kind, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tracing::Instrument;

/// What tells two configs apart: the SHA-256 of one in JSON. A client chooses both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(config: &impl Serialize) -> Result<Digest> {
        let json = serde_json::to_vec(config)
            .map_err(|error| Error::internal(format!("encode config: {error}")))?;
        Ok(Digest(Sha256::digest(json).into()))
    }
}

/// The answer of a job; `None` while it runs.
type Answer<T> = watch::Receiver<Option<Result<T>>>;

struct Job<T> {
    config: Digest,
    answer: Answer<T>,
}

/// Jobs and what they have made, by name.
pub(crate) struct Jobs<K, T> {
    /// Locked for single look-ups only.
    jobs: Arc<Mutex<HashMap<K, Job<T>>>>,
}

impl<K, T> Default for Jobs<K, T> {
    fn default() -> Self {
        Jobs { jobs: Arc::default() }
    }
}

fn lock<K, T>(jobs: &Mutex<HashMap<K, Job<T>>>) -> MutexGuard<'_, HashMap<K, Job<T>>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, T> Jobs<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the job of this name, or starts `make`; a job that fails gives its name up.
    pub(crate) async fn join<F>(
        &self,
        key: K,
        config: Digest,
        make: impl FnOnce() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut answer = self.find_or_start(key, config, make)?;
        let done = answer.wait_for(Option::is_some).await;
        match done.as_deref() {
            Ok(Some(result)) => result.clone(),
            _ => Err(Error::new(Kind::Internal, "the task that makes it has panicked")),
        }
    }

    fn find_or_start<F>(
        &self,
        key: K,
        config: Digest,
        make: impl FnOnce() -> F,
    ) -> Result<Answer<T>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut jobs = lock(&self.jobs);
        if let Some(job) = jobs.get(&key) {
            if job.config != config {
                return Err(Error::new(Kind::Exists, "it is there with another config"));
            }
            return Ok(job.answer.clone());
        }
        let (sender, answer) = watch::channel(None);
        jobs.insert(key.clone(), Job { config, answer: answer.clone() });
        let work = make();
        let all = Arc::clone(&self.jobs);
        let job = async move {
            // Dropped in every case, also when the work panics: the name must not stay taken.
            let name = Name { all, key: Some(key) };
            let result = work.await;
            if result.is_ok() {
                name.keep();
            } else {
                drop(name);
            }
            sender.send_replace(Some(result));
        };
        tokio::spawn(job.in_current_span());
        Ok(answer)
    }

    /// Gives the name to an object that exists.
    pub(crate) fn adopt(&self, key: K, config: Digest, value: T) {
        let answer = watch::channel(Some(Ok(value))).1;
        lock(&self.jobs).insert(key, Job { config, answer });
    }

    /// Takes the name from an object that is gone.
    pub(crate) fn forget(&self, key: &K) {
        lock(&self.jobs).remove(key);
    }
}

/// A name that is given up unless it is kept.
struct Name<K: Eq + Hash, T> {
    all: Arc<Mutex<HashMap<K, Job<T>>>>,
    key: Option<K>,
}

impl<K: Eq + Hash, T> Name<K, T> {
    fn keep(mut self) {
        self.key = None;
    }
}

impl<K: Eq + Hash, T> Drop for Name<K, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.all).remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn config(n: u8) -> Digest {
        Digest::of(&n).unwrap()
    }

    #[tokio::test]
    async fn a_retry_joins_the_job_that_runs_even_when_the_first_caller_has_gone() {
        let jobs = Arc::new(Jobs::<&str, u32>::default());
        let (open, gate) = oneshot::channel::<()>();
        let first = jobs.join("pod", config(1), || async move {
            gate.await.unwrap();
            Ok(7)
        });
        tokio::select! { biased; _ = first => unreachable!(), () = async {} => {} }
        let second = tokio::spawn({
            let jobs = Arc::clone(&jobs);
            async move { jobs.join("pod", config(1), || async { Ok(8) }).await }
        });
        tokio::task::yield_now().await;
        open.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 7);
        assert_eq!(jobs.join("pod", config(1), || async { Ok(9) }).await.unwrap(), 7, "finished");
    }

    #[tokio::test]
    async fn another_config_under_the_same_name_is_refused() {
        let jobs = Jobs::<&str, u32>::default();
        jobs.adopt("pod", config(1), 7);
        let refused = jobs.join("pod", config(2), || async { Ok(8) }).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::Exists);
        jobs.forget(&"pod");
        assert_eq!(jobs.join("pod", config(2), || async { Ok(8) }).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_job_that_fails_or_panics_gives_its_name_up() {
        let jobs = Jobs::<&str, u32>::default();
        let failed = jobs.join("pod", config(1), || async { Err(Error::invalid("no")) }).await;
        assert_eq!(failed.unwrap_err().kind(), Kind::Invalid);
        let broken = jobs
            .join("pod", config(2), || async {
                if true {
                    panic!("on purpose")
                }
                Ok(0)
            })
            .await;
        assert_eq!(broken.unwrap_err().kind(), Kind::Internal);
        assert_eq!(jobs.join("pod", config(3), || async { Ok(1) }).await.unwrap(), 1);
    }
}
