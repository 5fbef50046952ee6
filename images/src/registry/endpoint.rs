//! One host and what was learned about it: the client, the answer to its challenge, its scheme.

use std::sync::{Mutex, OnceLock, PoisonError};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, LOCATION, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, Url};

use super::auth::Asker;
use super::host::{Host, authority};
use super::{challenge, http, tls};
use crate::credentials::{Credentials, Secret};
use crate::error::{Context, Error, Result};

/// As most clients.
const MOST_REDIRECTS: usize = 10;

pub(crate) struct Endpoint {
    pub(crate) host: Host,
    repository: String,
    client: OnceLock<Client>,
    /// Learned while asking; each lock is held for a copy only.
    learned: Mutex<Learned>,
}

#[derive(Clone)]
struct Learned {
    base: Url,
    authorization: Option<String>,
    /// Why it is not asked any more.
    distrust: Option<Error>,
}

/// What to ask for.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub method: Method,
    /// Below the repository, for example `manifests/latest`.
    pub path: String,
    pub accept: Option<&'a str>,
    /// First byte wanted.
    pub from: u64,
}

impl Endpoint {
    pub(crate) fn new(host: Host, repository: &str) -> Endpoint {
        let learned = Learned { base: host.base.clone(), authorization: None, distrust: None };
        let learned = Mutex::new(learned);
        Endpoint { host, repository: repository.to_owned(), client: OnceLock::new(), learned }
    }

    fn learned(&self) -> Learned {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, what: impl FnOnce(&mut Learned)) {
        what(&mut self.learned.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It sent what is not what its digest says: it is not asked again in this pull, and `why` is
    /// the reason that is told for it.
    pub(crate) fn distrust(&self, ask: &Ask<'_>, why: Error) {
        let why = why.context(self.place(ask));
        self.learn(|l| l.distrust = Some(why));
    }

    /// How errors name a request.
    pub(crate) fn place(&self, ask: &Ask<'_>) -> String {
        format!("{} {}", ask.method, self.url(&self.learned().base, ask))
    }

    /// What [`Endpoint::distrust`] was told.
    pub(crate) fn distrusted(&self) -> Option<Error> {
        self.learned().distrust
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = tls::client(&self.host)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Asks, answers a challenge, follows redirects. The response is a success.
    pub(crate) async fn ask(&self, ask: &Ask<'_>, who: Option<&Credentials>) -> Result<Response> {
        let url = self.url(&self.learned().base, ask);
        let done = match self.exchange(&url, ask, who).await {
            Err(e) if self.may_fall_back(&url, &e) => {
                let mut base = self.learned().base;
                base.set_scheme("http").ok();
                let plain = self.url(&base, ask);
                let done = self.exchange(&plain, ask, who).await;
                if done.is_ok() {
                    self.learn(|l| l.base = base);
                }
                // Both failed: what TLS said is no use to anybody if plain HTTP answered.
                done.context(format_args!("{} {plain}", ask.method))
            }
            done => done.context(format_args!("{} {url}", ask.method)),
        }?;
        Ok(done)
    }

    fn may_fall_back(&self, url: &Url, e: &Error) -> bool {
        self.host.http_fallback
            && url.scheme() == "https"
            && e.kind() == crate::Kind::Unavailable
            && !e.to_string().contains("refused")
    }

    fn url(&self, base: &Url, ask: &Ask<'_>) -> Url {
        let mut url = base.clone();
        url.set_path(&format!("{}/{}/{}", base.path(), self.repository, ask.path));
        if let Some(namespace) = &self.host.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    async fn exchange(
        &self,
        url: &Url,
        ask: &Ask<'_>,
        who: Option<&Credentials>,
    ) -> Result<Response> {
        let known = self.learned().authorization;
        let first = self.follow(url, ask, known.as_deref()).await?;
        if first.status() != reqwest::StatusCode::UNAUTHORIZED || first.url() != url {
            return check(first).await;
        }
        let challenges: Vec<_> = first
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let asker = Asker {
            client: self.client()?,
            origin: url,
            repository: &self.repository,
            secret: self.secret(who)?,
        };
        let authorization = asker.answer(&challenges).await?;
        let second = self.follow(url, ask, Some(&authorization)).await?;
        let done = check(second).await?;
        self.learn(|l| l.authorization = Some(authorization));
        Ok(done)
    }

    /// Credentials with an address go to that host alone; those without go to any host that the
    /// node's administrator configured for the image's registry.
    fn secret(&self, who: Option<&Credentials>) -> Result<Option<Secret>> {
        match who {
            Some(who) if who.are_for(&self.host.authority()) => who.secret(),
            _ => Ok(None),
        }
    }

    /// Sends the request and follows redirects. The authorization and the configured headers go
    /// to the first origin alone: a blob store must not learn the registry's token.
    async fn follow(&self, url: &Url, ask: &Ask<'_>, known: Option<&str>) -> Result<Response> {
        let mut at = url.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.client()?.request(ask.method.clone(), at.clone());
            if let Some(accept) = ask.accept {
                request = request.header(ACCEPT, accept);
            }
            if ask.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", ask.from));
            }
            if at.scheme() == url.scheme() && authority(&at) == authority(url) {
                request = self.own_headers(request, known);
            }
            let response = http::send(request).await?;
            let Some(next) = redirect(response.headers(), response.status(), &at) else {
                return Ok(response);
            };
            at = next.context("redirect")?;
        }
        Err(Error::new(crate::Kind::Unavailable, "more than 10 redirects"))
    }

    fn own_headers(&self, mut request: RequestBuilder, known: Option<&str>) -> RequestBuilder {
        for (name, value) in &self.host.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        match known {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }
}

fn redirect(headers: &HeaderMap, status: reqwest::StatusCode, at: &Url) -> Option<Result<Url>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(LOCATION)?;
    let text = String::from_utf8_lossy(location.as_bytes());
    Some(match at.join(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(Error::invalid(format_args!("{:?} is no way to go", url.scheme()))),
        Err(e) => Err(Error::invalid(e)),
    })
}

async fn check(response: Response) -> Result<Response> {
    if response.status().is_success() { Ok(response) } else { Err(http::refusal(response).await) }
}
