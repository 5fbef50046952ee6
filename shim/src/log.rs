//! The thread that writes container logs.
//!
//! The loop reads, this thread formats and writes: a log disk that is slow, frozen or full holds
//! up neither exec nor stop nor reaping. What waits is bounded by the loop, which stops reading a
//! stream while a chunk of it is here; so a container is slowed by its log disk, as it would be by
//! its own.
//!
//! A chunk stays in its pipe until it is in the log, see [`rrun_shim_protocol::log_journal`]: a
//! shim that is killed takes nothing of it away.

use crate::poll::Key;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice, tee};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rrun_error::reason;
use rrun_shim_protocol::cri_log::{Formatter, Stream, Timestamp, output_in};
use rrun_shim_protocol::log_file;
use rrun_shim_protocol::log_journal::{Chunk, Gap, Journal};
use rrun_sys::step;
use rrun_sys::time::now;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long the beginning of a line waits for its end before it goes into the log as a piece.
const OPEN: Duration = Duration::from_millis(250);

/// The stack of the log thread: it calls nothing deep.
const STACK: usize = 64 << 10;

/// Said to the thread.
pub enum LogCommand {
    /// Begin a log, and its journal.
    Open(Key, PathBuf, PathBuf),
    /// One read of a stream.
    Bytes(Key, Stream, Read),
    /// Open the file anew.
    Reopen(Key),
    /// No more output will come; with what is to be said of that in the log.
    Close(Key, i64, Option<String>),
}

/// Makes reads from, or writes to, `fd` non-blocking.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Output of a container.
pub struct Read {
    /// Nanoseconds since the epoch.
    pub at: i64,
    /// What it has written.
    pub bytes: Vec<u8>,
    /// The pipe that still holds it; a terminal does not.
    pub pipe: Option<Arc<OwnedFd>>,
}

/// Said by the thread.
#[derive(Debug)]
pub enum Done {
    /// [`LogCommand::Open`] is carried out.
    Opened(Key, io::Result<()>),
    /// One [`LogCommand::Bytes`] of this stream is written, but for what is missing by now.
    Written(Key, Stream, NotTaken),
    /// [`LogCommand::Reopen`] is carried out.
    Reopened(Key, io::Result<()>),
    /// [`LogCommand::Close`] is carried out: everything is in the file, but for what is missing.
    Closed(Key, NotTaken),
}

/// Output that the file has not taken since this was last told.
#[derive(Debug, Default)]
pub struct NotTaken {
    /// Bytes of output.
    pub bytes: u64,
    /// Why the last of them were not, if there are any.
    pub why: String,
}

/// The loop's end of the thread.
pub struct LogThread {
    commands: Sender<LogCommand>,
    done: Receiver<Done>,
    wake: Arc<EventFd>,
    /// For a copy of what is in a container's pipe; empty between two.
    copy: (PipeReader, PipeWriter),
    tee: Arc<PipeReader>,
}

impl LogThread {
    /// Starts the thread.
    pub fn start() -> io::Result<LogThread> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (commands, queue) = channel();
        let (answers, done) = channel();
        let (reader, writer) = io::pipe()?;
        set_nonblocking(&reader)?;
        let tee = Arc::new(reader);
        let pipe = TeePipe { reader: Arc::clone(&tee), writer };
        let bell = Arc::clone(&wake);
        std::thread::Builder::new()
            .name("rrun-shim-log".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&queue, (&answers, &bell), &pipe))?;
        Ok(LogThread { commands, done, wake, copy: io::pipe()?, tee })
    }

    /// Hands a command over. The thread lives as long as the shim.
    pub fn send(&self, command: LogCommand) {
        let _ = self.commands.send(command);
    }

    /// What the thread has done since the last call.
    pub fn done(&self) -> Vec<Done> {
        let _ = self.wake.read();
        self.done.try_iter().collect()
    }

    /// Reads what is in `pipe` and leaves it there.
    pub fn peek(&self, pipe: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let (reader, writer) = &self.copy;
        let seen = tee(pipe, writer, buffer.len(), SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let mut read = 0;
        // A container may have made packets of its writes (O_DIRECT): each is a read of its own,
        // and one left behind would get into another container's log.
        while read < seen {
            read += nix::unistd::read(reader, &mut buffer[read..seen])?;
        }
        Ok(read)
    }

    /// The pipe that output passes on its way out of the containers' own.
    pub fn tee(&self) -> io::Result<OwnedFd> {
        self.tee.as_fd().try_clone_to_owned()
    }

    /// Readable when [`LogThread::done`] has something.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn work(
    commands: &Receiver<LogCommand>,
    (answers, bell): (&Sender<Done>, &EventFd),
    tee: &TeePipe,
) {
    let mut logs = BTreeMap::new();
    let mut lines = Vec::new();
    loop {
        let command = match idle_since(&logs) {
            None => commands.recv().ok(),
            Some(since) => match commands.recv_timeout(OPEN.saturating_sub(since.elapsed())) {
                Err(RecvTimeoutError::Timeout) => {
                    put_down_open_lines(&mut logs, &mut lines);
                    continue;
                }
                other => other.ok(),
            },
        };
        let Some(command) = command else { return };
        let done = carry_out(command, &mut logs, &mut lines, tee);
        // A line buffer grows with its longest chunk; one burst must not stay for months.
        lines.clear();
        lines.shrink_to(16 << 10);
        if answers.send(done).is_err() {
            return;
        }
        let _ = bell.write(1);
    }
}

