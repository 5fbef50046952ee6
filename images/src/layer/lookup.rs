//! Where a path of the archive leads in the directory that its layer becomes.
//!
//! The time of a lookup goes with the length of the path, and not with its square: a layer may have
//! paths of 2,000 levels, and a path for each of its files.

use std::io;

use rrun_sys::root::{RelPath, RootDir};

use crate::error::{Error, Result};

/// The kernel's own limit for one lookup.
const MOST_LINKS: usize = 40;
/// So often a lookup may turn back by `..` of a symlink's target, or to the root.
const MOST_TURNS: usize = 255;

/// The path as it was meant: `.` and `..` are taken out, as every other client does. One that
/// leads out of the root is refused.
pub(super) fn clean(path: &[u8]) -> Result<RelPath> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.pop().is_some() => {}
            b".." => return Err(Error::invalid("the path leads out of the layer by `..`")),
            name => names.push(name),
        }
    }
    Ok(RelPath::parse(names.join(&b'/'))?)
}

/// How far the lookup has come.
enum At {
    /// Here.
    Open(RootDir),
    /// Where the path so far leads; it is to be opened.
    Turned,
    /// Nothing, or no directory, is there; nor anything below.
    Missing,
}

/// `path` without the symlinks that the layer has on the way, which lead as in a chroot. What is
/// not there yet stays as it is. The directory is ours alone, so nothing changes meanwhile; and
/// were this wrong, the lookup of the result in the root would still not leave it.
pub(super) fn follow(root: &RootDir, path: &RelPath) -> Result<RelPath> {
    let too_many = |what| Error::invalid(format_args!("too many {what} in {path}"));
    let (mut links, mut turns) = (0, 0);
    let mut real: Vec<Vec<u8>> = Vec::new();
    let mut rest = names(path.as_bytes());
    let mut at = At::Turned;
    while let Some(name) = rest.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                real.pop();
                at = At::Turned;
                continue;
            }
            _ => {}
        }
        if matches!(at, At::Turned) {
            turns += 1;
            if turns > MOST_TURNS {
                return Err(too_many("turns of symlinks"));
            }
            at = open(root, &RelPath::parse(real.join(&b'/'))?)?;
        }
        let At::Open(dir) = &at else {
            real.push(name);
            continue;
        };
        let Some(target) = dir.child(&name)?.read_link()? else {
            at = open(dir, &RelPath::parse(&name)?)?;
            real.push(name);
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(too_many("symlinks"));
        }
        if target.starts_with(b"/") {
            real.clear();
            at = At::Turned;
        }
        rest.extend(names(&target));
    }
    Ok(RelPath::parse(real.join(&b'/'))?)
}

fn open(dir: &RootDir, path: &RelPath) -> io::Result<At> {
    match dir.dir_without_links(path) {
        Ok(found) => Ok(At::Open(found)),
        Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENOTDIR)) => {
            Ok(At::Missing)
        }
        Err(e) => Err(e),
    }
}

/// The names of a path, the last one first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect()
}

/// Words for a lookup that failed at `path`.
pub(super) fn escape(e: io::Error, path: &RelPath) -> Error {
    match e.raw_os_error() {
        Some(nix::libc::ENOTDIR) => Error::invalid(format_args!("{path} is not a directory")),
        Some(nix::libc::ELOOP) => Error::invalid(format_args!("too many symlinks in {path}")),
        Some(nix::libc::ENOENT) => Error::invalid(format_args!("{path} is not in this layer")),
        _ => Error::from(e).context(path),
    }
}
