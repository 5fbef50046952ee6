//! A large blob in several ranges at a time, from a registry that sends each connection slowly.
//!
//! One connection comes first. When most of its time goes into waiting for the network, ranges are
//! asked for beside it: one more as long as each makes the whole faster, and none any more when they
//! do not, or when one of them fails.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};
use reqwest::header::{ACCEPT_RANGES, CONTENT_RANGE, HeaderMap};
use reqwest::{Response, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::coding::Decoder;
use super::endpoint::Query;
use super::pace::Pace;
use super::{Registry, http};
use crate::error::{Context, Error, Kind, Result};

/// What is left of a blob must be so many ranges.
const LEAST: u64 = 4;
/// How much faster one more must make the whole.
const GAIN: f64 = 1.15;
/// KiB of all blobs of this process that come before their turn: they are held in memory.
static AHEAD: Semaphore = Semaphore::const_new(24 << 10);

/// In which ranges a large blob is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Of each. One connection is measured over so many first.
    pub bytes: u64,
    /// Of one blob at a time, at most; 1 is one connection that brings all of it.
    pub at_once: usize,
}

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges { bytes: 4 << 20, at_once: 4 }
    }
}

/// How long one connection is waited for.
pub(super) struct Trial {
    begun: Instant,
    waited: Duration,
    came: u64,
    /// So long it goes on.
    bytes: u64,
}

impl Trial {
    /// Of an answer with so many more bytes of a blob, if that may be asked for in ranges.
    pub(super) fn of(response: &Response, left: u64, ranges: Ranges) -> Option<Trial> {
        let headers = response.headers();
        let said = headers.get(ACCEPT_RANGES).and_then(|value| value.to_str().ok());
        let has_ranges = said.map(str::trim) == Some("bytes")
            || (said.is_none() && response.status() == StatusCode::PARTIAL_CONTENT);
        let is_large = left >= ranges.bytes.saturating_mul(LEAST);
        let may = has_ranges && is_large && ranges.at_once > 1;
        may.then(|| Trial::over(ranges.bytes))
    }

    fn over(bytes: u64) -> Trial {
        Trial { begun: Instant::now(), waited: Duration::ZERO, came: 0, bytes }
    }

    /// So many bytes came after so long a wait.
    pub(super) fn came(&mut self, bytes: usize, waited: Duration) {
        self.came += bytes as u64;
        self.waited += waited;
    }

    /// Bytes a second, once it is known that the network is what is waited for.
    pub(super) fn slow_network(&mut self) -> Option<f64> {
        if self.came < self.bytes {
            return None;
        }
        let again = Trial::over(self.bytes);
        let Trial { begun, waited, came, .. } = std::mem::replace(self, again);
        let took = begun.elapsed();
        (waited * 2 >= took).then(|| rate(came, took))
    }
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64().max(1e-3)
}

/// How many ranges there are at a time.
struct Width {
    ranges: Ranges,
    now: usize,
    /// Bytes a second with one less.
    before: f64,
    /// It stays so.
    is_settled: bool,
    measured: Trial,
}

impl Width {
    /// Two at first, beside what one connection has brought.
    fn new(before: f64, ranges: Ranges) -> Width {
        let measured = Trial::over(Width::worth(2, ranges));
        Width { ranges, now: 2, before, is_settled: false, measured }
    }

    /// Over how many bytes so many are measured.
    fn worth(count: usize, ranges: Ranges) -> u64 {
        2 * count as u64 * ranges.bytes
    }

    fn came(&mut self, bytes: u64, waited: Duration) {
        self.measured.came += bytes;
        self.measured.waited += waited;
        if self.is_settled || self.measured.came < self.measured.bytes {
            return;
        }
        let rate = self.measured.slow_network();
        self.choose(rate);
        self.measured = Trial::over(Width::worth(self.now, self.ranges));
    }

    /// By what these have brought; `None` when whoever takes the bytes is the slower one.
    fn choose(&mut self, rate: Option<f64>) {
        match rate {
            None => self.is_settled = true,
            Some(rate) if rate >= self.before * GAIN => {
                self.before = rate;
                self.is_settled = self.now == self.ranges.at_once;
                self.now = (self.now + 1).min(self.ranges.at_once);
            }
            Some(_) => {
                self.now -= 1;
                self.is_settled = true;
            }
        }
    }
}

/// A range that has come, and its place among those that came before their turn.
type Came = (Vec<Bytes>, Option<Place>);

/// A place in memory.
type Place = SemaphorePermit<'static>;

/// The rest of a blob.
pub(super) struct Rest<'a> {
    registry: &'a Registry,
    path: String,
    size: u64,
    /// The first byte that is not asked for yet.
    next: u64,
    coming: FuturesOrdered<BoxFuture<'a, Result<Came>>>,
    /// What is left of the range whose turn it is.
    ready: VecDeque<Bytes>,
    place: Option<Place>,
    width: Width,
}