/// Since when the line has been open that has been for longest.
fn idle_since(logs: &BTreeMap<Key, Log>) -> Option<Instant> {
    logs.values().flat_map(|log| log.open_since).flatten().min()
}

/// Puts lines down that have been open for long: what was written is in the log for whoever reads
/// it, though its end may come much later.
fn put_down_open_lines(logs: &mut BTreeMap<Key, Log>, lines: &mut Vec<u8>) {
    for log in logs.values_mut() {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if log.open_since[stream as usize].is_some_and(|since| since.elapsed() >= OPEN) {
                log.put_down(stream, now(), lines);
            }
        }
    }
}

fn carry_out(
    command: LogCommand,
    logs: &mut BTreeMap<Key, Log>,
    lines: &mut Vec<u8>,
    tee: &TeePipe,
) -> Done {
    match command {
        LogCommand::Open(key, path, journal) => {
            let opened = Log::open(path, journal).map(|log| drop(logs.insert(key, log)));
            Done::Opened(key, opened)
        }
        LogCommand::Bytes(key, stream, read) => {
            let append = |log: &mut Log| {
                log.append(stream, read, lines, tee);
                std::mem::take(&mut log.not_taken)
            };
            Done::Written(key, stream, logs.get_mut(&key).map(append).unwrap_or_default())
        }
        LogCommand::Reopen(key) => {
            let none = || io::Error::new(io::ErrorKind::NotFound, "it has no log");
            let reopened = logs.get_mut(&key).ok_or_else(none).and_then(|log| {
                // The old file goes on if this fails.
                log.file = open(&log.path)?;
                log.is_torn = false;
                log.put_both();
                Ok(())
            });
            Done::Reopened(key, reopened)
        }
        LogCommand::Close(key, at, words) => {
            let close = |log: Log| log.close(at, words.as_deref(), lines);
            Done::Closed(key, logs.remove(&key).map(close).unwrap_or_default())
        }
    }
}

/// The pipe that chunks pass on their way out.
struct TeePipe {
    reader: Arc<PipeReader>,
    writer: PipeWriter,
}

impl TeePipe {
    /// Moves as much as `bytes` is long out of `pipe`.
    fn take(&self, pipe: &OwnedFd, bytes: &mut [u8]) {
        let mut left = bytes.len();
        while left > 0 {
            let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
            match splice(pipe, None, &self.writer, None, left, flags) {
                Ok(count) if count > 0 => left -= count,
                // It must go, or it would be logged for ever.
                _ => match nix::unistd::read(pipe, &mut bytes[..left]) {
                    Ok(count) if count > 0 => left -= count,
                    _ => return,
                },
            }
        }
    }

    fn empty(&self, bytes: &mut [u8]) {
        while nix::unistd::read(&self.reader, bytes).is_ok_and(|count| count > 0) {}
    }
}

struct Log {
    path: PathBuf,
    file: File,
    journal: Journal,
    journal_path: PathBuf,
    /// Of stdout and of stderr.
    formatters: [Formatter; 2],
    /// Since when nothing was added to a line that has not ended, of each.
    open_since: [Option<Instant>; 2],
    /// What is missing after the file's last line, of each, and why, until a line says so.
    gap: Option<([u64; 2], String)>,
    /// The file ends with half a line.
    is_torn: bool,
    /// What the loop has not been told of.
    not_taken: NotTaken,
}

impl Log {
    fn open(path: PathBuf, journal_path: PathBuf) -> io::Result<Log> {
        let file = open(&path)?;
        let create = || Journal::create(&journal_path);
        let journal = step::run("shim.log.journal", create)?;
        let formatters = [Stream::Stdout, Stream::Stderr].map(Formatter::new);
        Ok(Log {
            path,
            file,
            journal,
            journal_path,
            formatters,
            open_since: [None; 2],
            gap: None,
            is_torn: false,
            not_taken: NotTaken::default(),
        })
    }

