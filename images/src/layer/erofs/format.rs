//! What an EROFS image consists of, byte by byte (Linux, `fs/erofs/erofs_fs.h`). Numbers are
//! little-endian.

use nix::libc;

/// Blocks are as large as those of a tar archive, so that a file's data can stay where they lie.
pub(super) const BLOCK: u64 = 512;
const BLOCK_BITS: u8 = 9;
/// Inodes are named by their distance from the first one, in units of so many bytes.
pub(super) const SLOT: u64 = 32;
/// Where inodes may begin; before it are the superblock and the table of devices.
pub(super) const META: u64 = 4096;
/// The root's inode: its name has 16 bits, so that it comes first. 0 would be no inode number.
pub(super) const ROOT: u32 = 2;
/// Bytes of an extended inode, the only kind that is written.
pub(super) const INODE: usize = 64;
/// The first block of the archive in the numbers of blocks, which go on over both files. So the
/// index may have 1.5 TiB of addresses, most of which no byte stands for, and the archive 512 GiB.
pub(super) const ARCHIVE: u32 = 0xC000_0000;

pub(super) const MAGIC: u32 = 0xE0F5_E1E2;
const SUPERBLOCK_AT: usize = 1024;
/// Where the superblock has what tells file systems apart.
pub(super) const UUID: usize = SUPERBLOCK_AT + 48;
const SUPERBLOCK: usize = 128;
/// The table of devices follows the superblock; it is found in units of its own entries.
const DEVICES_AT: usize = SUPERBLOCK_AT + SUPERBLOCK;
const DEVICE: usize = 128;
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_DEVICE_TABLE: u32 = 8;
const PLAIN: u16 = 0;
const INLINE: u16 = 2;
const EXTENDED: u16 = 1;
const XATTR_HEADER: usize = 12;

/// The kinds of directory entries (`FT_*`), which stand for the kinds of inodes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

impl Kind {
    fn bits(self) -> u32 {
        match self {
            Kind::File => libc::S_IFREG,
            Kind::Directory => libc::S_IFDIR,
            Kind::CharDevice => libc::S_IFCHR,
            Kind::BlockDevice => libc::S_IFBLK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::Symlink => libc::S_IFLNK,
        }
    }

    fn of(mode: u16) -> Kind {
        let bits = u32::from(mode) & libc::S_IFMT;
        let all = [Kind::Directory, Kind::CharDevice, Kind::BlockDevice, Kind::Fifo, Kind::Symlink];
        all.into_iter().find(|kind| kind.bits() == bits).unwrap_or(Kind::File)
    }
}

/// An inode without its attributes' names and values, which follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub size: u64,
    pub links: u32,
    /// The first block of its data, or the number of a device.
    pub place: u32,
    /// Its data follow it, and its attributes.
    pub is_inline: bool,
    /// Bytes of its attributes.
    pub xattrs: usize,
}

impl Inode {
    pub(super) fn encode(&self, slot: u32) -> [u8; INODE] {
        let layout = if self.is_inline { INLINE } else { PLAIN };
        let units = match self.xattrs {
            0 => 0,
            size => ((size - XATTR_HEADER) / 4 + 1) as u16,
        };
        let mut out = [0; INODE];
        put(&mut out, 0, &(EXTENDED | layout << 1).to_le_bytes());
        put(&mut out, 2, &units.to_le_bytes());
        put(&mut out, 4, &((self.kind.bits() | self.mode & 0o7777) as u16).to_le_bytes());
        put(&mut out, 8, &self.size.to_le_bytes());
        put(&mut out, 16, &self.place.to_le_bytes());
        // What a 32-bit stat tells.
        put(&mut out, 20, &slot.to_le_bytes());
        put(&mut out, 24, &self.uid.to_le_bytes());
        put(&mut out, 28, &self.gid.to_le_bytes());
        put(&mut out, 32, &self.mtime.0.to_le_bytes());
        put(&mut out, 40, &self.mtime.1.to_le_bytes());
        put(&mut out, 44, &self.links.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; INODE]) -> Inode {
        let mode = u16::from_le_bytes(take(bytes, 4));
        let units = usize::from(u16::from_le_bytes(take(bytes, 2)));
        Inode {
            kind: Kind::of(mode),
            mode: u32::from(mode) & 0o7777,
            uid: u32::from_le_bytes(take(bytes, 24)),
            gid: u32::from_le_bytes(take(bytes, 28)),
            mtime: (i64::from_le_bytes(take(bytes, 32)), u32::from_le_bytes(take(bytes, 40))),
            size: u64::from_le_bytes(take(bytes, 8)),
            links: u32::from_le_bytes(take(bytes, 44)),
            place: u32::from_le_bytes(take(bytes, 16)),
            is_inline: u16::from_le_bytes(take(bytes, 0)) >> 1 == INLINE,
            xattrs: if units == 0 { 0 } else { XATTR_HEADER + (units - 1) * 4 },
        }
    }
}

