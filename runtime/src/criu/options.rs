//! What a caller may want of a dump and of a restore alike.

use super::message::{CgroupsMode, NetworkLock, Wanted};
use crate::{Context, Result};
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What a caller may want of a dump and of a restore alike.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub criu: PathBuf,
    /// Folder of the image, which is there.
    pub images: PathBuf,
    /// Folder of the log and of what is written on the way, made if it is missing; without one it
    /// is the image's.
    pub work: Option<PathBuf>,
    /// A file of criu's own options, which go before these; it may be missing.
    pub config: Option<PathBuf>,
    /// The log stays, and errors say where it is.
    pub log_stays: bool,
    /// Connections of TCP are part of the image.
    pub tcp_established: bool,
    /// Unix sockets may be connected to somebody outside.
    pub ext_unix_sk: bool,
    /// The session, or the terminal, may be one of outside.
    pub shell_job: bool,
    /// Locks on files are part of the image.
    pub file_locks: bool,
    /// Memory of an earlier image that a later one has is removed there.
    pub auto_dedup: bool,
    /// Memory is fetched when it is used.
    pub lazy_pages: bool,
    /// What becomes of control groups; unless it is said, those that are missing are made, or all are
    /// left out where the container shares one with others. A restore without them is in the caller's
    /// namespace of control groups.
    pub cgroups: Option<CgroupsMode>,
}

impl Options {
    /// Those for a container of a pod: what one of them dumps, another restores.
    pub fn of_pod(criu: PathBuf, images: PathBuf, work: PathBuf) -> Options {
        Options {
            criu,
            images,
            work: Some(work),
            config: Some(PathBuf::from(super::CONFIG)),
            log_stays: false,
            tcp_established: false,
            ext_unix_sk: true,
            shell_job: false,
            // Whoever holds locks goes on holding them.
            file_locks: true,
            auto_dedup: false,
            lazy_pages: false,
            cgroups: None,
        }
    }
}

/// The folders of a request, open for as long as it lasts.
pub(super) struct Folders {
    images: File,
    work: Option<File>,
    /// Where the log is.
    pub(super) log: PathBuf,
    /// It is there when an error is read.
    pub(super) log_stays: bool,
}

impl Folders {
    /// Opens them as `worker` sees them, a process whose mounts may be its own: whoever mounts below
    /// a folder must see that one.
    pub(super) fn open(options: &Options, log: &str, worker: i32) -> Result<Folders> {
        let images = open(&options.images, worker)?;
        if let Some(work) = &options.work {
            let made = DirBuilder::new().mode(0o700).recursive(true).create(work);
            made.context(|| format!("make {}", work.display()))?;
        }
        let work = options.work.as_deref().map(|work| open(work, worker)).transpose()?;
        let log = options.work.as_ref().unwrap_or(&options.images).join(log);
        Ok(Folders { images, work, log, log_stays: options.log_stays })
    }
}

fn open(path: &Path, worker: i32) -> Result<File> {
    let opened = std::fs::canonicalize(path).and_then(|path| {
        let seen = Path::new("/proc").join(worker.to_string()).join("root");
        let file = File::open(seen.join(path.strip_prefix("/").unwrap_or(&path)))?;
        match file.metadata()?.is_dir() {
            true => Ok(file),
            false => Err(ErrorKind::NotADirectory.into()),
        }
    });
    opened.context(|| format!("open {}", path.display()))
}

impl Options {
    /// The request that says all this.
    pub(super) fn wanted(&self, folders: &Folders, cgroups: CgroupsMode) -> Wanted {
        // Without connections in the image there are none to hold still, and the host need have no
        // program that could.
        let lock = match self.tcp_established {
            true => NetworkLock::Nftables,
            false => NetworkLock::Skip,
        };
        Wanted {
            images: folders.images.as_raw_fd(),
            work: folders.work.as_ref().map(AsRawFd::as_raw_fd),
            log_level: Some(4),
            log_file: folders.log.file_name().and_then(|name| name.to_str()).map(str::to_owned),
            config_file: self.config.as_ref().map(|path| path.display().to_string()),
            tcp_established: Some(self.tcp_established),
            ext_unix_sk: Some(self.ext_unix_sk),
            shell_job: Some(self.shell_job),
            file_locks: Some(self.file_locks),
            auto_dedup: Some(self.auto_dedup),
            lazy_pages: Some(self.lazy_pages),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(cgroups.into()),
            network_lock: Some(lock.into()),
            orphan_pts_master: Some(true),
            notify_scripts: Some(true),
            // A network is made by somebody else than the runtime.
            empty_namespaces: Some(libc::CLONE_NEWNET as u32),
            ..Wanted::default()
        }
    }
}
