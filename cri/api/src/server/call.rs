//! One call: it runs in a task of its own until its deadline, and a panic of it is an error.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::Messages;

/// What becomes of the work when its client stops waiting.
#[derive(Clone, Copy)]
pub(super) enum WhenLost {
    /// It goes on in the background: half a sandbox is worse than one that nobody waits for.
    GoOn,
    /// It is dropped.
    Cancel,
}

/// Runs `work` in a task of its own until it ends or the deadline is there.
pub(super) async fn run<T: Send + 'static>(
    rpc: &'static str,
    deadline: Option<Instant>,
    when_lost: WhenLost,
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let task = tokio::spawn(work);
    let ended = match when_lost {
        WhenLost::GoOn => until(deadline, task).await,
        WhenLost::Cancel => until(deadline, AbortOnDropHandle::new(task)).await,
    };
    match ended {
        None => Err(exceeded(rpc)),
        Some(Ok(answer)) => answer,
        Some(Err(e)) => match e.try_into_panic() {
            Ok(panic) => Err(panicked(rpc, panic)),
            Err(_) => Err(Status::cancelled(format!("{rpc}: the server is shutting down"))),
        },
    }
}

/// Ends `messages` with an error at the deadline, or when making the next one panics.
pub(super) fn bounded<T: Send + 'static>(
    rpc: &'static str,
    deadline: Option<Instant>,
    messages: Messages<T>,
) -> Messages<T> {
    stream::unfold(Some(messages), move |messages| async move {
        let mut messages = messages?;
        let next = AssertUnwindSafe(messages.next()).catch_unwind();
        match until(deadline, next).await {
            Some(Ok(next)) => Some((next?, Some(messages))),
            Some(Err(panic)) => Some((Err(panicked(rpc, panic)), None)),
            None => Some((Err(exceeded(rpc)), None)),
        }
    })
    .boxed()
}

async fn until<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

fn exceeded(rpc: &str) -> Status {
    Status::deadline_exceeded(format!("{rpc}: context deadline exceeded"))
}

fn panicked(rpc: &str, panic: Box<dyn Any + Send>) -> Status {
    let text = match panic.downcast_ref::<&str>() {
        Some(text) => text,
        None => panic.downcast_ref::<String>().map_or("no message", String::as_str),
    };
    Status::internal(format!("{rpc}: the handler panicked: {text}"))
}
