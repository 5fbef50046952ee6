//! From a challenge to an `Authorization` header: basic, or a token of the token server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::http;
use crate::credentials::Secret;
use crate::error::{Context, Error, Kind, Result};

/// A token server's answer beyond this is nonsense.
const LARGEST_TOKEN: u64 = 1 << 20;

/// Who asks, for what.
pub(crate) struct Asker<'a> {
    pub client: &'a Client,
    /// Of the registry that sent the challenge.
    pub origin: &'a Url,
    pub repository: &'a str,
    pub secret: Option<Secret>,
}

impl Asker<'_> {
    /// The header that answers the challenges: bearer if offered, else basic.
    pub(crate) async fn answer(&self, challenges: &[Challenge]) -> Result<String> {
        let scheme = |name: &str| challenges.iter().find(|c| c.scheme == name);
        if let Some(bearer) = scheme("bearer") {
            return self.bearer(bearer).await;
        }
        match (scheme("basic"), &self.secret) {
            (Some(_), Some(Secret::Basic { username, password })) => Ok(basic(username, password)),
            (Some(_), _) => Err(denied("401 unauthorized; it wants user and password")),
            (None, _) => Err(denied("401 unauthorized, without a challenge that we can answer")),
        }
    }

    async fn bearer(&self, challenge: &Challenge) -> Result<String> {
        if let Some(Secret::Bearer(token)) = &self.secret {
            return Ok(format!("Bearer {token}"));
        }
        let realm = challenge.get("realm").unwrap_or_default();
        let url = Url::parse(realm)
            .map_err(|e| Error::invalid(format_args!("token server {realm:?}: {e}")))?;
        if self.origin.scheme() == "https" && url.scheme() != "https" && self.secret.is_some() {
            let why = format!("token server {url} is not https; credentials stay here");
            return Err(denied(why));
        }
        self.token(url.clone(), challenge).await.context(format_args!("token server {url}"))
    }

    async fn token(&self, mut url: Url, challenge: &Challenge) -> Result<String> {
        let service = challenge.get("service").unwrap_or_default();
        let own = format!("repository:{}:pull", self.repository);
        let scope = challenge.get("scope").unwrap_or(&own);
        let request = if let Some(Secret::Identity(refresh)) = &self.secret {
            let mut form = Url::parse("form:").map_err(Error::invalid)?;
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", service)
                .append_pair("scope", scope)
                .append_pair("client_id", "rrun")
                .append_pair("refresh_token", refresh);
            self.client
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or_default().to_owned())
        } else {
            {
                let mut query = url.query_pairs_mut();
                if !service.is_empty() {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", scope);
            }
            match &self.secret {
                Some(Secret::Basic { username, password }) => {
                    self.client.get(url).header("authorization", basic(username, password))
                }
                _ => self.client.get(url),
            }
        };
        let response = http::send(request).await?;
        if !response.status().is_success() {
            return Err(http::refusal(response).await);
        }
        let body = http::body(response, LARGEST_TOKEN).await?;
        let token = parse_token(&body)?;
        Ok(format!("Bearer {token}"))
    }
}

/// The token in a token server's answer, under either of its names.
pub fn parse_token(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    // The body is a secret: serde's message shows at most a field's name and place.
    let answer: Answer = serde_json::from_slice(body).map_err(Error::invalid)?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
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
