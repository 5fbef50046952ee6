//! The mount table, as far as volumes need it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::error::{Context, Error, Kind, Result};

/// Mount points at or below `dir`, in the order of the table (a later one may lie on an earlier).
pub fn below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
    Ok(points(&table).filter(|point| point.starts_with(dir)).collect())
}

/// Whether something is mounted exactly there.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    Ok(below(path)?.iter().any(|point| point == path))
}

/// Detaches everything at or below `dir`, last mount first. An error if anything is left: what
/// comes next removes the tree, and a bind of the node's own files may not be in it.
pub fn detach_below(dir: &Path) -> Result<()> {
    for point in below(dir)?.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .context(|| format!("unmount {}", point.display()))?;
    }
    match below(dir)?.first() {
        None => Ok(()),
        Some(left) => {
            Err(Error::new(Kind::Unavailable, format!("{} is still mounted", left.display())))
        }
    }
}

fn points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|t| std::str::from_utf8(t).ok());
        match octal.and_then(|t| u8::from_str_radix(t, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_mount_points_are_read_back() {
        let table =
            b"36 35 98:0 /m /a\\040b rw - ext3 /dev/x rw\n37 35 98:0 / /c\\134d rw - t x rw\n";
        let found: Vec<PathBuf> = points(table).collect();
        assert_eq!(found, [PathBuf::from("/a b"), PathBuf::from("/c\\d")]);
    }
}
