//! What a checkpoint says of a writable layer, into a new one.

use std::io::BufRead;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::stat::{Mode, fstat};
use rrun_sys::root::{RootDir, Rule};

use super::entries::{Target, apply};
use super::lookup::clean;
use super::unpack::Unpacker;
use crate::error::{Context, Error, Result};
use crate::tar::Archive;

/// An upper directory that is nobody's yet: it is filled before it is mounted. Nothing leads out of it,
/// whatever the archive says.
pub(crate) struct Changes {
    unpacker: Unpacker,
    root: std::fs::File,
    mode: Mode,
}

impl Changes {
    pub(crate) fn open(upper: &Path) -> Result<Changes> {
        let root = RootDir::open(upper, Rule::InRoot).context(upper.display())?;
        let opened = std::fs::File::from(root.fd().try_clone_to_owned()?);
        // What the root of the image has.
        let mode = Mode::from_bits_truncate(fstat(opened.as_fd())?.st_mode);
        Ok(Changes { unpacker: Unpacker::new(root)?, root: opened, mode })
    }

    /// What is new or changed, as the archive has it.
    pub(crate) fn add(&mut self, archive: impl BufRead) -> Result<()> {
        let mut archive = Archive::new(archive);
        while let Some(entry) = archive.next_entry()? {
            apply(&mut self.unpacker, &entry, &mut archive)?;
        }
        Ok(())
    }

    /// Hides a path of the image.
    pub(crate) fn delete(&mut self, path: &str) -> Result<()> {
        let mut hide = || {
            let path = clean(path.as_bytes())?;
            let (parent, name) =
                path.split().ok_or_else(|| Error::invalid("the root cannot be deleted"))?;
            let parent = self.unpacker.real(&parent)?;
            self.unpacker.whiteout(&parent, name)
        };
        hide().context(format_args!("deleted {path:?}"))
    }

    pub(crate) fn finish(self) -> Result<()> {
        nix::sys::stat::fchmod(&self.root, self.mode)?;
        self.unpacker.finish().map(drop)
    }
}
