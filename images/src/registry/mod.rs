//! The registry protocol (OCI distribution 1.1, Docker registry v2), as a pull needs it.
//!
//! Our own client over reqwest and not `oci-client`: that crate knows one host per image, while
//! mirrors with their own CA, headers, paths and `ns=`, fall-back from host to host, and resuming
//! a stream at another host are most of what happens here; what would be left of it is two
//! requests and the token exchange.

pub(crate) mod auth;
pub(crate) mod blob;
pub(crate) mod challenge;
mod coding;
mod downloads;
mod endpoint;
mod folder;
mod host;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod pace;
pub(crate) mod ranges;
mod retry;
mod tls;

use std::sync::Arc;

use reqwest::{Method, Response};

pub(crate) use blob::BlobStream;
pub(crate) use downloads::Registries;
use endpoint::{Endpoint, Query};
use host::Host;
use pace::Stall;
use ranges::Ranges;
use retry::{back_off, pause};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::json;
use crate::manifest::{self, Descriptor};
use crate::reference::Reference;
use crate::store::Config;

/// Rounds over all hosts, as long as one of them may yet answer.
const ROUNDS: u32 = 4;

/// The hosts of one image's registry, asked in order.
pub(crate) struct Registry {
    endpoints: Vec<Endpoint>,
    credentials: Option<Credentials>,
    /// How slow a blob may come.
    stall: Stall,
    /// And in which ranges.
    ranges: Ranges,
    /// A place for each layer that comes.
    downloads: Arc<Semaphore>,
}

/// An answer and who gave it.
struct Answer<'a> {
    endpoint: &'a Endpoint,
    response: Response,
}

/// Asks a registry, by what is configured for it, whether it takes credentials. Its mirrors are not
/// asked, which may let everybody in.
///
/// # Errors
/// `Denied` if it does not take them; else why it cannot be asked.
pub async fn login(config: &Config, registry: &str, who: &Credentials) -> Result<()> {
    let what = format!("login {registry}");
    let certs_dirs = config.certs_dirs.borrow().clone();
    let mut hosts = folder::hosts_for(&certs_dirs, registry).context(&what)?;
    // The last one is the registry itself, as a rule.
    let none = || Error::invalid("it names no host").context(&what);
    let endpoint = Endpoint::new(hosts.pop().ok_or_else(none)?, "", &Arc::default());
    let query = Query::get(String::new());
    endpoint.ask(&query, Some(who)).await.map(drop).context(&what)
}

impl Registry {
    /// Reads the folders for the reference's registry.
    pub(crate) fn open(
        config: &Config,
        reference: &Reference,
        credentials: Option<&Credentials>,
        known: &Registries,
    ) -> Result<Registry> {
        let certs_dirs = config.certs_dirs.borrow().clone();
        let hosts = folder::hosts_for(&certs_dirs, reference.registry())?;
        let endpoints =
            hosts.into_iter().map(|h| Endpoint::new(h, reference.repository(), &known.down));
        Ok(Registry {
            endpoints: endpoints.collect(),
            credentials: credentials.cloned(),
            stall: config.stall,
            ranges: config.ranges,
            downloads: known.downloads.at(reference.registry()),
        })
    }

    /// The digest of what the reference names, by one HEAD, which public registries do not count
    /// as a pull, with its type and size, if the answer tells them; `None` if this registry cannot
    /// tell it in that way: then a GET is the answer, or tells what is wrong.
    pub(crate) async fn current(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let query = Query {
            method: Method::HEAD,
            accept: Some(manifest::ACCEPT),
            ..Query::get(format!("manifests/{}", reference.target()))
        };
        let may = if reference.digest().is_some() {
            |h: &Host| h.may_pull
        } else {
            |h: &Host| h.may_resolve
        };
        match self.ask(&query, may).await {
            Ok(answer) => {
                // That it is there is all that was asked of a digest.
                let digest = reference.digest().cloned();
                let digest = digest.or_else(|| said_digest(&answer.response));
                Ok(digest.map(|digest| described(digest, &answer.response)))
            }
            Err(e) if e.kind() == Kind::Unavailable => Err(e).context("manifest"),
            Err(_) => Ok(None),
        }
    }

    /// The manifest or index that the reference names, and its digest.
    pub(crate) async fn resolve(&self, reference: &Reference) -> Result<(Digest, Vec<u8>)> {
        if let Some(digest) = reference.digest() {
            return Ok((digest.clone(), self.manifest(digest, None).await?));
        }
        // A host that may resolve but not pull is asked for the digest alone.
        let path = format!("manifests/{}", reference.target());
        let mut query = Query { accept: Some(manifest::ACCEPT), ..Query::get(path) };
        if !self.endpoints.iter().any(|e| e.host.may_resolve && e.host.may_pull) {
            query.method = Method::HEAD;
        }
        loop {
            let answer = self.ask(&query, |h| h.may_resolve).await.context("manifest")?;
            let said = said_digest(&answer.response);
            if query.method == Method::HEAD || !answer.endpoint.host.may_pull {
                let none = || Error::invalid("manifest: no digest in the answer");
                let digest = said.ok_or_else(none)?;
                return Ok((digest.clone(), self.manifest(&digest, None).await?));
            }
            let kind = content_type(&answer.response).unwrap_or("no type").to_owned();
            let bytes = match http::body(answer.response, manifest::LARGEST).await {
                Err(e) if e.kind() == Kind::Invalid => {
                    answer.endpoint.distrust(&query, e);
                    continue;
                }
                done => done.context("manifest")?,
            };
            let is_said = said.as_ref().map_or(Ok(()), |said| said.verify(&bytes));
            // A proxy, or whoever wants somebody to log in first, answers a page with 200.
            let is_document = || match json::parse(&bytes) {
                Ok(Value::Object(_)) => Ok(()),
                _ => Err(Error::invalid(format_args!("the answer ({kind}) is no manifest"))),
            };
            match is_said.and_then(|()| is_document()) {
                Ok(()) => return Ok((said.unwrap_or_else(|| Digest::of(&bytes)), bytes)),
                Err(e) => answer.endpoint.distrust(&query, e),
            }
        }
    }

