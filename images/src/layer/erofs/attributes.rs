//! What an entry says of its object, in an inode. What a file system would refuse is refused here,
//! because no kernel looks at it before it is used.

use super::format::{Added, Inode, Kind, Xattrs};
use crate::error::{Error, Result};
use crate::layer::attributes::EntryAttributes;

/// An inode of which nothing is said: with one name, and owned by root.
pub(super) fn plain(kind: Kind, place: u32) -> Inode {
    let (mtime, xattrs) = ((0, 0), 0);
    let (mode, uid, gid, size, links, is_inline) = (0, 0, 0, 0, 1, false);
    Inode { kind, mode, uid, gid, mtime, size, links, place, is_inline, xattrs }
}

/// Owner, mode and time of the entry. The mode of a symlink means nothing.
pub(super) fn set(entry: &EntryAttributes, inode: Inode) -> Inode {
    let mode = if inode.kind == Kind::Symlink { 0o777 } else { entry.mode.bits() };
    let nanoseconds = u32::try_from(entry.mtime.tv_nsec()).unwrap_or(0);
    let mtime = (entry.mtime.tv_sec(), nanoseconds);
    Inode { mode, uid: entry.uid, gid: entry.gid, mtime, ..inode }
}

/// Its extended attributes, beside those that are there. What is about privileges or access must
/// be as the kernel takes it; a program's own may be left out, see [`EntryAttributes::set_file`].
pub(super) fn of(entry: &EntryAttributes, kind: Kind, mut all: Xattrs) -> Result<Xattrs> {
    let has_user = matches!(kind, Kind::File | Kind::Directory);
    for (name, value) in &entry.xattrs {
        let name = name.to_bytes();
        let is_user = name.starts_with(b"user.");
        if (is_user && !has_user) || (kind == Kind::Symlink && name.starts_with(b"system.")) {
            continue;
        }
        if !is_sound(name, value, kind) {
            let why = format!("attribute {}: it has no sense", name.escape_ascii());
            return Err(Error::invalid(why));
        }
        if all.add(name, value) == Added::TooLarge && !is_user {
            let why = format!("attribute {}: it is too large", name.escape_ascii());
            return Err(Error::invalid(why));
        }
    }
    Ok(all)
}

fn is_sound(name: &[u8], value: &[u8], kind: Kind) -> bool {
    match name {
        b"security.capability" => is_capability(value),
        b"system.posix_acl_access" => is_acl(value),
        b"system.posix_acl_default" => kind == Kind::Directory && is_acl(value),
        _ => true,
    }
}

/// struct vfs_cap_data (20 bytes) or vfs_ns_cap_data (24): its revision and a flag come first.
fn is_capability(value: &[u8]) -> bool {
    const EFFECTIVE: u32 = 1;
    let Some(magic) = value.first_chunk() else { return false };
    let revision = u32::from_le_bytes(*magic) & !EFFECTIVE;
    matches!((revision, value.len()), (0x0200_0000, 20) | (0x0300_0000, 24))
}

/// struct posix_acl_xattr_header and entries of a tag, permissions and an id: those of the owner, the
/// group and others once each, in this order, named ones after their kind, and with those a mask.
fn is_acl(value: &[u8]) -> bool {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    let Some(entries) = value.strip_prefix(&VERSION) else { return false };
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return false;
    }
    let tag = |entry: &[u8; 8]| u16::from_le_bytes([entry[0], entry[1]]);
    let tags: Vec<u16> = entries.iter().map(tag).collect();
    let count = |wanted: u16| tags.iter().filter(|tag| **tag == wanted).count();
    let once = [1, 4, 0x20].into_iter().all(|tag| count(tag) == 1);
    let masked = count(0x10) == 1 || (count(0x10) == 0 && count(2) + count(8) == 0);
    let is_known = tags.iter().all(|tag| matches!(tag, 1 | 2 | 4 | 8 | 0x10 | 0x20));
    let is_allowed = entries.iter().all(|entry| u16::from_le_bytes([entry[2], entry[3]]) <= 7);
    tags.is_empty() || (once && masked && is_known && is_allowed && tags.is_sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut out = vec![2, 0, 0, 0];
        for (tag, permissions) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(permissions.to_le_bytes());
            out.extend([0xff; 4]);
        }
        out
    }

    #[test]
    fn access_is_taken_as_the_kernel_takes_it_and_no_other_way() {
        assert!(is_acl(&acl(&[(1, 7), (4, 5), (0x20, 0)])));
        assert!(is_acl(&acl(&[(1, 7), (2, 7), (4, 5), (0x10, 7), (0x20, 0)])));
        assert!(!is_acl(&acl(&[(1, 7), (2, 7), (4, 5), (0x20, 0)])), "no mask");
        assert!(!is_acl(&acl(&[(4, 5), (1, 7), (0x20, 0)])), "out of order");
        assert!(!is_acl(&acl(&[(1, 8), (4, 5), (0x20, 0)])), "more than rwx");
        assert!(!is_acl(&acl(&[(1, 7), (4, 5)])), "nobody else");
        assert!(!is_acl(b"\x02\0\0\0\x01"));
        assert!(!is_acl(b""));
        let capability = |revision: u8, size: usize| {
            let mut value = vec![0; size];
            (value[0], value[3]) = (1, revision);
            is_capability(&value)
        };
        assert!(capability(2, 20) && capability(3, 24));
        assert!(!capability(2, 24) && !capability(3, 20) && !capability(1, 12));
        assert!(!is_capability(b"no"));
    }
}
