//! Who asks for metrics.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Who has not asked for so long will not soon.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// When somebody asked last.
#[derive(Default)]
pub(crate) struct Scrapers {
    asked: Mutex<Option<Instant>>,
    came: Notify,
}

impl Scrapers {
    pub(crate) fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.came.notify_one();
    }

    pub(crate) fn are_there(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < GIVEN_UP)
    }

    /// Waits for one to ask.
    pub(crate) async fn come(&self) {
        self.came.notified().await;
    }
}
