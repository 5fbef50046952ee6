//! Pulls and removals of four images beside what they cannot do without, and lists of a thousand.

use super::Rounds;
use super::cost::Cost;
use super::floor::{Blob, Floor};
use super::shapes::{NAMES, Shapes, TINY, tiny};
use super::subject::{LARGE_HOST, OwnDaemon, Subject, spec};
use super::table::Table;
use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;
use nix::unistd::sync;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use std::fs::{self, File};
use std::io::{self, sink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long the bytes of a removed image may take to be free, and how often they are asked for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// Pulls at once where they are not measured.
const WORKERS: usize = 8;

/// What is measured.
pub enum Server {
    /// rrund with layers as directories.
    Directory,
    /// rrund with layers as EROFS images.
    Erofs,
    /// containerd.
    Containerd,
    /// rrund of another build.
    Before(PathBuf),
}

impl Server {
    /// Ours, how many of them are, and the peer.
    pub fn all(before: Option<&Path>) -> (Vec<Self>, usize) {
        let peer = before.map_or(Self::Containerd, |folder| Self::Before(folder.to_owned()));
        (vec![Self::Directory, Self::Erofs, peer], 2)
    }

    /// How the table calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Erofs => "erofs",
            Self::Containerd => "containerd",
            Self::Before(_) => "before",
        }
    }

    /// A daemon with a store of its own, and a registry over this storage.
    pub async fn start(&self, storage: &Path) -> Result<Subject> {
        match self {
            Self::Directory | Self::Erofs => {
                Subject::rrund_layers(self.name(), Some(storage)).await
            }
            Self::Containerd => Subject::containerd(Some(storage)).await,
            Self::Before(folder) => Subject::before(folder, Some(storage)).await,
        }
    }
}

/// Pulls and removes each image, in turn; the table's last column is the floor.
pub async fn pulls(table: &mut Table, servers: &[Server], rounds: Rounds) -> Result<()> {
    let shapes = Shapes::get().context("the four images")?;
    for _ in 0..rounds.images {
        for name in NAMES {
            let layers = shapes.blobs(name);
            settle(&layers)?;
            let floor = Floor::measure(&layers, &std::env::temp_dir())?;
            let at = servers.len();
            table.add(&row(name, "until it answers [s]"), at, floor.inflate + floor.write);
            table.add(&row(name, "inflate alone [s]"), at, floor.inflate);
            table.add(&row(name, "write alone [s]"), at, floor.write);
            for (at, server) in servers.iter().enumerate() {
                // A daemon, and a store, of its own for each: nothing is left of the pull before.
                let subject = server.start(&shapes.storage).await?;
                settle(&layers)?;
                let life = life(table, at, &subject, name).await;
                life.with_context(|| format!("{} {name}", server.name()))?;
            }
        }
    }
    Ok(())
}

/// Nothing is left to be written, and layers are in the page cache.
///
/// The disk's own cache is dropped: ext4 without a journal passes over every inode that was freed
/// within five minutes and is still there, one by one, and files are made at a tenth of the speed
/// where many were removed before.
fn settle(layers: &[Blob]) -> Result<()> {
    sync();
    // Clean pages, those of the block device among them (Documentation/admin-guide/sysctl/vm.rst).
    let path = "/proc/sys/vm/drop_caches";
    fs::write(path, "1").context(path)?;
    for layer in layers {
        let copied = File::open(&layer.path).and_then(|mut file| io::copy(&mut file, &mut sink()));
        copied.with_context(|| format!("{}", layer.path.display()))?;
    }
    Ok(())
}

fn row(name: &str, what: &str) -> String {
    format!("pull {name}: {what}")
}

/// Pull, pull again, removal.
async fn life(table: &mut Table, at: usize, subject: &Subject, name: &str) -> Result<()> {
    let own = subject.own.as_ref().context("no daemon of the bench")?;
    let image = format!("{LARGE_HOST}/{name}:1");
    let before = free(own)?;
    let cost = Cost::begin(own.daemon.pid())?;
    let begin = Instant::now();
    subject.pull(&image).await?;
    table.add(&row(name, "until it answers [s]"), at, begin.elapsed().as_secs_f64());
    table.add(&row(name, "CPU [s]"), at, cost.cpu()?);
    table.add(&row(name, "peak of memory [MiB]"), at, cost.peak()?);
    let begin = Instant::now();
    sync();
    table.add(&row(name, "sync afterwards [s]"), at, begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    subject.pull(&image).await?;
    table.time(&row(name, "again, up to date"), at, begin.elapsed());

    let taken = before.saturating_sub(free(own)?);
    let begin = Instant::now();
    let request = RemoveImageRequest { image: Some(spec(&image)) };
    subject.answer("RemoveImage", subject.client.remove_image(request)).await?;
    table.time(&format!("remove {name}: until it answers"), at, begin.elapsed());
    while free(own)? < before.saturating_sub(taken / 20) && begin.elapsed() < PATIENCE {
        tokio::time::sleep(POLL).await;
    }
    let row = format!("remove {name}: until its bytes are free [s]");
    table.add(&row, at, begin.elapsed().as_secs_f64());
    Ok(())
}

/// Free bytes of the store's file system.
fn free(own: &OwnDaemon) -> Result<u64> {
    let found = statvfs(own.root()).with_context(|| format!("{}", own.root().display()))?;
    Ok(found.blocks_free() * found.fragment_size())
}

/// What the kubelet asks for beside a thousand images, in turn.
pub async fn lists(table: &mut Table, servers: &[Server], rounds: Rounds) -> Result<()> {
    let storage = tiny().context("the small images")?;
    let mut subjects = Vec::new();
    for server in servers {
        let subject = Arc::new(server.start(&storage).await?);
        pull_all(&subject).await?;
        subjects.push(subject);
    }
    sync();
    // The first is not counted.
    for round in 0..=rounds.lists {
        for (at, subject) in subjects.iter().enumerate() {
            let times = ask(subject, round).await?;
            let calls = ["ListImages", "ImageStatus", "ImageFsInfo", "Version"];
            for (call, time) in calls.into_iter().zip(times).filter(|_| round > 0) {
                table.time(&format!("{call} of 1,000"), at, time);
            }
        }
    }
    Ok(())
}

async fn pull_all(subject: &Arc<Subject>) -> Result<()> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let subject = subject.clone();
        workers.spawn(async move {
            for image in (worker..TINY).step_by(WORKERS) {
                subject.pull(&format!("{LARGE_HOST}/tiny-{image}:1")).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// How long each of the calls takes, and beside them one that looks nothing up.
async fn ask(subject: &Subject, round: usize) -> Result<[Duration; 4]> {
    let client = &subject.client;
    let begin = Instant::now();
    let all = subject.answer("ListImages", client.list_images(Default::default())).await?;
    let list = begin.elapsed();
    ensure!(all.images.len() >= TINY, "{}: {} images", subject.name, all.images.len());
    let image = format!("{LARGE_HOST}/tiny-{}:1", round * 19 % TINY);
    let request = ImageStatusRequest { image: Some(spec(&image)), verbose: false };
    let begin = Instant::now();
    let found = subject.answer("ImageStatus", client.image_status(request)).await?;
    let status = begin.elapsed();
    ensure!(found.image.is_some(), "{}: no {image}", subject.name);
    let begin = Instant::now();
    subject.answer("ImageFsInfo", client.image_fs_info(Default::default())).await?;
    let info = begin.elapsed();
    let begin = Instant::now();
    subject.answer("Version", client.version(Default::default())).await?;
    Ok([list, status, info, begin.elapsed()])
}
