//! The verb `checkpoint`.

use crate::cli::{Checkpoint, Image};
use crate::id::Id;
use crate::log::Log;
use crate::record::Folder;
use crate::status::{self, Status};
use crate::{delete, hooks, invalid};
use rrun_runtime::criu::{self, Dump, Options};
use rrun_runtime::{Context, Result};
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The annotation by which a container names a file of criu's own options.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// Writes what a container's processes are into an image. The container ends with that, unless it is
/// to go on.
pub fn checkpoint(root: &Path, options: &Checkpoint, log: &Log) -> Result<()> {
    let id = &options.id;
    dumped(root, id, options).context(|| format!("checkpoint {id}"))?;
    if !options.leave_running
        && !options.pre_dump
        && let Some(record) = delete::delete(root, id, true)?
    {
        hooks::stopped(&record, log);
    }
    Ok(())
}

fn dumped(root: &Path, id: &Id, options: &Checkpoint) -> Result<()> {
    let folder = Folder::open(root, id)?;
    let record = folder.read()?;
    match Status::of(&folder, &record) {
        Status::Running | Status::Paused => {}
        status => return Err(invalid(format!("cannot checkpoint a container that is {status}"))),
    }
    // Its number is nobody else's for as long as this is open.
    let _init = status::live(&record)?;
    let pid = record.init.map(|init| init.pid).ok_or_else(status::ended)?;
    let common = common(&options.image, &record.annotations)?;
    let images = &common.images;
    let made = DirBuilder::new().mode(0o700).recursive(true).create(images);
    made.context(|| format!("make {}", images.display()))?;
    if let Some(parent) = &options.parent_path {
        check_parent(images, parent)?;
    }
    let wanted = Dump {
        options: &common,
        pid,
        root: Some(&record.rootfs),
        groups: &record.groups,
        joined: &record.joined,
        external: &[],
        external_overlays: false,
        leave_running: options.leave_running,
        pre_dump: options.pre_dump,
        parent: options.parent_path.clone(),
        tcp_skip_in_flight: options.tcp_skip_in_flight,
        link_remap: options.link_remap,
        page_server: options.page_server.clone().map(|server| (server.0, server.1)),
        status_fd: options.status_fd,
        held: Vec::new(),
    };
    criu::dump(&wanted, || Ok(()))
}

/// criu makes a link of it, which must lead there from the image as well.
fn check_parent(images: &Path, parent: &Path) -> Result<()> {
    let context = || format!("--parent-path {}", parent.display());
    if parent.is_absolute() {
        return Err(invalid("it is not relative to --image-path")).context(context);
    }
    match std::fs::metadata(images.join(parent)).context(context)?.is_dir() {
        true => Ok(()),
        false => Err(invalid("it is no folder")).context(context),
    }
}

/// What a dump and a restore have in common.
pub fn common(image: &Image, annotations: &HashMap<String, String>) -> Result<Options> {
    let config = match annotations.get(CONFIG_ANNOTATION).map(String::as_str) {
        None => Some(PathBuf::from(criu::CONFIG)),
        Some("") => None,
        Some(path) => Some(PathBuf::from(path)),
    };
    Ok(Options {
        criu: criu::find(Path::new("criu"))?,
        images: image.image_path.clone(),
        work: image.work_path.clone(),
        config,
        log_stays: true,
        tcp_established: image.tcp_established,
        ext_unix_sk: image.ext_unix_sk,
        shell_job: image.shell_job,
        file_locks: image.file_locks,
        auto_dedup: image.auto_dedup,
        lazy_pages: image.lazy_pages,
        cgroups: image.manage_cgroups_mode.map(Into::into),
    })
}