    /// In the order that the journal's module lays down. A journal that cannot be written costs
    /// the shim's heir its place, nothing else.
    fn append(&mut self, stream: Stream, read: Read, lines: &mut Vec<u8>, tee: &TeePipe) {
        let Read { at, mut bytes, pipe } = read;
        self.tell_gap(at);
        if pipe.is_some() {
            self.begin(stream, at, bytes.len());
        }
        let formatter = &mut self.formatters[stream as usize];
        formatter.feed(&bytes, &Timestamp::new(at), lines);
        self.write(stream, lines);
        if let Some(pipe) = &pipe {
            tee.take(pipe, &mut bytes);
        }
        let is_open = !self.formatters[stream as usize].open().is_empty();
        self.open_since[stream as usize] = is_open.then(Instant::now);
        self.put(stream, None);
        tee.empty(&mut bytes);
    }

    fn close(mut self, at: i64, words: Option<&str>, lines: &mut Vec<u8>) -> NotTaken {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.put_down(stream, at, lines);
        }
        self.tell_gap(at);
        if let Some(words) = words.filter(|_| self.gap.is_none()) {
            let formatter = &mut self.formatters[Stream::Stderr as usize];
            formatter.feed(format!("{words}\n").as_bytes(), &Timestamp::new(at), lines);
            self.write(Stream::Stderr, lines);
            lines.clear();
        }
        let remove = || std::fs::remove_file(&self.journal_path);
        let _ = step::run("shim.log.journal-removed", remove);
        self.not_taken
    }

    /// Writes what is open of a line, as a piece.
    fn put_down(&mut self, stream: Stream, at: i64, lines: &mut Vec<u8>) {
        self.tell_gap(at);
        self.begin(stream, at, 0);
        self.formatters[stream as usize].finish(&Timestamp::new(at), lines);
        self.write(stream, lines);
        lines.clear();
        self.open_since[stream as usize] = None;
        self.put(stream, None);
    }

    fn begin(&mut self, stream: Stream, at: i64, length: usize) {
        let Ok(file) = self.file.metadata() else { return };
        let chunk = Chunk { length: length as u32, at, inode: file.ino(), size: file.size() };
        self.put(stream, Some(chunk));
    }

    /// Puts down where a stream stands, and what is missing of it.
    fn put(&mut self, stream: Stream, chunk: Option<Chunk>) {
        let gap = self.gap.as_ref().filter(|(bytes, _)| bytes[stream as usize] > 0);
        let gap = gap.and_then(|(bytes, why)| {
            let (bytes, why, file) = (bytes[stream as usize], why.clone(), self.file.metadata());
            file.map(|file| Gap { bytes, why, inode: file.ino(), size: file.size() }).ok()
        });
        let _ = self.journal.put(stream, chunk, gap, self.formatters[stream as usize].open());
    }

    /// The same between chunks, where what is missing of both is another by now.
    fn put_both(&mut self) {
        self.put(Stream::Stdout, None);
        self.put(Stream::Stderr, None);
    }

    /// Whole lines in one append. An error loses lines, which are counted, and never the container.
    fn write(&mut self, stream: Stream, lines: &[u8]) {
        // What comes after a gap is written when the line is there that tells of it.
        let (bytes, why) = match &self.gap {
            Some((_, why)) => (output_in(lines), why.clone()),
            None => match log_file::append(&self.file, lines) {
                Ok(()) => return,
                Err(refused) => {
                    self.is_torn |= refused.torn;
                    (refused.bytes, reason(&refused.error))
                }
            },
        };
        self.gap.get_or_insert(([0; 2], why.clone())).0[stream as usize] += bytes;
        self.not_taken = NotTaken { bytes: self.not_taken.bytes + bytes, why };
    }

    /// Says in the log what is missing at its end, if it takes that by now. Before [`Log::begin`],
    /// whose length of the file has nothing but lines of its chunk after it.
    fn tell_gap(&mut self, at: i64) {
        let Some((bytes, why)) = &self.gap else { return };
        let mut line = if self.is_torn { b"\n".to_vec() } else { Vec::new() };
        line.extend(log_file::gap_line(bytes.iter().sum(), why, &Timestamp::new(at)));
        let written = log_file::append(&self.file, &line);
        self.is_torn = written.as_ref().is_err_and(|refused| refused.torn || self.is_torn);
        if written.is_ok() {
            self.gap = None;
            self.put_both();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("open log {}: {}", path.display(), reason(&error)))
    };
    if let Some(folder) = path.parent() {
        let make = || DirBuilder::new().recursive(true).mode(0o755).create(folder);
        step::run("shim.log.folder", make).map_err(named)?;
    }
    step::run("shim.log.file", || log_file::open(path)).map_err(named)
}

#[cfg(test)]
mod tests;