impl<'a> Rest<'a> {
    /// From `at` on, where `first` is by now, which brings so many bytes a second.
    pub(super) fn begin(
        registry: &'a Registry,
        path: String,
        (at, size): (u64, u64),
        (first, rate): (Response, f64),
    ) -> Rest<'a> {
        let mut coming = FuturesOrdered::new();
        let next = at.saturating_add(registry.ranges.bytes).min(size);
        let rest = async move { Ok((read(first, next - at, registry).await?, None)) };
        coming.push_back(rest.boxed());
        let width = Width::new(rate, registry.ranges);
        let (ready, place) = (VecDeque::new(), None);
        Rest { registry, path, size, next, coming, ready, place, width }
    }

    /// The next bytes; `None` when one connection is as good, from the byte behind them on.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            self.place = None;
            self.ask();
            let asked = Instant::now();
            let Some(came) = self.coming.next().await else { return Ok(None) };
            let (pieces, place) = came?;
            let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
            self.width.came(bytes, asked.elapsed());
            (self.ready, self.place) = (pieces.into(), place);
        }
    }

    fn ask(&mut self) {
        let bytes = self.registry.ranges.bytes;
        while self.width.now > 1 && self.coming.len() < self.width.now && self.next < self.size {
            // The one whose turn it is needs no place, so that there is always one.
            let places = if self.coming.is_empty() { Some((None, None)) } else { self.places() };
            let Some((place, download)) = places else { return };
            let (from, to) = (self.next, self.next.saturating_add(bytes).min(self.size));
            self.next = to;
            let (registry, path) = (self.registry, self.path.clone());
            let range = async move {
                let pieces = range(registry, path, from, to).await?;
                drop(download);
                Ok((pieces, place))
            };
            self.coming.push_back(range.boxed());
        }
    }

    /// For one more: what nobody else waits for.
    fn places(&self) -> Option<(Option<Place>, Option<SemaphorePermit<'a>>)> {
        let kib = u32::try_from(self.registry.ranges.bytes >> 10).unwrap_or(u32::MAX);
        let place = AHEAD.try_acquire_many(kib).ok()?;
        let download = self.registry.downloads.try_acquire().ok()?;
        Some((Some(place), Some(download)))
    }
}

/// The bytes from `from` to before `to`.
async fn range(registry: &Registry, path: String, from: u64, to: u64) -> Result<Vec<Bytes>> {
    let query = Query { from, to: Some(to), ..Query::get(path) };
    let what = || format!("bytes {from} to {to}");
    let answer = registry.ask(&query, |host| host.may_pull).await.context(what())?;
    let response = answer.response;
    let is_range = response.status() == StatusCode::PARTIAL_CONTENT
        && start(response.headers()) == Some(Some(from))
        && Decoder::of(response.headers())?.is_none();
    if !is_range {
        let why = "the answer is not what was asked for";
        return Err(Error::new(Kind::Unavailable, why)).context(what());
    }
    read(response, to - from, registry).await.context(what())
}

/// So many bytes of an answer.
async fn read(mut response: Response, bytes: u64, registry: &Registry) -> Result<Vec<Bytes>> {
    let (mut pieces, mut left) = (Vec::new(), bytes);
    let mut pace = Pace::new(registry.stall);
    while left > 0 {
        let Some(mut piece) = http::piece(&mut response, &mut pace).await? else {
            return Err(Error::new(Kind::Unavailable, "the connection ended early"));
        };
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        pieces.push(piece);
    }
    Ok(pieces)
}

/// The first byte that an answer says to begin with, if it says anything.
pub(super) fn start(headers: &HeaderMap) -> Option<Option<u64>> {
    let header = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
    (!header.is_empty()).then(|| range_start(header))
}

/// The first byte of `bytes 10-19/20`.
fn range_start(header: &str) -> Option<u64> {
    let rest = header.strip_prefix("bytes")?.trim_start_matches([' ', '=', ':']);
    rest.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widths that are tried when so many ranges at a time bring so much, and the last one.
    fn widths(brings: [Option<f64>; 4]) -> Vec<usize> {
        let mut width = Width::new(brings[0].unwrap(), Ranges { at_once: 4, bytes: 1 });
        let mut tried = Vec::new();
        while !width.is_settled {
            tried.push(width.now);
            width.choose(brings[width.now - 1]);
        }
        tried.push(width.now);
        tried
    }

    #[test]
    fn one_more_range_is_kept_only_while_it_makes_the_whole_faster() {
        let table = [
            ([Some(1.0), Some(2.0), Some(3.0), Some(4.0)], vec![2, 3, 4, 4]),
            ([Some(1.0), Some(2.0), Some(2.1), Some(4.0)], vec![2, 3, 2]),
            ([Some(1.0), Some(1.1), Some(9.0), Some(9.0)], vec![2, 1]),
            ([Some(1.0), Some(0.5), Some(9.0), Some(9.0)], vec![2, 1]),
            ([Some(1.0), Some(2.0), Some(3.0), Some(3.1)], vec![2, 3, 4, 3]),
            ([Some(1.0), Some(2.0), None, None], vec![2, 3, 3]),
        ];
        for (brings, want) in table {
            assert_eq!(widths(brings), want, "{brings:?}");
        }
    }
}
