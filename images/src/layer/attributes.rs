//! Owner, mode, times and extended attributes of an entry, and how they are set.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;

use nix::libc;
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;
use rrun_sys::root::Place;
use rrun_sys::xattr;

use crate::error::{Context, Error, Result};
use crate::tar::Entry;

/// What an entry says of its object beside type and data.
pub(super) struct EntryAttributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: Mode,
    pub(super) mtime: TimeSpec,
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
}

impl EntryAttributes {
    pub(super) fn of(entry: &Entry) -> Result<EntryAttributes> {
        let id = |id: u64, what: &str| {
            let bad = || Error::invalid(format_args!("{what} {id} is out of range"));
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(bad)
        };
        let mut xattrs = Vec::new();
        for (name, value) in &entry.xattrs {
            // overlayfs and other kernel parts keep their own notes there: a layer that could
            // write them would redirect lookups on the node.
            if name.starts_with(b"trusted.") {
                continue;
            }
            let bad = |_| Error::invalid("an attribute's name contains a NUL");
            xattrs.push((CString::new(name.as_slice()).map_err(bad)?, value.clone()));
        }
        Ok(EntryAttributes {
            uid: id(entry.uid, "uid")?,
            gid: id(entry.gid, "gid")?,
            mode: Mode::from_bits_truncate(entry.mode),
            mtime: TimeSpec::new(entry.mtime.0, i64::from(entry.mtime.1)),
            xattrs,
        })
    }

    /// Bytes of the extended attributes.
    pub(super) fn size(&self) -> usize {
        self.xattrs.iter().map(|(name, value)| name.count_bytes() + value.len()).sum()
    }

    /// Sets all on an open file or directory, which has the owner `ids` so far. The order is the
    /// kernel's demand: a change of owner clears setuid and capabilities.
    pub(super) fn set_file(&self, file: &File, ids: (u32, u32)) -> Result<()> {
        if (self.uid, self.gid) != ids {
            std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid))?;
        }
        nix::sys::stat::fchmod(file, self.mode)?;
        for (name, value) in &self.xattrs {
            accepted(name, xattr::set(file, name, value))?;
        }
        Ok(nix::sys::stat::futimens(file, &self.mtime, &self.mtime)?)
    }

    /// The same for what cannot be opened without an effect, or is a link.
    pub(super) fn set_place(&self, place: &Place, has_mode: bool) -> Result<()> {
        place.set_owner(self.uid, self.gid)?;
        if has_mode {
            place.set_mode(self.mode)?;
        }
        for (name, value) in &self.xattrs {
            accepted(name, place.set_xattr(name, value))?;
        }
        Ok(place.set_times(&self.mtime, &self.mtime)?)
    }
}

/// What the filesystem refuses ends no pull, unless it is about privileges or access: an attribute
/// that it does not know is not the image's fault, and the data of a program (`user.*`) may be on
/// an object that cannot have them (EPERM for links, pipes and devices) or be too large for it.
fn accepted(name: &CStr, done: io::Result<()>) -> Result<()> {
    let Err(e) = done else { return Ok(()) };
    let text = name.to_bytes();
    let is_privileged = text.starts_with(b"security.") || text.starts_with(b"system.");
    match e.raw_os_error() {
        Some(libc::ENOTSUP) => Ok(()),
        Some(
            libc::EPERM
            | libc::EACCES
            | libc::EINVAL
            | libc::E2BIG
            | libc::ENOSPC
            | libc::ERANGE
            | libc::ENAMETOOLONG,
        ) if !is_privileged => Ok(()),
        _ => Err(e).context(format_args!("attribute {}", text.escape_ascii())),
    }
}
