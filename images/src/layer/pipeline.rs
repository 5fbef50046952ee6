//! One pass: compressed bytes in, verified layer out.
//!
//! Three stages, each on a thread of its own, joined by short bounded queues: the caller fetches
//! and hashes compressed bytes; one thread inflates; one hashes the uncompressed bytes and writes
//! files. Inflating is the longest, so nothing else shares its thread. Buffers go round and
//! are never freed in between: fresh pages cost more than the copy into them.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::mpsc as sync;

use bytes::{Buf, Bytes};
use rrun_sys::root::{RootDir, Rule};
use tokio::sync::mpsc;

use super::decode::{decoder, foreign, sniff};
use super::entries::{Target, apply};
use super::erofs::{self, Writer};
use super::facts::{Facts, Format};
use super::split::Splitter;
use super::unpack::Unpacker;
use super::write_back::Kept;
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Kind, Result};
use crate::tar::{Archive, EntryKind};

/// What the fetching side sends. A queue that closes without [`Feed::End`] is an abandoned pull.
pub(crate) enum Feed {
    /// Compressed bytes.
    Piece(Bytes),
    /// All bytes have come and were verified.
    End,
}

/// A layer to unpack.
pub(crate) struct Job {
    /// Of the uncompressed layer.
    pub diff_id: Digest,
    /// An empty directory.
    pub folder: PathBuf,
    /// The file of the layer's split, see [`super::split`].
    pub split: PathBuf,
    /// What it is to be.
    pub format: Format,
    /// So many bytes it has at the most when it is unpacked.
    pub most: u64,
}

const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 6;

/// Unpacks what is fed, on this thread and one more. On failure the folder's content is the
/// caller's to remove.
pub(crate) fn run(job: &Job, feed: mpsc::Receiver<Feed>) -> Result<Facts> {
    let (full_in, full_out) = sync::sync_channel::<io::Result<Vec<u8>>>(BUFFERS);
    let (empty_in, empty_out) = sync::channel::<Vec<u8>>();
    for _ in 0..BUFFERS {
        empty_in.send(Vec::with_capacity(BUFFER)).ok();
    }
    let inflater = std::thread::Builder::new()
        .name("inflate".to_owned())
        .spawn(move || {
            if let Err(e) = inflate(Fed::new(feed), &empty_out, &full_in) {
                full_in.send(Err(e)).ok();
            }
        })
        .context("start the inflating thread")?;
    let mut source = Inflated {
        full_out,
        empty_in,
        now: Vec::new(),
        at: 0,
        hasher: Some(Hasher::new(job.diff_id.algorithm())),
        kept: None,
        left: job.most,
    };
    let done = match job.format {
        Format::Directory => write_directory(job, &mut source),
        Format::Erofs => write_erofs(job, &mut source),
    };
    drop(source);
    // The writer has dropped its queues, so the inflater cannot be stuck.
    let ended = inflater.join();
    match (done, ended) {
        (Ok(facts), Ok(())) => Ok(facts),
        (Err(e), _) => Err(e),
        (Ok(_), Err(_)) => Err(Error::new(Kind::Internal, "the inflating thread died")),
    }
}

fn write_directory(job: &Job, source: &mut Inflated) -> Result<Facts> {
    let root = RootDir::open(&job.folder, Rule::InRoot).context(job.folder.display())?;
    let mut unpacker = Unpacker::new(root)?;
    let splitter = apply_all(job, Splitter::new(source, Some(&job.split)), &mut unpacker)?;
    let (facts, is_whole) = unpacker.finish()?;
    Ok(Facts { split: splitter.finish(is_whole), ..facts })
}

fn write_erofs(job: &Job, source: &mut Inflated) -> Result<Facts> {
    let files = erofs::create(&job.folder)?;
    source.kept = Some(Kept::new(files.archive));
    let mut writer = Writer::new(files.index);
    apply_all(job, Splitter::new(&mut *source, None), &mut writer)?;
    let archive = source.kept.take().map_or(Ok(0), Kept::finish).context("archive")?;
    writer.finish(archive, &job.diff_id).context("index")
}

