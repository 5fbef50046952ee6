//! A blob as a stream that survives cut connections.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};
use reqwest::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::coding::Decoder;
use super::endpoint::{Endpoint, Query};
use super::pace::Pace;
use super::ranges::{self, Rest, Trial};
use super::retry::pause;
use super::{Answer, Registry, http};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Hint, Kind, Result};
use crate::progress::{Event, Reporter, Wait};

/// So many cuts in a row without a MiB between them end the pull.
const MOST_CUTS: u32 = 5;
const PROGRESS: u64 = 1 << 20;

/// The bytes of one blob, size and digest verified at the end.
pub(crate) struct BlobStream<'a> {
    registry: &'a Registry,
    digest: Digest,
    size: u64,
    at: u64,
    hasher: Option<Hasher>,
    response: Option<Response>,
    /// Among the layers that come from this registry now.
    place: Option<OwnedSemaphorePermit>,
    pace: Pace,
    /// Whether more than one connection may pay.
    trial: Option<Trial>,
    /// The rest, while it comes by more than one.
    rest: Option<Rest<'a>>,
    /// More than one were tried.
    is_tried: bool,
    /// For a server that codes what it sends; a range of that would be one of coded bytes.
    decoder: Option<Decoder>,
    /// What has come and is not decoded yet.
    coded: Bytes,
    is_coded: bool,
    /// It sends all or nothing.
    has_no_ranges: bool,
    /// Whether no host is to blame for the first bytes.
    is_resumed: bool,
    /// Who sent the bytes, in order.
    servers: Vec<&'a Endpoint>,
    /// Bytes of the answer to be dropped, from a server that ignored the range.
    skip: u64,
    cuts: u32,
    cut_at: u64,
    reported: u64,
    reporter: Reporter,
}

