//! A layer as an EROFS image in two files: its archive as it is, uncompressed, and an index, which
//! has all the metadata and says where in the archive the data of each file are (what
//! `mkfs.erofs --tar=i` makes). Unpacking is one sequential write, and removing it two unlinks.
//!
//! The image is written by us while the archive streams by: an inode when its entry comes, and
//! directories at the end, when it is known what is in them. Of what is held in memory meanwhile see
//! [`tree`]. The kernel (6.12 and later) mounts it from these files without a loop device.

mod attributes;
mod finish;
mod format;
mod index;
mod mount;
mod shared;
mod tree;
mod unpack;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(crate) use finish::check;
pub(crate) use mount::{mount, share, try_here};
pub(crate) use shared::note;
pub(crate) use unpack::{directory_in, unpack};
pub(crate) use writer::Writer;

use crate::error::{Context, Error, Result};

const ARCHIVE: &str = "archive";
const INDEX: &str = "index";

/// The two files of an image.
pub(crate) struct Files {
    pub index: File,
    pub archive: File,
}

/// Where the index of the image in `folder` is.
pub(crate) fn index_in(folder: &Path) -> PathBuf {
    folder.join(INDEX)
}

/// Makes them in an empty directory.
pub(crate) fn create(folder: &Path) -> Result<Files> {
    let make = |name: &str| {
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        file.context(path.display())
    };
    Ok(Files { index: make(INDEX)?, archive: make(ARCHIVE)? })
}

/// Opens them for reading.
///
/// # Errors
/// `Invalid` where one of them is gone, or no file.
pub(crate) fn open(folder: &Path) -> Result<Files> {
    let open = |name: &str| {
        let path = folder.join(name);
        let file = match rrun_sys::record::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::invalid("it is gone")),
            done => done.map_err(Error::from),
        };
        file.context(path.display())
    };
    Ok(Files { index: open(INDEX)?, archive: open(ARCHIVE)? })
}

#[cfg(test)]
mod tests;
