//! Tokens in URLs: short-lived, single use.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nix::errno::Errno;
use rrun_cri_api::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use tokio::time::Instant;
use tonic::Status;

/// How long a URL can be dialled.
const LIFETIME: Duration = Duration::from_secs(60);
/// Most URLs that wait to be dialled.
const MOST: usize = 1000;
/// 128 bits, which nobody guesses in the minute that a URL lives; 22 characters of base64url.
const RANDOM_BYTES: usize = 16;

/// What a URL stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
}

/// Requests that wait for their client.
#[derive(Default)]
pub(super) struct Tokens {
    waiting: Mutex<HashMap<String, (Instant, Request)>>,
}

impl Tokens {
    /// A new token for `request`; `ResourceExhausted` while too many wait.
    pub(super) fn issue(&self, request: Request) -> Result<String, Status> {
        let now = Instant::now();
        let mut waiting = self.lock();
        waiting.retain(|_, (expiry, _)| *expiry > now);
        if waiting.len() >= MOST {
            let text = format!("streaming: {MOST} URLs wait to be used already");
            return Err(Status::resource_exhausted(text));
        }
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|e| {
            let errno = e.raw_os_error().map(Errno::from_raw);
            let reason = errno.map_or_else(|| e.to_string(), |errno| rrun_error::reason(&errno));
            Status::internal(format!("streaming: random token: {reason}"))
        })?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(random);
        waiting.insert(token.clone(), (now + LIFETIME, request));
        Ok(token)
    }

    /// What a live token stands for; it stays live.
    pub(super) fn look(&self, token: &str) -> Option<Request> {
        let waiting = self.lock();
        let (expiry, request) = waiting.get(token)?;
        (*expiry > Instant::now()).then(|| request.clone())
    }

    /// Spends a token; false when it was not live.
    pub(super) fn spend(&self, token: &str) -> bool {
        self.lock().remove(token).is_some_and(|(expiry, _)| expiry > Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Request)>> {
        // Every change is one map operation: a panic elsewhere leaves the map whole.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request::PortForward(PortForwardRequest::default())
    }

    #[test]
    fn a_token_has_128_bits_and_is_spent_once() {
        let tokens = Tokens::default();
        let token = tokens.issue(request()).unwrap();
        let random = BASE64_URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert_eq!(random.len() * 8, 128);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(tokens.look(&token), Some(request()));
        assert!(tokens.spend(&token));
        assert!(!tokens.spend(&token));
        assert_eq!(tokens.look(&token), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_wait_at_most_and_a_minute_at_longest() {
        let tokens = Tokens::default();
        let first = tokens.issue(request()).unwrap();
        for _ in 1..MOST {
            tokens.issue(request()).unwrap();
        }
        let status = tokens.issue(request()).unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        tokio::time::advance(LIFETIME).await;
        assert_eq!(tokens.look(&first), None);
        assert!(!tokens.spend(&first));
        tokens.issue(request()).unwrap();
    }
}
