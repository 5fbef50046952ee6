//! The data of large files, on its way to the disk while more is unpacked.
//!
//! The sync before an image is recorded waits for two things: the kernel's dirty pages, and the cache
//! of the disk itself, which most disks fill at once and empty slowly (a virtual one with 260 MiB
//! takes as long for that as without the first). So both are begun early. Small files are cheaper
//! all at once.

use crate::error::Result;
use crate::tar::Archive;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::thread::{Builder, JoinHandle};

/// Bytes of a file after which the kernel is asked to write them.
const SEND: u64 = 4 << 20;
/// Bytes after which the disk is asked to empty its cache.
const FLUSH: u64 = 32 << 20;

/// What of a layer is on its way.
#[derive(Default)]
pub(super) struct WriteBack {
    /// Sent since the last flush began.
    sent: u64,
    flush: Option<JoinHandle<()>>,
}

impl WriteBack {
    /// Copies what the archive has of an entry, and returns how much it is.
    pub(super) fn copy(
        &mut self,
        file: &mut File,
        data: &mut Archive<impl BufRead>,
    ) -> Result<u64> {
        let (mut total, mut sent) = (0, 0);
        loop {
            let piece = data.data()?;
            let length = piece.len();
            if length == 0 {
                if (1..total).contains(&sent) {
                    self.send(file, sent, total - sent);
                }
                return Ok(total);
            }
            file.write_all(piece)?;
            data.consume(length);
            total += length as u64;
            if total - sent >= SEND {
                self.send(file, sent, total - sent);
                sent = total;
            }
        }
    }

    /// Sends what was written at this place.
    fn send(&mut self, file: &File, offset: u64, length: u64) {
        rrun_sys::write_back::start(file.as_fd(), offset, length);
        self.sent += length;
        let is_flushing = self.flush.as_ref().is_some_and(|flush| !flush.is_finished());
        if self.sent < FLUSH || is_flushing {
            return;
        }
        let Ok(file) = file.try_clone() else { return };
        self.sent = 0;
        // Nobody waits for it, on a disk that hangs least of all. What it cannot write the sync
        // before the record will say.
        let flush = move || drop(file.sync_data());
        self.flush = Builder::new().name("flush".to_owned()).spawn(flush).ok();
    }
}

/// A file that is written from its beginning to its end.
pub(super) struct Kept {
    file: File,
    bytes: u64,
    sent: u64,
    disk: WriteBack,
}

impl Kept {
    pub(super) fn new(file: File) -> Kept {
        Kept { file, bytes: 0, sent: 0, disk: WriteBack::default() }
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.bytes += piece.len() as u64;
        if self.bytes - self.sent >= SEND {
            self.disk.send(&self.file, self.sent, self.bytes - self.sent);
            self.sent = self.bytes;
        }
        Ok(())
    }

    /// How many it has. The kernel reads whole pages of it, and takes a last one that is not there
    /// for a failing disk: zeros are added.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.file.set_len(self.bytes.next_multiple_of(4096))?;
        Ok(self.bytes)
    }
}