/// Reads the archive to its end, and the stream after it.
fn apply_all<'a>(
    job: &Job,
    splitter: Splitter<&'a mut Inflated>,
    target: &mut impl Target,
) -> Result<Splitter<&'a mut Inflated>> {
    let mut archive = Archive::new(splitter);
    while let Some(entry) = archive.next_entry()? {
        let is_plain = entry.kind == EntryKind::File && entry.sparse.is_none();
        archive.source().begin_data(if is_plain { entry.size } else { 0 });
        let file = apply(target, &entry, &mut archive)?;
        archive.source().end_data(file.as_ref());
    }
    archive.drain()?;
    let mut splitter = archive.into_source();
    if let Some(hasher) = splitter.source().hasher.take() {
        job.diff_id.expect_equal(&hasher.finish()).context("uncompressed content")?;
    }
    Ok(splitter)
}

/// Fills empty buffers with uncompressed bytes until the end.
fn inflate(
    mut source: Fed,
    empty: &sync::Receiver<Vec<u8>>,
    full: &sync::SyncSender<io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let start = source.peek(4)?;
    if let Some(name) = foreign(start) {
        let why = format!("it is compressed with {name}, which is none of gzip and zstd");
        return Err(io::Error::other(Error::invalid(why)));
    }
    let how = sniff(start);
    let mut decoder = decoder(source, how)?;
    loop {
        // Either queue is closed only when the writer has given up and says why itself.
        let Ok(mut buffer) = empty.recv() else { return Ok(()) };
        buffer.resize(BUFFER, 0);
        let mut filled = 0;
        while filled < BUFFER {
            let n = decoder.read(&mut buffer[filled..]).map_err(corrupt)?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        buffer.truncate(filled);
        // An empty buffer is the end.
        if full.send(Ok(buffer)).is_err() || filled == 0 {
            return Ok(());
        }
    }
}

fn too_large() -> Error {
    Error::invalid(
        "what it unpacks to is larger than any layer of its size should be (images.largest_ratio)",
    )
}

fn corrupt(e: io::Error) -> io::Error {
    if e.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        return e;
    }
    io::Error::new(e.kind(), Error::invalid(format_args!("decompress: {e}")))
}

/// The compressed bytes as a reader.
struct Fed {
    feed: mpsc::Receiver<Feed>,
    now: Bytes,
    is_done: bool,
}

impl Fed {
    fn new(feed: mpsc::Receiver<Feed>) -> Fed {
        Fed { feed, now: Bytes::new(), is_done: false }
    }

    /// The first bytes, up to `n`, without taking them.
    fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.now.len() < n {
            let Some(more) = self.receive()? else { break };
            self.now = [self.now.as_ref(), more.as_ref()].concat().into();
        }
        Ok(&self.now)
    }

    fn receive(&mut self) -> io::Result<Option<Bytes>> {
        if self.is_done {
            return Ok(None);
        }
        match self.feed.blocking_recv() {
            Some(Feed::Piece(piece)) => Ok(Some(piece)),
            Some(Feed::End) => {
                self.is_done = true;
                Ok(None)
            }
            None => Err(io::Error::other(Error::new(Kind::Cancelled, "the pull was abandoned"))),
        }
    }
}

impl Read for Fed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

impl BufRead for Fed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.now.is_empty() {
            let Some(piece) = self.receive()? else { break };
            self.now = piece;
        }
        Ok(&self.now)
    }

    fn consume(&mut self, n: usize) {
        self.now.advance(n);
    }
}

/// `read` of a reader whose bytes lie in its buffer.
fn read_buffered(reader: &mut impl BufRead, to: &mut [u8]) -> io::Result<usize> {
    let have = reader.fill_buf()?;
    let n = have.len().min(to.len());
    to[..n].copy_from_slice(&have[..n]);
    reader.consume(n);
    Ok(n)
}

/// The uncompressed bytes as a reader that hashes what it hands on.
struct Inflated {
    full_out: sync::Receiver<io::Result<Vec<u8>>>,
    empty_in: sync::Sender<Vec<u8>>,
    now: Vec<u8>,
    at: usize,
    hasher: Option<Hasher>,
    /// Where they are kept as they come.
    kept: Option<Kept>,
    /// How many more there may be.
    left: u64,
}

impl Read for Inflated {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

impl BufRead for Inflated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.now.len() {
            let used = std::mem::take(&mut self.now);
            if used.capacity() > 0 {
                self.empty_in.send(used).ok();
            }
            self.at = 0;
            // After the end nothing comes and the queue is closed.
            self.now = self.full_out.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            let left = self.left.checked_sub(self.now.len() as u64).ok_or_else(too_large);
            self.left = left.map_err(io::Error::other)?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&self.now);
            }
            if let Some(kept) = &mut self.kept {
                kept.write(&self.now)?;
            }
        }
        Ok(&self.now[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}
