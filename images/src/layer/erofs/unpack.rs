//! An image's layer as a directory, for a host that cannot mount the image.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use rrun_sys::root::{RootDir, Rule};

use super::{check, open};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::entries::apply;
use crate::layer::facts::Facts;
use crate::layer::unpack::Unpacker;
use crate::tar::Archive;

/// Beside the files of the image.
const DIRECTORY: &str = "directory";
const BUFFER: usize = 256 << 10;

/// Where the layer of the image in `folder` is as a directory, if a host had to make one.
pub(crate) fn directory_in(folder: &Path) -> PathBuf {
    folder.join(DIRECTORY)
}

/// Unpacks the archive of the image in `folder` into an empty directory.
///
/// # Errors
/// `Invalid` where the archive is not that of `diff_id`, which only a layer of directories has not;
/// else of the disk.
pub(crate) fn unpack(folder: &Path, to: &Path, diff_id: Option<&Digest>) -> Result<Facts> {
    let diff_id = diff_id.ok_or_else(|| Error::new(Kind::Internal, "it has no digest"))?;
    let files = open(folder)?;
    let length = check(&files.index).context(folder.display())?;
    let hashed =
        Hashed { source: files.archive.take(length), hasher: Hasher::new(diff_id.algorithm()) };
    let root = RootDir::open(to, Rule::InRoot).context(to.display())?;
    let mut unpacker = Unpacker::new(root)?;
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER, hashed));
    while let Some(entry) = archive.next_entry()? {
        apply(&mut unpacker, &entry, &mut archive)?;
    }
    archive.drain()?;
    diff_id.expect_equal(&archive.into_source().into_inner().hasher.finish()).context("archive")?;
    let (facts, _) = unpacker.finish()?;
    Ok(facts)
}

/// Hashes what is read through it.
struct Hashed<R> {
    source: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(to)?;
        self.hasher.update(&to[..n]);
        Ok(n)
    }
}
