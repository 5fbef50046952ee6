//! PAX extended headers: `<length> <key>=<value>\n`.

use super::header::decimal;
use super::sparse::SparseRecords;
use crate::error::{Error, Result};

/// What the extension headers before an entry say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Its path.
    pub path: Option<Vec<u8>>,
    /// Its link target.
    pub link: Option<Vec<u8>>,
    /// Bytes of data that follow.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u64>,
    /// Group.
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

impl Records {
    pub(super) fn merge(&mut self, later: Records) {
        let Records { path, link, size, uid, gid, mtime, xattrs, sparse } = later;
        self.path = path.or(self.path.take());
        self.link = link.or(self.link.take());
        self.size = size.or(self.size);
        self.uid = uid.or(self.uid);
        self.gid = gid.or(self.gid);
        self.mtime = mtime.or(self.mtime);
        self.xattrs.extend(xattrs);
        self.sparse = sparse;
    }
}

/// Parses the data of an `x` header.
pub fn parse_records(mut data: &[u8]) -> Result<Records> {
    let mut records = Records::default();
    while !data.is_empty() {
        let (key, value, rest) =
            record(data).ok_or_else(|| Error::invalid("a PAX header does not parse"))?;
        apply(&mut records, key, value).ok_or_else(|| {
            let key = key.escape_ascii();
            Error::invalid(format_args!("PAX record {key} has a bad value"))
        })?;
        data = rest;
    }
    Ok(records)
}

/// Key, value and what follows.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    if length <= space + 1 || length > data.len() {
        return None;
    }
    let (record, rest) = data.split_at(length);
    let body = record[space + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

fn apply(records: &mut Records, key: &[u8], value: &[u8]) -> Option<()> {
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        records.xattrs.push((name.to_vec(), value.to_vec()));
        return Some(());
    }
    if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
        return records.sparse.apply(name, value);
    }
    // An empty value takes an earlier record back; there is none earlier than the header's.
    if value.is_empty() {
        return Some(());
    }
    match key {
        b"path" => records.path = Some(value.to_vec()),
        b"linkpath" => records.link = Some(value.to_vec()),
        b"size" => records.size = Some(decimal(value)?),
        b"uid" => records.uid = Some(decimal(value)?),
        b"gid" => records.gid = Some(decimal(value)?),
        b"mtime" => records.mtime = Some(time(value)?),
        _ => {}
    }
    Some(())
}

/// `[-]seconds[.fraction]`, rounded down.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0u32;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for at in 0..9 {
            let digit = fraction.get(at).map_or(0, |d| u32::from(d - b'0'));
            nanos = nanos * 10 + digit;
        }
    }
    match (is_negative, nanos) {
        (false, _) => Some((whole, nanos)),
        (true, 0) => Some((-whole, 0)),
        (true, _) => Some((-whole - 1, 1_000_000_000 - nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_what_does_not_parse_is_refused() {
        let text =
            b"16 path=a/b c\nd\n20 mtime=-1.5000000\n11 uid=123\n22 SCHILY.xattr.a=\0\xff\x01\n";
        let got = parse_records(text).unwrap();
        assert_eq!(got.path.as_deref(), Some(b"a/b c\nd".as_slice()));
        assert_eq!(got.mtime, Some((-2, 500_000_000)));
        assert_eq!(got.uid, Some(123));
        assert_eq!(got.xattrs, [(b"a".to_vec(), b"\0\xff\x01".to_vec())]);
        for bad in [
            b"x".as_slice(),
            b"5 a=b\n",
            b"99 path=x\n",
            b"0 a=b\n",
            b"18446744073709551616 a=b\n",
            b"6 ab=\0",
            b"5 abc\n",
            b"11 uid=-23\n",
            b"13 mtime=1.x\n",
        ] {
            assert!(parse_records(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
