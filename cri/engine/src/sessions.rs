//! What is executed in a container, and its checkpoint: never both, for a process that has come from
//! elsewhere is none of those that a checkpoint could give back.

use crate::error::{Error, Result};
use tokio::sync::watch;

/// Counts what is executed in one container.
#[derive(Default)]
pub(crate) struct Sessions(watch::Sender<State>);

#[derive(Default)]
struct State {
    running: usize,
    barred: bool,
}

impl Sessions {
    /// Counts one more while the value lives.
    ///
    /// # Errors
    /// `FailedPrecondition` while a checkpoint is made.
    pub(crate) fn enter(&self) -> Result<Entered> {
        let entered = self.0.send_if_modified(|state| {
            state.running += usize::from(!state.barred);
            !state.barred
        });
        match entered {
            true => Ok(Entered(self.0.clone())),
            false => Err(Error::precondition("a checkpoint of the container is being made")),
        }
    }

    /// Lets nothing more in while the value lives; what is there already goes on.
    ///
    /// # Errors
    /// `FailedPrecondition` while somebody else has it.
    pub(crate) fn bar(&self) -> Result<Barred> {
        let barred = self.0.send_if_modified(|state| !std::mem::replace(&mut state.barred, true));
        match barred {
            true => Ok(Barred(self.0.clone())),
            false => Err(Error::precondition("another checkpoint of it is being made")),
        }
    }
}

/// Something that is executed.
pub(crate) struct Entered(watch::Sender<State>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.running -= 1);
    }
}

/// Nothing is executed but what was before.
pub(crate) struct Barred(watch::Sender<State>);

impl Barred {
    /// Waits until that is over, too.
    pub(crate) async fn quiet(&self) {
        // The sender lives as long as self.
        let _ = self.0.subscribe().wait_for(|state| state.running == 0).await;
    }
}

impl Drop for Barred {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.barred = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn nothing_is_executed_while_a_checkpoint_is_made_and_no_two_are_made_at_once() {
        let sessions = Sessions::default();
        let (one, two) = (sessions.enter().unwrap(), sessions.enter().unwrap());
        let barred = sessions.bar().unwrap();
        assert!(sessions.enter().is_err() && sessions.bar().is_err());
        drop(one);
        assert!(barred.quiet().now_or_never().is_none());
        drop(two);
        assert!(barred.quiet().now_or_never().is_some());
        drop(barred);
        drop(sessions.enter().unwrap());
        sessions.bar().unwrap();
    }
}