impl<'a> BlobStream<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        digest: Digest,
        size: u64,
        reporter: Reporter,
    ) -> BlobStream<'a> {
        let hasher = Some(Hasher::new(digest.algorithm()));
        let (at, skip, cuts, cut_at, reported) = (0, 0, 0, 0, 0);
        let (response, place, servers) = (None, None, Vec::new());
        let pace = Pace::new(registry.stall);
        let (trial, rest, is_tried) = (None, None, false);
        let (decoder, coded, is_coded, is_resumed) = (None, Bytes::new(), false, false);
        let has_no_ranges = false;
        BlobStream {
            registry,
            digest,
            size,
            at,
            hasher,
            response,
            place,
            pace,
            trial,
            rest,
            is_tried,
            decoder,
            coded,
            is_coded,
            has_no_ranges,
            is_resumed,
            servers,
            skip,
            cuts,
            cut_at,
            reported,
            reporter,
        }
    }

    /// The first bytes are here already, kept by an earlier pull.
    pub(crate) fn resume(&mut self, kept: &[u8]) {
        self.at += kept.len() as u64;
        self.cut_at = self.at;
        self.is_resumed = true;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(kept);
        }
    }

    /// The next bytes; `None` once all have come and are what the digest says. If they are not,
    /// the host that began is not asked again in this pull.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.at == self.size {
                return self.finish().map(|()| None).map_err(|e| self.blame(e));
            }
            match self.piece().await {
                Ok(Some(piece)) => return self.take(piece).map(Some).map_err(|e| self.blame(e)),
                Ok(None) => {}
                Err(e) if e.kind() == Kind::Unavailable => self.cut(e).await?,
                Err(e) => return Err(e),
            }
        }
    }

    /// Some bytes, or nothing yet.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        self.split();
        if let Some(rest) = &mut self.rest {
            match rest.next().await {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(e) => tracing::debug!(blob = %self.digest, "by one connection again: {e}"),
            }
            self.rest = None;
            return Ok(None);
        }
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open().await?,
        };
        let asked = Instant::now();
        let early = || Error::new(Kind::Unavailable, "the connection ended early");
        let came = match self.coded.is_empty() {
            true => http::piece(&mut response, &mut self.pace).await.map_err(|e| self.place(e))?,
            false => Some(std::mem::take(&mut self.coded)),
        };
        let mut piece: Bytes = match (came, &mut self.decoder) {
            (Some(came), None) => came,
            (Some(came), Some(decoder)) => {
                self.coded = came;
                decoder.decode(&mut self.coded).map_err(|e| self.blame(e))?.into()
            }
            (None, _) => {
                let rest = match self.decoder.take() {
                    Some(decoder) => decoder.finish().map_err(|e| self.blame(e))?,
                    None => Vec::new(),
                };
                if rest.is_empty() {
                    return Err(self.place(early()));
                }
                rest.into()
            }
        };
        self.response = Some(response);
        if let Some(trial) = &mut self.trial {
            trial.came(piece.len(), asked.elapsed());
        }
        let dropped = self.skip.min(piece.len() as u64);
        self.skip -= dropped;
        bytes::Buf::advance(&mut piece, dropped as usize);
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Goes on by more than one connection, once, where that may pay.
    fn split(&mut self) {
        let Some(rate) = self.trial.as_mut().and_then(Trial::slow_network) else { return };
        let Some(first) = self.response.take() else { return };
        (self.trial, self.is_tried) = (None, true);
        let (path, at) = (self.query().path, (self.at, self.size));
        self.rest = Some(Rest::begin(self.registry, path, at, (first, rate)));
    }

    async fn open(&mut self) -> Result<Response> {
        let query = self.query();
        let registry = self.registry;
        if self.place.is_none() {
            let downloads = Arc::clone(&registry.downloads);
            if downloads.available_permits() == 0 {
                let layer = self.digest.clone();
                self.reporter.tell(|| Event::Waiting { layer, on: Wait::Registry });
            }
            // Nobody closes it.
            self.place = downloads.acquire_owned().await.ok();
            let (layer, bytes) = (self.digest.clone(), self.at);
            self.reporter.tell(|| Event::Downloaded { layer, bytes });
        }
        let Answer { endpoint, response } = match registry.ask(&query, |h| h.may_pull).await {
            Err(e) if e.hint() == Some(Hint::NoRanges) && query.from > 0 => {
                self.has_no_ranges = true;
                registry.ask(&self.query(), |host| host.may_pull).await?
            }
            answer => answer?,
        };
        self.servers.push(endpoint);
        self.pace = Pace::new(registry.stall);
        self.decoder = None;
        self.coded = Bytes::new();
        self.skip = if response.status() == StatusCode::PARTIAL_CONTENT {
            // Without a word it is what was asked; the digest tells.
            if ranges::start(response.headers()).is_some_and(|start| start != Some(self.at)) {
                let got = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
                let why = format!("asked from {}, got {got:?}", self.at);
                return Err(self.blame(Error::invalid(why)));
            }
            0
        } else {
            let length = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
            let length = length.and_then(|v| v.trim().parse::<u64>().ok());
            // A layer that is gzip by itself is called so by some servers, which send it as it is.
            self.decoder = match length {
                Some(length) if length == self.size => None,
                _ => Decoder::of(response.headers()).map_err(|e| self.blame(e))?,
            };
            self.is_coded |= self.decoder.is_some();
            if self.decoder.is_none() && length.is_some_and(|length| length != self.size) {
                let got = length.unwrap_or_default();
                let why = format!("{got} bytes, not {}", self.size);
                return Err(self.blame(Error::invalid(why)));
            }
            self.at
        };
        let is_plain = self.skip == 0 && !self.is_coded && !self.is_tried;
        let left = self.size.saturating_sub(self.at);
        let trial = || Trial::of(&response, left, registry.ranges);
        self.trial = is_plain.then(trial).flatten();
        Ok(response)
    }

    fn query(&self) -> Query<'static> {
        let path = format!("blobs/{}", self.digest);
        let from = if self.is_coded || self.has_no_ranges { 0 } else { self.at };
        Query { from, ..Query::get(path) }
    }

    /// Adds who sent the last bytes.
    fn place(&self, why: Error) -> Error {
        match self.servers.last() {
            Some(server) => why.context(server.place(&self.query())),
            None => why,
        }
    }

    fn blame(&self, why: Error) -> Error {
        if let Some(server) = self.servers.first().filter(|_| !self.is_resumed) {
            server.distrust(&self.query(), why.clone());
        }
        self.place(why)
    }

    fn take(&mut self, piece: Bytes) -> Result<Bytes> {
        self.at += piece.len() as u64;
        if self.at > self.size {
            return Err(Error::invalid(format_args!("more than its {} bytes", self.size)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.at - self.reported >= PROGRESS || self.at == self.size {
            self.reported = self.at;
            let (layer, bytes) = (self.digest.clone(), self.at);
            self.reporter.tell(|| Event::Downloaded { layer, bytes });
        }
        Ok(piece)
    }

    async fn cut(&mut self, why: Error) -> Result<()> {
        self.cuts = if self.at - self.cut_at >= PROGRESS { 1 } else { self.cuts + 1 };
        self.cut_at = self.at;
        if self.cuts > MOST_CUTS {
            return Err(why)
                .context(format_args!("cut {MOST_CUTS} times, last at byte {}", self.at));
        }
        let (layer, bytes, reason) = (self.digest.clone(), self.at, why.to_string());
        let Some(wait) = pause(self.cuts - 1, &why) else { return Err(why) };
        self.reporter.tell(|| Event::Resumed { layer, bytes, reason });
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        match self.hasher.take() {
            Some(hasher) => self.digest.expect_equal(&hasher.finish()),
            None => Ok(()),
        }
    }
}
