//! A layer that is on the disk, whatever its format.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::erofs;
use super::facts::Format;
use super::split;
use crate::error::{Context, Result};

/// Where its parts are.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub format: Format,
    pub folder: PathBuf,
    /// The file of its split, where the format has one and the layer too.
    pub split: PathBuf,
}

impl Stored {
    /// Whether its archive is there, or can be made again.
    pub(crate) fn has_archive(&self) -> bool {
        match self.format {
            Format::Directory => self.split.exists(),
            Format::Erofs => true,
        }
    }

    /// Writes its archive.
    ///
    /// # Errors
    /// `Invalid` where the layer is not as it was; else of the disk, and of `to`.
    pub(crate) fn write_archive(&self, to: &mut dyn Write) -> Result<()> {
        match self.format {
            Format::Directory => split::join(&self.split, &self.folder, to),
            Format::Erofs => {
                let files = erofs::open(&self.folder)?;
                let length = erofs::check(&files.index).context(self.folder.display())?;
                let copied = io::copy(&mut files.archive.take(length), to);
                copied.map(drop).context(self.folder.display())
            }
        }
    }
}
