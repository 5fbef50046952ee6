//! Netlink messages: a header, a fixed part, then attributes `{length, kind, value}`, each padded
//! to four bytes (netlink(7), libnl's "core library").

const HEADER: usize = 16;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// The kind of an attribute without its flags (`NLA_TYPE_MASK`).
const KIND_MASK: u16 = 0x3fff;

/// A message being written.
pub struct Message {
    pub(super) kind: u16,
    pub(super) flags: u16,
    body: Vec<u8>,
}

impl Message {
    pub fn new(kind: u16, flags: u16) -> Message {
        Message { kind, flags, body: Vec::with_capacity(128) }
    }

    /// Fixed part or padding, verbatim.
    pub fn raw(mut self, bytes: &[u8]) -> Message {
        self.body.extend_from_slice(bytes);
        self.pad();
        self
    }

    pub fn attr(mut self, kind: u16, value: &[u8]) -> Message {
        let at = self.open(kind);
        self.body.extend_from_slice(value);
        self.close(at);
        self
    }

    /// A string with its NUL.
    pub fn text(mut self, kind: u16, value: &str) -> Message {
        let at = self.open(kind);
        self.body.extend_from_slice(value.as_bytes());
        self.body.push(0);
        self.close(at);
        self
    }

    /// In host byte order, as rtnetlink has it.
    pub fn u32(self, kind: u16, value: u32) -> Message {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// In network byte order, as nfnetlink has it.
    pub fn be32(self, kind: u16, value: u32) -> Message {
        self.attr(kind, &value.to_be_bytes())
    }

    /// An attribute whose value `write` adds.
    pub fn nest(mut self, kind: u16, write: impl FnOnce(Message) -> Message) -> Message {
        let at = self.open(kind | NESTED);
        self = write(self);
        self.close(at);
        self
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.body.len();
        self.body.extend_from_slice(&[0, 0]);
        self.body.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    fn close(&mut self, at: usize) {
        // Callers keep a value below 64 KiB: names, addresses, at most a few hundred map elements.
        let length = (self.body.len() - at) as u16;
        self.body[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    /// Appends the message to a datagram.
    pub(super) fn write(&self, flags: u16, seq: u32, out: &mut Vec<u8>) {
        let length = (HEADER + self.body.len()) as u32;
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | flags).to_ne_bytes());
        out.extend_from_slice(&seq.to_ne_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.body);
    }
}

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub kind: u16,
    pub seq: u32,
    /// Behind the header.
    pub body: &'a [u8],
}

/// The messages of one datagram; ends at the first that does not fit.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(take(datagram, 0)?) as usize;
        let kind = u16::from_ne_bytes(take(datagram, 4)?);
        let seq = u32::from_ne_bytes(take(datagram, 8)?);
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received { kind, seq, body })
    })
}

/// The attributes in `bytes`, as (kind, value); ends at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(take(bytes, 0)?));
        let kind = u16::from_ne_bytes(take(bytes, 2)?) & KIND_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of `kind`.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// `N` bytes at `at`, if they are there.
pub fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Vec::new();
        Message::new(16, 5)
            .raw(&[9; 8])
            .text(3, "eth0")
            .nest(18, |m| m.u32(1, 7).attr(2, &[1]))
            .write(0, 42, &mut out);
        let all: Vec<_> = messages(&out).collect();
        assert_eq!((all.len(), all[0].kind, all[0].seq), (1, 16, 42));
        let attrs = &all[0].body[8..];
        assert_eq!(attribute(attrs, 3), Some(&b"eth0\0"[..]));
        let nest = attribute(attrs, 18).unwrap();
        assert_eq!(attribute(nest, 1), Some(&7u32.to_ne_bytes()[..]));
        assert_eq!(attribute(nest, 2), Some(&[1u8][..]));
        assert_eq!(attribute(nest, 4), None);
    }

    #[test]
    fn torn_bytes_end_the_list() {
        let mut out = Vec::new();
        Message::new(16, 5).raw(&[0; 4]).u32(1, 7).write(0, 1, &mut out);
        for length in 0..out.len() {
            assert_eq!(messages(&out[..length]).count(), 0, "{length}");
        }
        let attrs = [8, 0, 1, 0, 1, 2, 3, 4, 0, 0, 2, 0];
        for length in 0..attrs.len() {
            assert!(attributes(&attrs[..length]).count() <= 1);
        }
    }
}
