//! What a pull cannot do without: the fastest inflate of its layers, and a write of what comes out.

use anyhow::{Context, Result, anyhow};
use libdeflater::Decompressor;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Layers in files.
pub struct Blob {
    /// The file of one.
    pub path: PathBuf,
    /// Its bytes.
    pub size: usize,
    /// Bytes that it has when it is unpacked.
    pub unpacked: usize,
}

/// Seconds.
pub struct Floor {
    /// libdeflate, the layers on all processors at once, from the page cache to nowhere.
    pub inflate: f64,
    /// One file with as many bytes.
    pub write: f64,
}

impl Floor {
    /// Measures both; the file is made in `folder`, and removed.
    pub fn measure(blobs: &[Blob], folder: &Path) -> Result<Self> {
        let workers = std::thread::available_parallelism()?.get().min(blobs.len());
        let (next, start) = (AtomicUsize::new(0), Barrier::new(workers));
        let times: Result<Vec<f64>> = std::thread::scope(|scope| {
            let work = || inflate(blobs, &next, &start);
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let ends = workers.into_iter().map(|worker| worker.join());
            ends.map(|end| end.map_err(|_| anyhow!("a worker panicked"))?).collect()
        });
        let inflate = times?.into_iter().fold(0.0, f64::max);
        let write = write(blobs.iter().map(|blob| blob.unpacked).sum(), folder)?;
        Ok(Self { inflate, write })
    }
}

/// How long one worker had to do.
fn inflate(blobs: &[Blob], next: &AtomicUsize, start: &Barrier) -> Result<f64> {
    let largest = |of: fn(&Blob) -> usize| blobs.iter().map(of).max().unwrap_or_default();
    // Memory that the kernel has given already: its faults are not part of the work.
    let mut from = vec![1; largest(|blob| blob.size)];
    let mut to = vec![1; largest(|blob| blob.unpacked)];
    let mut inflater = Decompressor::new();
    start.wait();
    let begin = Instant::now();
    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let from = &mut from[..blob.size];
        let read = File::open(&blob.path).and_then(|mut file| file.read_exact(from));
        read.with_context(|| format!("{}", blob.path.display()))?;
        inflater.gzip_decompress(from, &mut to[..blob.unpacked])?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

fn write(bytes: usize, folder: &Path) -> Result<f64> {
    let piece = vec![1; 1 << 20];
    let mut file = tempfile::tempfile_in(folder)?;
    let begin = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len());
        file.write_all(&piece[..now])?;
        left -= now;
    }
    Ok(begin.elapsed().as_secs_f64())
}
