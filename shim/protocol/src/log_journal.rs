//! What of a container's output is on its way into the log, so that whoever comes after a shim
//! that was killed goes on exactly where it stopped: no line twice, none lost.
//!
//! Output stays in the kernel until it is in the log. For each chunk of a pipe the shim
//!
//! 1. copies it with tee(2), which leaves it in the pipe, and turns it into lines;
//! 2. writes an [`Entry`] that names the chunk, its time and the length of the file;
//! 3. appends the lines to the file;
//! 4. moves the chunk with splice(2) out of the container's pipe into one of its own, `taken`;
//! 5. writes an entry without a chunk, with what is now open of a line;
//! 6. empties `taken`.
//!
//! One that dies after 2 and before 5 leaves the chunk in `taken` or in the pipe, or half and
//! half. The same bytes at the same time give the same lines, so whoever makes them again skips
//! what the file has grown by. In any other moment what is in the pipe is not logged, and what is
//! in `taken` is. A terminal has no pipe to copy from: of its output the chunk that is on its way
//! dies with the shim.
//!
//! Where the file takes nothing, step 3 counts the lines instead, and every entry has that count as
//! a [`Gap`] until a line in the file tells of it.
//!
//! Each stream has two places in the file, written in turn: an entry that is torn leaves the one
//! before it, which is as true.

use crate::cri_log::Stream;
use minicbor::{Decode, Decoder, Encode};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Room for an entry: an open line is at most [`crate::cri_log::MAX_PIECE`] bytes long.
const PLACE: u64 = 20 << 10;

/// Length and checksum before each entry.
const HEADER: usize = 8;

/// Where the journal of `container` is, in the run folder of its pod.
pub fn path(run_dir: &Path, container: &str) -> PathBuf {
    run_dir.join(format!("{container}.journal"))
}

/// Where one stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Counts the entries of the stream.
    sequence: u64,
    /// What is being written; `None` between chunks.
    pub chunk: Option<Chunk>,
    /// Output before all that which is missing in the log.
    pub gap: Option<Gap>,
    /// The beginning of a line that has not ended, as it was before the chunk.
    pub open: Vec<u8>,
}

/// What an entry begins with; the beginning of the open line follows it as it is.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    sequence: u64,
    #[n(1)]
    chunk: Option<Chunk>,
    #[n(2)]
    gap: Option<Gap>,
}

/// Output that is being written to the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Chunk {
    /// Bytes; 0 when what is open of a line is put down as it is.
    #[n(0)]
    pub length: u32,
    /// When it was read, nanoseconds since the epoch.
    #[n(1)]
    pub at: i64,
    /// Inode number of the log.
    #[n(2)]
    pub inode: u64,
    /// Length of the log before.
    #[n(3)]
    pub size: u64,
}

/// Output of a stream that the log has not taken and that no line in it tells of yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Gap {
    /// Bytes.
    #[n(0)]
    pub bytes: u64,
    /// Why.
    #[n(1)]
    pub why: String,
    /// Inode number of the log.
    #[n(2)]
    pub inode: u64,
    /// Length of the log: the line that tells of it begins there.
    #[n(3)]
    pub size: u64,
}

/// The shim's end.
#[derive(Debug)]
pub struct Journal {
    file: File,
    sequences: [u64; 2],
}

impl Journal {
    /// An empty journal; one that is there is emptied.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<Journal> {
        Ok(Journal { file: rrun_sys::record::create(path, 0o666)?, sequences: [0; 2] })
    }

    /// Puts down where `stream` stands.
    ///
    /// # Errors
    /// Those of the file system; what was put down before is still there.
    pub fn put(
        &mut self,
        stream: Stream,
        chunk: Option<Chunk>,
        gap: Option<Gap>,
        open: &[u8],
    ) -> io::Result<()> {
        let sequence = &mut self.sequences[stream as usize];
        *sequence += 1;
        let mut bytes = vec![0; HEADER];
        minicbor::encode(Head { sequence: *sequence, chunk, gap }, &mut bytes)
            .map_err(io::Error::other)?;
        bytes.extend_from_slice(open);
        self.file.write_all_at(&seal(bytes), place(stream, *sequence))
    }
}