/// How a device is called in an inode, if it can be.
pub(super) fn device((major, minor): (u64, u64)) -> Option<u32> {
    let (major, minor) = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    let is_known = major < 1 << 12 && minor < 1 << 20;
    is_known.then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

/// An entry of a directory.
pub(super) struct Dirent<'a> {
    pub name: &'a [u8],
    pub slot: u32,
    pub kind: Kind,
}

/// Bytes of an entry beside its name.
const DIRENT: usize = 12;

impl Dirent<'_> {
    /// What it takes of its block.
    pub(super) fn size(&self) -> usize {
        DIRENT + self.name.len()
    }
}

/// A block of a directory: its entries, then their names. They fit.
pub(super) fn directory_block(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK as usize);
    let mut name_at = entries.len() * DIRENT;
    for entry in entries {
        out.extend(u64::from(entry.slot).to_le_bytes());
        out.extend((name_at as u16).to_le_bytes());
        out.extend([entry.kind as u8, 0]);
        name_at += entry.name.len();
    }
    entries.iter().for_each(|entry| out.extend(entry.name));
    out
}

/// Attributes in the form in which they follow an inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Xattrs(Vec<u8>);

/// What an inode may have: its length is told by 16 bits, in units of 4 bytes.
const MOST_XATTRS: usize = 4 * (u16::MAX as usize - 1);

/// Beginnings of names that have a number. The kernel knows no others.
const PREFIXES: [(&[u8], u8, bool); 5] = [
    (b"user.", 1, false),
    (b"system.posix_acl_access", 2, true),
    (b"system.posix_acl_default", 3, true),
    (b"trusted.", 4, false),
    (b"security.", 6, false),
];

/// What became of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Done,
    /// There is no number for its name.
    Unknown,
    TooLarge,
}

