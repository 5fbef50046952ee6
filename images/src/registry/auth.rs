//! From a challenge to an `Authorization` header: basic, or a token of the token server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Response, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::http;
use crate::credentials::Secret;
use crate::error::{Context, Error, Kind, Result};

/// A token server's answer beyond this is nonsense.
const LARGEST_TOKEN: u64 = 1 << 20;

const MOST_REDIRECTS: usize = 5;

/// Who asks, for what.
pub(crate) struct Authenticator<'a> {
    pub client: &'a Client,
    /// Of the registry that sent the challenge.
    pub origin: &'a Url,
    /// Empty for the registry alone.
    pub repository: &'a str,
    pub secret: Option<Secret>,
    /// Configured for the registry; its token server gets them as well.
    pub headers: &'a [(String, String)],
}

impl Authenticator<'_> {
    /// The header that answers the challenges: bearer if offered, else basic.
    pub(crate) async fn answer(&self, challenges: &[Challenge]) -> Result<String> {
        let scheme = |name: &str| challenges.iter().find(|c| c.scheme == name);
        let bearer = challenges
            .iter()
            .find(|c| c.scheme == "bearer" && (c.get("realm").is_some() || self.is_bearer()));
        if let Some(bearer) = bearer {
            return self.bearer(bearer).await;
        }
        match (scheme("basic"), &self.secret) {
            (Some(_), Some(Secret::Basic { username, password })) => Ok(basic(username, password)),
            (Some(_), _) => Err(denied("401 unauthorized; it wants user and password")),
            (None, _) => Err(denied("401 unauthorized, without a challenge that we can answer")),
        }
    }

    fn is_bearer(&self) -> bool {
        matches!(self.secret, Some(Secret::Bearer(_)))
    }

    async fn bearer(&self, challenge: &Challenge) -> Result<String> {
        if let Some(Secret::Bearer(token)) = &self.secret {
            return Ok(format!("Bearer {token}"));
        }
        let realm = challenge.get("realm").unwrap_or_default();
        // A path alone is one of the registry itself.
        let url = if realm.starts_with('/') { self.origin.join(realm) } else { Url::parse(realm) };
        let url = url.map_err(|e| Error::invalid(format_args!("token server {realm:?}: {e}")))?;
        if self.origin.scheme() == "https" && url.scheme() != "https" && self.secret.is_some() {
            let why = format!("token server {url} is not https; credentials stay here");
            return Err(denied(why));
        }
        self.token(url.clone(), challenge).await.context(format_args!("token server {url}"))
    }

    async fn token(&self, mut url: Url, challenge: &Challenge) -> Result<String> {
        let service = challenge.get("service").unwrap_or_default();
        // A registry that is asked for none of its repositories gives a token for none.
        let own = match self.repository {
            "" => String::new(),
            repository => format!("repository:{repository}:pull"),
        };
        let scope = challenge.get("scope").unwrap_or(&own);
        let mut form = None;
        if let Some(Secret::Identity(refresh)) = &self.secret {
            let mut text = Url::parse("form:").map_err(Error::invalid)?;
            text.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", service)
                .append_pair("client_id", "rrun")
                .append_pair("refresh_token", refresh);
            if !scope.is_empty() {
                text.query_pairs_mut().append_pair("scope", scope);
            }
            form = Some(text.query().unwrap_or_default().to_owned());
        } else {
            let mut query = url.query_pairs_mut();
            if !service.is_empty() {
                query.append_pair("service", service);
            }
            if !scope.is_empty() {
                query.append_pair("scope", scope);
            }
        }
        let response = self.send(url, form).await?;
        if !response.status().is_success() {
            return Err(http::refusal(response).await);
        }
        let body = http::body(response, LARGEST_TOKEN).await?;
        let token = parse_token(&body)?;
        Ok(format!("Bearer {token}"))
    }

    /// Asks the token server, and whom it redirects to: with the secret, if that is the same
    /// server still, else without.
    async fn send(&self, url: Url, form: Option<String>) -> Result<Response> {
        let mut at = url.clone();
        for _ in 0..MOST_REDIRECTS {
            let is_own = at.origin() == url.origin();
            let mut request = match &form {
                Some(form) if is_own => self
                    .client
                    .post(at.clone())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form.clone()),
                _ => self.client.get(at.clone()),
            };
            if is_own {
                for (name, value) in self.headers {
                    request = request.header(name.as_str(), value.as_str());
                }
                if let Some(Secret::Basic { username, password }) = &self.secret {
                    request = request.header("authorization", basic(username, password));
                }
            }
            let response = http::send(request.header("accept-encoding", "identity")).await?;
            match http::redirect(response.headers(), response.status(), &at) {
                None => return Ok(response),
                Some(next) => at = next.context("redirect")?,
            }
        }
        Err(Error::new(Kind::Unavailable, "more than 5 redirects"))
    }
}

/// The token in a token server's answer, under either of its names.
pub fn parse_token(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    // The body is a secret: serde's message shows at most a field's name and place.
    let answer: Answer = serde_json::from_slice(body).map_err(Error::invalid)?;
    let named = [answer.token, answer.access_token].into_iter().flatten();
    let token = named.map(|t| t.trim().to_owned()).find(|t| !t.is_empty()).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::invalid("no token in the answer"));
    }
    Ok(token)
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

fn denied(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Denied, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_under_either_name_and_whatever_stands_beside_it() {
        for (answer, want) in [
            (r#"{"token":"a"}"#, "a"),
            (r#"{"access_token":"b"}"#, "b"),
            (r#"{"token":"a","access_token":"b"}"#, "a"),
            (r#"{"token":null,"access_token":"b","expires_in":"300","issued_at":null}"#, "b"),
            (r#"{"token":"","access_token":" b\n","scope":[]}"#, "b"),
        ] {
            assert_eq!(parse_token(answer.as_bytes()).unwrap(), want, "{answer}");
        }
        for bad in
            ["", "{}", "[]", "null", r#"{"token":""}"#, r#"{"token":"a b"}"#, r#"{"token":5}"#]
        {
            assert!(parse_token(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
