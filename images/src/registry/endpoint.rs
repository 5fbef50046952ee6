//! One host and what was learned about it: the client, the answer to its challenge, its scheme.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, RANGE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use super::auth::Authenticator;
use super::host::{Host, authority};
use super::retry::DownHosts;
use super::{challenge, http, tls};
use crate::credentials::{Credentials, Secret};
use crate::error::{Context, Error, Hint, Kind, Result};

/// As most clients.
const MOST_REDIRECTS: usize = 10;
/// The registry's own challenge, and those of hosts that it redirects to.
const MOST_CHALLENGES: usize = 3;

pub(crate) struct Endpoint {
    pub(crate) host: Host,
    repository: String,
    client: OnceLock<Client>,
    down: Arc<DownHosts>,
    /// Learned while asking; each lock is held for a copy only.
    learned: Mutex<Learned>,
}

#[derive(Clone)]
struct Learned {
    base: Url,
    /// What answers the challenges of each origin: a header that goes there and nowhere else.
    authorizations: HashMap<String, String>,
    /// Why it is not asked any more.
    distrust: Option<Error>,
}

/// What to ask a registry for.
#[derive(Clone)]
pub(crate) struct Query<'a> {
    pub method: Method,
    /// Below the repository, for example `manifests/latest`; empty for the registry itself.
    pub path: String,
    pub accept: Option<&'a str>,
    /// First byte wanted.
    pub from: u64,
    /// The byte behind the last one that is wanted, if not all are.
    pub to: Option<u64>,
}

impl Query<'_> {
    /// All of what is there.
    pub(crate) fn get(path: String) -> Query<'static> {
        Query { method: Method::GET, path, accept: None, from: 0, to: None }
    }
}

impl Endpoint {
    pub(crate) fn new(host: Host, repository: &str, down: &Arc<DownHosts>) -> Endpoint {
        let authorizations = HashMap::new();
        let learned = Learned { base: host.base.clone(), authorizations, distrust: None };
        Endpoint {
            host,
            repository: repository.to_owned(),
            client: OnceLock::new(),
            down: Arc::clone(down),
            learned: Mutex::new(learned),
        }
    }

    /// Whether it could not be reached a moment ago.
    pub(crate) fn is_down(&self) -> bool {
        self.down.has(self.host.base.as_str())
    }