impl Xattrs {
    pub(super) fn of(bytes: Vec<u8>) -> Xattrs {
        Xattrs(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds one. One of the same name is replaced.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) -> Added {
        let prefix = PREFIXES.into_iter().find(|(prefix, _, is_whole)| match is_whole {
            true => name == *prefix,
            false => name.starts_with(prefix) && name.len() > prefix.len(),
        });
        let Some((prefix, number, _)) = prefix else { return Added::Unknown };
        let rest = &name[prefix.len()..];
        self.remove(number, rest);
        let size = XATTR_ENTRY + rest.len() + value.len();
        let (Ok(name_size), Ok(value_size)) =
            (u8::try_from(rest.len()), u16::try_from(value.len()))
        else {
            return Added::TooLarge;
        };
        if self.0.len().max(XATTR_HEADER) + size.next_multiple_of(4) > MOST_XATTRS {
            return Added::TooLarge;
        }
        if self.0.is_empty() {
            self.0.resize(XATTR_HEADER, 0);
        }
        self.0.extend([name_size, number]);
        self.0.extend(value_size.to_le_bytes());
        self.0.extend(rest);
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        Added::Done
    }

    fn remove(&mut self, number: u8, name: &[u8]) {
        let mut at = XATTR_HEADER;
        while at + XATTR_ENTRY <= self.0.len() {
            let name_size = usize::from(self.0[at]);
            let value_size = usize::from(u16::from_le_bytes([self.0[at + 2], self.0[at + 3]]));
            let end = at + (XATTR_ENTRY + name_size + value_size).next_multiple_of(4);
            let found = self.0.get(at + XATTR_ENTRY..at + XATTR_ENTRY + name_size);
            if self.0[at + 1] == number && found == Some(name) {
                self.0.drain(at..end.min(self.0.len()));
                break;
            }
            at = end;
        }
        if self.0.len() <= XATTR_HEADER {
            self.0.clear();
        }
    }
}

const XATTR_ENTRY: usize = 4;

/// What the superblock and the table of devices say of an image.
pub(super) struct Super {
    pub inodes: u64,
    /// Bytes that the index has.
    pub index: u64,
    /// Bytes that the archive has.
    pub archive: u64,
    pub uuid: [u8; 16],
}

impl Super {
    /// The index up to [`META`].
    pub(super) fn encode(&self) -> Vec<u8> {
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK) as u32;
        let mut out = vec![0; META as usize];
        let at = |offset: usize| SUPERBLOCK_AT + offset;
        put(&mut out, at(0), &MAGIC.to_le_bytes());
        put(&mut out, at(8), &COMPAT_MTIME.to_le_bytes());
        put(&mut out, at(12), &[BLOCK_BITS]);
        put(&mut out, at(14), &(ROOT as u16).to_le_bytes());
        put(&mut out, at(16), &self.inodes.to_le_bytes());
        put(&mut out, at(36), &blocks(self.index).to_le_bytes());
        put(&mut out, at(40), &blocks(META).to_le_bytes());
        put(&mut out, UUID, &self.uuid);
        put(&mut out, at(80), &INCOMPAT_DEVICE_TABLE.to_le_bytes());
        put(&mut out, at(86), &1_u16.to_le_bytes());
        put(&mut out, at(88), &((DEVICES_AT / DEVICE) as u16).to_le_bytes());
        put(&mut out, DEVICES_AT + 64, &blocks(self.archive).to_le_bytes());
        put(&mut out, DEVICES_AT + 68, &ARCHIVE.to_le_bytes());
        out
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn take<const N: usize>(bytes: &[u8; INODE], at: usize) -> [u8; N] {
    std::array::from_fn(|n| bytes[at + n])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_read_as_it_was_written() {
        let inode = Inode {
            kind: Kind::Symlink,
            mode: 0o4755,
            uid: 70_000,
            gid: 1,
            mtime: (-5, 999_999_999),
            size: 1 << 40,
            links: 3,
            place: ARCHIVE,
            is_inline: true,
            xattrs: 32,
        };
        assert_eq!(Inode::decode(&inode.encode(7)), inode);
        let plain = Inode { is_inline: false, xattrs: 0, kind: Kind::File, ..inode };
        assert_eq!(Inode::decode(&plain.encode(7)), plain);
    }

    #[test]
    fn an_attribute_is_replaced_and_what_does_not_fit_is_told() {
        let mut all = Xattrs::default();
        assert_eq!(all.add(b"user.a", b"1"), Added::Done);
        assert_eq!(all.add(b"security.b", b"22"), Added::Done);
        let both = all.clone();
        assert_eq!(all.add(b"user.a", b"333"), Added::Done);
        assert_eq!(all.add(b"user.a", b"1"), Added::Done);
        assert_eq!(all.as_bytes().len(), both.as_bytes().len());
        assert_eq!(all.add(b"odd.a", b"1"), Added::Unknown);
        assert_eq!(all.add(b"user.", b"1"), Added::Unknown);
        assert_eq!(all.add(b"user.c", &[0; 65_536]), Added::TooLarge);
        let long = [b"user.".as_slice(), &[b'n'; 256]].concat();
        assert_eq!(all.add(&long, b""), Added::TooLarge);
        let mut full = Xattrs::default();
        let names = [b"user.1", b"user.2", b"user.3", b"user.4"];
        let done = names.map(|name| full.add(name, &[0; 65_535]));
        assert_eq!(done, [Added::Done, Added::Done, Added::Done, Added::TooLarge]);
    }

    #[test]
    fn devices_have_the_kernels_numbers() {
        assert_eq!(device((0, 0)), Some(0));
        assert_eq!(device((1, 3)), Some(0x103));
        assert_eq!(device((0xfff, 0xf_ffff)), Some(0xffff_ffff));
        assert_eq!(device((0x1000, 0)), None);
        assert_eq!(device((0, 1 << 20)), None);
        assert_eq!(device((u64::MAX, 0)), None);
    }
}
