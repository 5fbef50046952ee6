//! Places of which each owner (a pod) has a share, so that what one of them waits for holds up no
//! other.

use super::{spawn, value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// So many places in all, and so many of them for each owner. Who has to wait for its own share
/// waits for nobody else's, and nobody else waits behind it. Clones share the places.
#[derive(Clone)]
pub struct Shares {
    all: Arc<Semaphore>,
    each: usize,
    /// Shares that somebody has a place of, or waits for one. Locked for single look-ups only.
    owners: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _of_owner: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// What has no place left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The owner's own share.
    Share,
    /// All that there is.
    All,
}

impl Shares {
    /// `all` places, of which each owner may have `each`.
    pub fn new(all: usize, each: usize) -> Shares {
        Shares { all: Arc::new(Semaphore::new(all)), each, owners: Arc::default() }
    }

    /// Waits for a place of `owner`'s.
    ///
    /// # Errors
    /// What had none left when `limit` was over.
    pub async fn take(&self, owner: &str, limit: Duration) -> Result<Place, Full> {
        let end = Instant::now() + limit;
        // Nobody closes them.
        let Ok(Ok(of_owner)) = timeout_at(end, self.share(owner).acquire_owned()).await else {
            return Err(Full::Share);
        };
        let Ok(Ok(of_all)) = timeout_at(end, Arc::clone(&self.all).acquire_owned()).await else {
            return Err(Full::All);
        };
        Ok(Place { _of_owner: of_owner, _of_all: of_all })
    }

    /// Waits for a place of `owner`'s and runs `work` as [`Blocking::call`](super::Blocking::call)
    /// does.
    ///
    /// # Errors
    /// As [`Shares::take`].
    pub async fn run<R: Send + 'static>(
        &self,
        owner: &str,
        limit: Duration,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Full> {
        let place = self.take(owner, limit).await?;
        let done = spawn(move || {
            let value = work();
            drop(place);
            value
        });
        Ok(value(done).await)
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }

    fn share(&self, owner: &str) -> Arc<Semaphore> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = owners.get(owner).and_then(Weak::upgrade) {
            return share;
        }
        owners.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.each));
        owners.insert(owner.to_owned(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn who_has_taken_its_share_keeps_no_place_from_others() {
        let shares = Shares::new(3, 2);
        let mut greedy = Vec::new();
        for _ in 0..2 {
            greedy.push(shares.take("greedy", NOW).await.unwrap());
        }
        assert_eq!(shares.take("greedy", NOW).await.unwrap_err(), Full::Share);
        let other = shares.take("other", NOW).await.unwrap();
        assert_eq!(shares.take("third", NOW).await.unwrap_err(), Full::All);
        drop(greedy);
        let again = shares.take("greedy", NOW).await.unwrap();
        drop((again, other));
        // Nothing is kept of owners that have no place.
        drop(shares.take("last", NOW).await.unwrap());
        assert_eq!(shares.owners.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn who_waits_for_its_share_takes_no_place_of_all() {
        let shares = Shares::new(2, 1);
        let held = shares.take("greedy", NOW).await.unwrap();
        let waiting: Vec<_> = (0..9)
            .map(|_| {
                let shares = shares.clone();
                tokio::spawn(async move { shares.take("greedy", Duration::from_secs(3600)).await })
            })
            .collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(shares.take("other", NOW).await.unwrap());
        drop(held);
        for place in waiting {
            drop(place.await.unwrap().unwrap());
        }
    }
}
