//! Who follows calls, with figures or traces: of what is done in them this crate knows nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tracing::Span;

use crate::Messages;

/// Follows calls.
pub trait Follow: Send + Sync {
    /// The span in which a call is carried out.
    fn span(&self, rpc: &'static str, metadata: &MetadataMap) -> Span;

    /// A call has ended for its client, who has left where it is [`Code::Cancelled`]. A call that
    /// answers a stream ends with that.
    fn ended(&self, rpc: &'static str, code: Code, took: Duration, span: &Span);
}

/// A call on its way.
pub(super) struct Followed {
    by: Option<(Arc<dyn Follow>, Span, Instant)>,
    rpc: &'static str,
}

impl Followed {
    pub(super) fn begin(
        by: Option<&Arc<dyn Follow>>,
        rpc: &'static str,
        metadata: &MetadataMap,
    ) -> Followed {
        let by = by.map(|by| (Arc::clone(by), by.span(rpc, metadata), Instant::now()));
        Followed { by, rpc }
    }

    pub(super) fn span(&self) -> Span {
        self.by.as_ref().map_or_else(Span::none, |(_, span, _)| span.clone())
    }

    /// With its error, if it is one.
    pub(super) fn end(mut self, error: Option<&Status>) {
        self.ended(error.map_or(Code::Ok, Status::code));
    }

    fn ended(&mut self, code: Code) {
        if let Some((by, span, since)) = self.by.take() {
            by.ended(self.rpc, code, since.elapsed(), &span);
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

/// Follows a call until its stream has ended.
pub(super) fn to_its_end<T: Send + 'static>(
    messages: Messages<T>,
    followed: Followed,
) -> Messages<T> {
    if followed.by.is_none() {
        return messages;
    }
    let next = |(mut messages, mut followed): (Messages<T>, Followed)| async move {
        let next = messages.next().await;
        match &next {
            Some(Ok(_)) => {}
            Some(Err(status)) => followed.ended(status.code()),
            None => followed.ended(Code::Ok),
        }
        next.map(|next| (next, (messages, followed)))
    };
    stream::unfold((messages, followed), next).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Ends(Mutex<Vec<Code>>);

    impl Follow for Ends {
        fn span(&self, _: &'static str, _: &MetadataMap) -> Span {
            Span::none()
        }

        fn ended(&self, _: &'static str, code: Code, _: Duration, _: &Span) {
            self.0.lock().unwrap().push(code);
        }
    }

    fn begun() -> (Arc<Ends>, Followed) {
        let ends = Arc::new(Ends::default());
        let follow: Arc<dyn Follow> = Arc::clone(&ends) as _;
        let followed = Followed::begin(Some(&follow), "Version", &MetadataMap::new());
        (ends, followed)
    }

    #[test]
    fn a_call_ends_once_with_its_code_and_is_cancelled_when_nobody_waits_for_it() {
        let (ends, followed) = begun();
        followed.end(Some(&Status::not_found("x")));
        assert_eq!(*ends.0.lock().unwrap(), [Code::NotFound]);
        let (ends, followed) = begun();
        drop(followed);
        assert_eq!(*ends.0.lock().unwrap(), [Code::Cancelled]);
    }

    #[tokio::test]
    async fn a_call_that_answers_a_stream_ends_with_that() {
        for (messages, expected) in [
            (vec![Ok(1), Ok(2)], Code::Ok),
            (vec![Ok(1), Err(Status::internal("x"))], Code::Internal),
        ] {
            let (ends, followed) = begun();
            let mut all = to_its_end(stream::iter(messages).boxed(), followed);
            assert!(ends.0.lock().unwrap().is_empty());
            while all.next().await.is_some() {}
            assert_eq!(*ends.0.lock().unwrap(), [expected]);
        }
        let (ends, followed) = begun();
        drop(to_its_end(stream::pending::<Result<(), Status>>().boxed(), followed));
        assert_eq!(*ends.0.lock().unwrap(), [Code::Cancelled]);
    }
}