    /// How many hosts may be asked for content.
    pub(crate) fn trusted(&self) -> usize {
        let is_trusted = |e: &&Endpoint| e.host.may_pull && e.distrusted().is_none();
        self.endpoints.iter().filter(is_trusted).count()
    }

    /// A manifest by its digest, verified.
    pub(crate) async fn manifest(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
        self.content(format!("manifests/{digest}"), digest, size).await.context("manifest")
    }

    /// A small blob by its digest, verified.
    pub(crate) async fn small_blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        self.content(format!("blobs/{digest}"), digest, Some(size)).await
    }

    async fn content(&self, path: String, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
        let accept = Some(manifest::ACCEPT).filter(|_| path.starts_with("manifests/"));
        let query = Query { accept, ..Query::get(path) };
        let mut failures = 0;
        loop {
            let Answer { endpoint, response } = self.ask(&query, |h| h.may_pull).await?;
            let bytes = match http::body(response, manifest::LARGEST).await {
                Err(e) if e.kind() == Kind::Unavailable && failures < ROUNDS => {
                    tokio::time::sleep(back_off(failures)).await;
                    failures += 1;
                    continue;
                }
                Err(e) if e.kind() == Kind::Invalid => {
                    endpoint.distrust(&query, e);
                    continue;
                }
                done => done?,
            };
            match verify(&bytes, digest, size) {
                Ok(()) => return Ok(bytes),
                Err(e) => endpoint.distrust(&query, e),
            }
        }
    }

    /// Asks one host after the other; again, after a pause, those that were unwell, as long as the
    /// last one was. Hosts that could not be reached a moment ago come after the others, so that a
    /// dead mirror does not cost its dial timeout at every request.
    async fn ask(&self, query: &Query<'_>, may: fn(&Host) -> bool) -> Result<Answer<'_>> {
        let mut failures: Vec<Option<Error>> =
            self.endpoints.iter().map(Endpoint::distrusted).collect();
        for round in 0..ROUNDS {
            let (down, up): (Vec<usize>, Vec<usize>) =
                (0..self.endpoints.len()).partition(|at| self.endpoints[*at].is_down());
            let is_down = |at: &usize| down.contains(at);
            for at in up.iter().chain(&down) {
                let endpoint = &self.endpoints[*at];
                let is_settled =
                    failures[*at].as_ref().is_some_and(|e| e.kind() != Kind::Unavailable);
                let is_needless = is_down(at) && self.decision(&failures, may).is_err();
                if is_settled || is_needless || !may(&endpoint.host) {
                    continue;
                }
                match endpoint.ask(query, self.credentials.as_ref()).await {
                    Ok(response) => return Ok(Answer { endpoint, response }),
                    Err(e) => failures[*at] = Some(e),
                }
            }
            let Ok(last) = self.decision(&failures, may) else { break };
            match last.and_then(|e| pause(round, e)) {
                Some(pause) if round + 1 < ROUNDS => tokio::time::sleep(pause).await,
                _ => break,
            }
        }
        Err(tell_all(failures.into_iter().flatten().collect()))
    }

    /// What the last host said that may be asked: it is the registry itself, as a rule. What it
    /// refuses is refused, however unwell its mirrors are, and is the error here.
    fn decision<'f>(
        &self,
        failures: &'f [Option<Error>],
        may: fn(&Host) -> bool,
    ) -> Result<Option<&'f Error>, &'f Error> {
        let mut answers = self.endpoints.iter().zip(failures).rev();
        match answers.find(|(e, _)| may(&e.host)).and_then(|(_, failure)| failure.as_ref()) {
            Some(e) if e.kind() != Kind::Unavailable => Err(e),
            other => Ok(other),
        }
    }
}

/// What the answer says its content's digest is; one that cannot be read says nothing.
fn said_digest(response: &Response) -> Option<Digest> {
    response.headers().get("docker-content-digest")?.to_str().ok()?.trim().parse().ok()
}

/// What the answer says that it is.
fn content_type(response: &Response) -> Option<&str> {
    response.headers().get("content-type")?.to_str().ok()?.split(';').next().map(str::trim)
}

/// What the answer says of a document. Of one that came otherwise than it was asked for, that is
/// nothing.
fn described(digest: Digest, response: &Response) -> Descriptor {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::trim);
    let size = header("content-length").and_then(|length| length.parse().ok());
    let size = size.filter(|_| header("content-encoding").is_none()).unwrap_or(0);
    let media_type = content_type(response).unwrap_or_default().to_owned();
    Descriptor::of(digest).with(media_type, size)
}

fn verify(bytes: &[u8], digest: &Digest, size: Option<u64>) -> Result<()> {
    match size {
        Some(size) if size != bytes.len() as u64 => {
            Err(Error::invalid(format_args!("{} bytes, not {size}", bytes.len())))
        }
        _ => digest.verify(bytes),
    }
}

/// One error for all hosts. The last host is the registry itself, as a rule, and its kind counts.
fn tell_all(failures: Vec<Error>) -> Error {
    match failures.as_slice() {
        [] => Error::invalid("hosts.toml allows no host for this"),
        [one] => one.clone(),
        [.., last] => {
            let all: Vec<String> = failures.iter().map(Error::to_string).collect();
            let why = format!("all {} hosts failed: {}", all.len(), all.join("; "));
            Error::new(last.kind(), why).with_hint(last.hint())
        }
    }
}
