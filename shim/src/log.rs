//! The thread that writes container logs.
//!
//! The loop reads, this thread formats and writes: a log disk that is slow, frozen or full holds
//! up neither exec nor stop nor reaping. What waits is bounded by the loop, which stops reading a
//! stream while a few of its chunks are here; so a container is slowed by its log disk, as it
//! would be by its own.

use crate::poll::Key;
use nix::sys::eventfd::{EfdFlags, EventFd};
use rrun_shim_protocol::cri_log::{Formatter, Stamp, Stream};
use rrun_sys::step;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The stack of the log thread: it calls nothing deep.
const STACK: usize = 64 << 10;

/// Said to the thread.
pub enum Order {
    /// Begin a log.
    Open(Key, PathBuf),
    /// One read of a stream, at this time in nanoseconds since the epoch.
    Bytes(Key, Stream, i64, Vec<u8>),
    /// Open the file anew.
    Reopen(Key),
    /// No more output will come.
    Close(Key, i64),
}

/// Said by the thread.
#[derive(Debug)]
pub enum Done {
    /// [`Order::Open`] is carried out.
    Opened(Key, io::Result<()>),
    /// One [`Order::Bytes`] of this stream is written, or given up.
    Written(Key, Stream),
    /// [`Order::Reopen`] is carried out.
    Reopened(Key, io::Result<()>),
    /// [`Order::Close`] is carried out: everything is in the file.
    Closed(Key),
}

/// The loop's end of the thread.
pub struct LogThread {
    orders: Sender<Order>,
    done: Receiver<Done>,
    wake: Arc<EventFd>,
}

impl LogThread {
    /// Starts the thread.
    pub fn start() -> io::Result<LogThread> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (orders, queue) = channel();
        let (answers, done) = channel();
        let bell = Arc::clone(&wake);
        std::thread::Builder::new()
            .name("rrun-shim-log".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&queue, &answers, &bell))?;
        Ok(LogThread { orders, done, wake })
    }

    /// Hands an order over. The thread lives as long as the shim.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// What the thread has done since the last call.
    pub fn done(&self) -> Vec<Done> {
        let _ = self.wake.read();
        self.done.try_iter().collect()
    }

    /// Readable when [`LogThread::done`] has something.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn work(orders: &Receiver<Order>, answers: &Sender<Done>, bell: &EventFd) {
    let mut logs = BTreeMap::new();
    let mut lines = Vec::new();
    while let Ok(order) = orders.recv() {
        let done = carry_out(order, &mut logs, &mut lines);
        // A line buffer grows with its longest chunk; one burst must not stay for months.
        lines.clear();
        lines.shrink_to(16 << 10);
        if answers.send(done).is_err() {
            return;
        }
        let _ = bell.write(1);
    }
}

fn carry_out(order: Order, logs: &mut BTreeMap<Key, Log>, lines: &mut Vec<u8>) -> Done {
    match order {
        Order::Open(key, path) => {
            let opened = open(&path).map(|file| {
                let [stdout, stderr] = [Stream::Stdout, Stream::Stderr].map(Formatter::new);
                logs.insert(key, Log { path, file, stdout, stderr });
            });
            Done::Opened(key, opened)
        }
        Order::Bytes(key, stream, at, bytes) => {
            if let Some(log) = logs.get_mut(&key) {
                let formatter = match stream {
                    Stream::Stdout => &mut log.stdout,
                    Stream::Stderr => &mut log.stderr,
                };
                formatter.feed(&bytes, &Stamp::new(at), lines);
                log.write(lines);
            }
            Done::Written(key, stream)
        }
        Order::Reopen(key) => {
            let log = logs.get_mut(&key).ok_or(io::ErrorKind::NotFound);
            let reopened = log.map_err(io::Error::from).and_then(|log| {
                // The old file goes on if this fails.
                log.file = open(&log.path)?;
                Ok(())
            });
            Done::Reopened(key, reopened)
        }
        Order::Close(key, at) => {
            if let Some(mut log) = logs.remove(&key) {
                log.stdout.finish(&Stamp::new(at), lines);
                log.stderr.finish(&Stamp::new(at), lines);
                log.write(lines);
            }
            Done::Closed(key)
        }
    }
}

struct Log {
    path: PathBuf,
    file: File,
    stdout: Formatter,
    stderr: Formatter,
}

impl Log {
    /// Whole lines in one append. An error loses the lines and never the container.
    fn write(&mut self, lines: &[u8]) {
        let _ = self.file.write_all(lines);
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        let make = || DirBuilder::new().recursive(true).mode(0o755).create(folder);
        step::only("shim.log.folder", make)?;
    }
    let open = || OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    step::only("shim.log.file", open)
}