fn place(stream: Stream, sequence: u64) -> u64 {
    (2 * stream as u64 + sequence % 2) * PLACE
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let (length, sum) = ((bytes.len() - HEADER) as u32, checksum(&bytes[HEADER..]));
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Where `stdout` and `stderr` stand by the journal at `path`; at the start of a line when there
/// is no journal.
///
/// # Errors
/// Those of the file system.
pub fn read(path: &Path) -> io::Result<[Entry; 2]> {
    let bytes = match rrun_sys::record::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    Ok([Stream::Stdout, Stream::Stderr].map(|stream| {
        let entries = (0..2).filter_map(|sequence| unseal(&bytes, place(stream, sequence)));
        entries.max_by_key(|entry| entry.sequence).unwrap_or_default()
    }))
}

/// The entry at a place, unless it is torn or there never was one.
fn unseal(bytes: &[u8], place: u64) -> Option<Entry> {
    let bytes = bytes.get(usize::try_from(place).ok()?..)?;
    let word = |at| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let body = bytes[HEADER.min(bytes.len())..].get(..word(0)? as usize)?;
    if checksum(body) != word(4)? {
        return None;
    }
    let mut decoder = Decoder::new(body);
    let Head { sequence, chunk, gap } = decoder.decode().ok()?;
    Some(Entry { sequence, chunk, gap, open: body.get(decoder.position()..)?.to_vec() })
}

/// FNV-1a by words of 8 bytes, folded: an open line may be long, and is put down twice a chunk.
fn checksum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|byte| u64::from(*byte)));
    let sum = rrun_sys::fnv::of_words(all);
    (sum ^ (sum >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stream::{Stderr, Stdout};

    fn chunk(length: u32) -> Option<Chunk> {
        Some(Chunk { length, at: -1, inode: u64::MAX, size: 7 })
    }

    fn journal() -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "c");
        let journal = Journal::create(&path).unwrap();
        (folder, path, journal)
    }

    #[test]
    fn the_last_entry_of_each_stream_is_read_back() {
        let (_folder, path, mut journal) = journal();
        assert_eq!(read(&path).unwrap(), [Entry::default(), Entry::default()]);
        let open = vec![b'x'; crate::cri_log::MAX_PIECE];
        for length in 1..5 {
            let why = "ENOSPC".to_owned();
            let gap = Some(Gap { bytes: length.into(), why, inode: u64::MAX, size: 7 });
            journal.put(Stdout, chunk(length), gap, &open).unwrap();
            journal.put(Stderr, None, None, &open[..length as usize]).unwrap();
        }
        let [stdout, stderr] = read(&path).unwrap();
        assert_eq!((stdout.chunk, stdout.open), (chunk(4), open));
        assert_eq!((stdout.gap.map(|gap| gap.bytes), stderr.gap), (Some(4), None));
        assert_eq!((stderr.chunk, stderr.open), (None, b"xxxx".to_vec()));
        assert_eq!(read(&path.with_extension("none")).unwrap()[0], Entry::default());
    }

    #[test]
    fn an_entry_that_is_torn_leaves_the_one_before() {
        let (_folder, path, mut journal) = journal();
        journal.put(Stdout, None, None, b"before").unwrap();
        journal.put(Stdout, chunk(9), None, b"after").unwrap();
        let whole = std::fs::read(&path).unwrap();
        let start = place(Stdout, 2) as usize;
        let end = start + whole[start..].iter().position(|byte| *byte == b'r').unwrap();
        for cut in start..=end {
            let mut torn = whole.clone();
            torn[cut..=end].fill(0);
            std::fs::write(&path, torn).unwrap();
            assert_eq!(read(&path).unwrap()[0].open, b"before", "cut at {cut}");
        }
    }

    #[test]
    fn a_link_or_a_fifo_in_the_place_of_a_journal_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, precious) = (path(folder.path(), "c"), folder.path().join("precious"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&precious, "as it was").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let refused = || Journal::create(&path).unwrap_err().to_string();
        assert_eq!(refused(), "not a regular file");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "as it was");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(refused(), "not a regular file");
    }
}