    fn learned(&self) -> Learned {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, what: impl FnOnce(&mut Learned)) {
        what(&mut self.learned.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It sent what is not what its digest says: it is not asked again in this pull, and `why` is
    /// the reason that is told for it.
    pub(crate) fn distrust(&self, query: &Query<'_>, why: Error) {
        let why = why.context(self.place(query));
        self.learn(|l| l.distrust = Some(why));
    }

    /// How errors name a request.
    pub(crate) fn place(&self, query: &Query<'_>) -> String {
        format!("{} {}", query.method, self.url(&self.learned().base, query))
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

    /// Asks, answers challenges, follows redirects. The response is a success.
    pub(crate) async fn ask(
        &self,
        query: &Query<'_>,
        who: Option<&Credentials>,
    ) -> Result<Response> {
        let done = self.ask_either(query, who).await;
        let hint = done.as_ref().err().and_then(Error::hint);
        self.down.note(self.host.base.as_str(), hint == Some(Hint::Unreached));
        done
    }

    async fn ask_either(&self, query: &Query<'_>, who: Option<&Credentials>) -> Result<Response> {
        let url = self.url(&self.learned().base, query);
        match self.exchange(&url, query, who).await {
            Err(e) if self.may_fall_back(&url, &e) => {
                let mut base = self.learned().base;
                base.set_scheme("http").ok();
                let plain = self.url(&base, query);
                let done = self.exchange(&plain, query, who).await;
                if done.is_ok() {
                    self.learn(|l| l.base = base);
                }
                // Both failed: what TLS said is no use to anybody if plain HTTP answered.
                done.map_err(|e| self.asked(&plain, query, who, e))
            }
            done => done.map_err(|e| self.asked(&url, query, who, e)),
        }
    }

    /// Adds to an error what was asked for, and by whom if that may be the reason: some registries
    /// say of what they hide that it is not there.
    fn asked(&self, url: &Url, query: &Query<'_>, who: Option<&Credentials>, e: Error) -> Error {
        let is_of_credentials =
            matches!(e.kind(), Kind::Denied | Kind::NotFound) && e.hint().is_none();
        let who = match who {
            _ if !is_of_credentials => String::new(),
            None => " (without credentials)".to_owned(),
            Some(who) if who.are_for(&self.host.authority()) => format!(" (with {})", who.words()),
            Some(who) => format!(
                " (without credentials: {} are for {} alone)",
                who.words(),
                who.server_address
            ),
        };
        e.context(format_args!("{} {url}{who}", query.method))
    }

    /// Whether plain HTTP is tried: somebody answered, and not in TLS.
    fn may_fall_back(&self, url: &Url, e: &Error) -> bool {
        self.host.http_fallback
            && url.scheme() == "https"
            && e.kind() == Kind::Unavailable
            && e.hint() == Some(Hint::NotTls)
    }

    fn url(&self, base: &Url, query: &Query<'_>) -> Url {
        let mut url = base.clone();
        url.set_path(&match self.repository.as_str() {
            "" => format!("{}/{}", base.path(), query.path),
            repository => format!("{}/{repository}/{}", base.path(), query.path),
        });
        if let Some(namespace) = &self.host.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    async fn exchange(
        &self,
        url: &Url,
        query: &Query<'_>,
        who: Option<&Credentials>,
    ) -> Result<Response> {
        let mut answered: Vec<String> = Vec::new();
        for _ in 0..MOST_CHALLENGES {
            let response = self.follow(url, query).await?;
            let there = response.url().clone();
            let place = origin(&there);
            // An answer that was not good enough is refused, and not given again.
            if response.status() != StatusCode::UNAUTHORIZED || answered.contains(&place) {
                return check(response).await;
            }
            let challenges: Vec<_> = response
                .headers()
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .flat_map(|v| challenge::parse(&String::from_utf8_lossy(v.as_bytes())))
                .collect();
            let is_own = is_same(url, &there);
            let authenticator = Authenticator {
                client: self.client()?,
                origin: &there,
                repository: &self.repository,
                secret: if is_own { self.secret(who)? } else { elsewhere(url, &there, who)? },
                headers: if is_own { &self.host.headers } else { &[] },
            };
            let authorization = authenticator.answer(&challenges).await?;
            self.learn(|l| drop(l.authorizations.insert(place.clone(), authorization)));
            answered.push(place);
        }
        Err(Error::new(Kind::Denied, "401 unauthorized, again and again"))
    }

    /// Credentials with an address go to that host alone; those without go to any host that the
    /// node's administrator configured for the image's registry.
    fn secret(&self, who: Option<&Credentials>) -> Result<Option<Secret>> {
        match who {
            Some(who) if who.are_for(&self.host.authority()) => who.secret(),
            _ => Ok(None),
        }
    }

    /// Sends the request and follows redirects. The configured headers go to the first origin
    /// alone, and each origin gets its own authorization: a blob store must not learn the
    /// registry's token.
    async fn follow(&self, url: &Url, query: &Query<'_>) -> Result<Response> {
        let mut at = url.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.client()?.request(query.method.clone(), at.clone());
            if let Some(accept) = query.accept {
                request = request.header(ACCEPT, accept);
            }
            request = request.header(ACCEPT_ENCODING, "identity");
            match query.to {
                Some(to) => {
                    let last = to.saturating_sub(1);
                    request = request.header(RANGE, format!("bytes={}-{last}", query.from));
                }
                None if query.from > 0 => {
                    request = request.header(RANGE, format!("bytes={}-", query.from));
                }
                None => {}
            }
            let response = http::send(self.own_headers(request, url, &at)).await?;
            let Some(next) = http::redirect(response.headers(), response.status(), &at) else {
                return Ok(response);
            };
            at = next.context("redirect")?;
        }
        Err(Error::new(Kind::Unavailable, "more than 10 redirects"))
    }

    fn own_headers(&self, mut request: RequestBuilder, url: &Url, at: &Url) -> RequestBuilder {
        if is_same(url, at) {
            for (name, value) in &self.host.headers {
                request = request.header(name.as_str(), value.as_str());
            }
        }
        match self.learned().authorizations.get(&origin(at)) {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether both are one server, which may send its plain port to its TLS port.
fn is_same(url: &Url, there: &Url) -> bool {
    let is_plain = |u: &Url| u.scheme() == "http" && u.port().is_none();
    let is_tls = |u: &Url| u.scheme() == "https" && u.port().is_none();
    origin(url) == origin(there) || (url.host() == there.host() && is_plain(url) && is_tls(there))
}

/// The secret for a host that the registry redirected to and that asks for one: none, unless the
/// credentials name that host, and the way there is as safe as the one to the registry. Whoever
/// can make a registry redirect must not thereby learn what was meant for it (the kind of
/// CVE-2020-15157).
fn elsewhere(url: &Url, there: &Url, who: Option<&Credentials>) -> Result<Option<Secret>> {
    let is_safe = there.scheme() == "https" || url.scheme() == "http";
    match who {
        Some(who) if is_safe && who.name(&authority(there)) => who.secret(),
        _ => Ok(None),
    }
}

async fn check(response: Response) -> Result<Response> {
    if response.status().is_success() { Ok(response) } else { Err(http::refusal(response).await) }
}
