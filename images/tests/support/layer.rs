//! Tar layers byte by byte, so that they can be wrong in any way.

use std::io::Write;

/// One header and its data.
#[derive(Clone)]
pub struct Item {
    pub name: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Item {
    fn new(name: &str, kind: u8, mode: u32) -> Item {
        Item {
            name: name.into(),
            kind,
            link: Vec::new(),
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            device: (0, 0),
            data: Vec::new(),
            pax: Vec::new(),
        }
    }

    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Item {
        self.pax.push((key.into(), value.as_ref().to_vec()));
        self
    }

    pub fn mode(mut self, mode: u32) -> Item {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Item {
        (self.uid, self.gid) = (uid, gid);
        self
    }
}

pub fn file(name: &str, data: impl AsRef<[u8]>) -> Item {
    Item { data: data.as_ref().to_vec(), ..Item::new(name, b'0', 0o644) }
}

pub fn dir(name: &str) -> Item {
    Item::new(name, b'5', 0o755)
}

pub fn symlink(name: &str, to: &str) -> Item {
    Item { link: to.into(), ..Item::new(name, b'2', 0o777) }
}

pub fn hardlink(name: &str, to: &str) -> Item {
    Item { link: to.into(), ..Item::new(name, b'1', 0o644) }
}

pub fn device(name: &str, kind: u8, major: u32, minor: u32) -> Item {
    Item { device: (major, minor), ..Item::new(name, kind, 0o640) }
}

/// The archive of the items, with its end.
pub fn tar(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        if !item.pax.is_empty() {
            let records: Vec<u8> = item.pax.iter().flat_map(|(k, v)| record(k, v)).collect();
            let header = Item { data: records, ..Item::new("pax", b'x', 0o644) };
            push(&mut out, &header);
        }
        push(&mut out, item);
    }
    out.extend([0; 1024]);
    out
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = [b" ", key, b"=", value, b"\n"].concat();
    let mut length = body.len() + 1;
    while length != body.len() + length.to_string().len() {
        length = body.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &body].concat()
}

pub fn push(out: &mut Vec<u8>, item: &Item) {
    out.extend(header(item));
    out.extend(&item.data);
    out.resize(out.len().next_multiple_of(512), 0);
}

pub fn header(item: &Item) -> [u8; 512] {
    let mut block = [0u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &item.name[..item.name.len().min(100)]);
    put(100, format!("{:07o}\0", item.mode).as_bytes());
    put(108, format!("{:07o}\0", item.uid).as_bytes());
    put(116, format!("{:07o}\0", item.gid).as_bytes());
    put(124, format!("{:011o}\0", item.data.len()).as_bytes());
    put(136, format!("{:011o}\0", item.mtime).as_bytes());
    put(148, b"        ");
    put(156, &[item.kind]);
    put(157, &item.link[..item.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}\0", item.device.0).as_bytes());
    put(337, format!("{:07o}\0", item.device.1).as_bytes());
    seal(&mut block);
    block
}

pub fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// A layer of the items: its tar and the gzip of it.
pub fn layer(items: &[Item]) -> (Vec<u8>, Vec<u8>) {
    let tar = tar(items);
    let blob = gzip(&tar);
    (tar, blob)
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}
