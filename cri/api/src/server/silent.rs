//! Clients that are connected and ask for nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// The clients that are connected and have never called, oldest first: when they are too many, the
/// oldest makes room for the next.
pub struct Silent {
    most: usize,
    clients: VecDeque<(CancellationToken, Arc<AtomicBool>)>,
}

impl Silent {
    /// At most `most` at a time.
    pub fn new(most: usize) -> Silent {
        Silent { most, clients: VecDeque::new() }
    }

    /// What closes one more, a child of `closed`, and where it notes its first call. It counts no
    /// more when the latter is dropped.
    pub fn next(&mut self, closed: &CancellationToken) -> (CancellationToken, Arc<AtomicBool>) {
        // The task of one that has ended has dropped its half.
        self.clients
            .retain(|(_, called)| Arc::strong_count(called) > 1 && !called.load(Ordering::Relaxed));
        if self.clients.len() >= self.most
            && let Some((oldest, _)) = self.clients.pop_front()
        {
            oldest.cancel();
        }
        let one = (closed.child_token(), Arc::default());
        self.clients.push_back(one.clone());
        one
    }
}
