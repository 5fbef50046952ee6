//! One 512-byte header: v7, ustar or GNU.

use super::BLOCK;
use crate::error::{Error, Result};

/// The fields of a header as they stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name, with ustar's prefix.
    pub path: Vec<u8>,
    /// Type flag.
    pub kind: u8,
    /// Link target.
    pub link: Vec<u8>,
    /// Mode bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of data that follow.
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Major and minor number.
    pub device: (u64, u64),
}

/// Parses a header; `None` for a block of zeros, which ends an archive.
pub fn parse_header(block: &[u8; BLOCK]) -> Result<Option<Header>> {
    if block.iter().all(|b| *b == 0) {
        return Ok(None);
    }
    check_sum(block)?;
    let magic = &block[257..265];
    let is_posix = magic.starts_with(b"ustar\0");
    let is_gnu = magic == b"ustar  \0";
    let mut path = text(&block[0..100]);
    if is_posix {
        let prefix = text(&block[345..500]);
        if !prefix.is_empty() {
            path = [prefix.as_slice(), b"/", path.as_slice()].concat();
        }
    }
    let kind = block[156];
    let is_device = matches!(kind, b'3' | b'4') && (is_posix || is_gnu);
    let device = match is_device {
        true => (unsigned(&block[329..337], "devmajor")?, unsigned(&block[337..345], "devminor")?),
        false => (0, 0),
    };
    Ok(Some(Header {
        path,
        kind,
        link: text(&block[157..257]),
        mode: (unsigned(&block[100..108], "mode")? & 0o7_777) as u32,
        uid: unsigned(&block[108..116], "uid")?,
        gid: unsigned(&block[116..124], "gid")?,
        size: unsigned(&block[124..136], "size")?,
        mtime: number(&block[136..148]).ok_or_else(|| bad("mtime"))?,
        device,
    }))
}

/// The sum is taken with its own field as spaces; some old programs summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let field = 148..156;
    let want = number(&block[field.clone()]).ok_or_else(|| bad("checksum"))?;
    let bytes = block.iter().enumerate().map(|(at, b)| if field.contains(&at) { b' ' } else { *b });
    let unsigned: i64 = bytes.clone().map(i64::from).sum();
    let signed: i64 = bytes.map(|b| i64::from(b as i8)).sum();
    if want == unsigned || want == signed {
        return Ok(());
    }
    Err(Error::invalid("not a tar header: its checksum is wrong"))
}

/// A number in decimal digits, as PAX has them.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn bad(field: &str) -> Error {
    Error::invalid(format_args!("a tar header's {field} is no number"))
}

/// Up to the first NUL.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

pub(super) fn unsigned(field: &[u8], name: &str) -> Result<u64> {
    number(field).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| bad(name))
}

/// Octal digits between spaces and NULs, or GNU's base 256 if the top bit is set.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        return base256(first, field.get(1..)?);
    }
    let digits: &[u8] = field
        .split(|b| *b == 0)
        .find(|part| !part.iter().all(|b| *b == b' '))
        .unwrap_or_default()
        .trim_ascii();
    digits.iter().try_fold(0i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement, big-endian; the top bit is the marker and the next one the sign.
fn base256(first: u8, rest: &[u8]) -> Option<i64> {
    let is_negative = first & 0x40 != 0;
    let start = if is_negative { i128::from(first as i8) } else { i128::from(first & 0x3f) };
    let value = rest
        .iter()
        .try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(i128::from(*byte)))?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let table: [(&[u8], Option<i64>); 9] = [
            (b"0000644\0", Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"00000008", None),
            (b"-0000001", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, want) in table {
            assert_eq!(number(field), want, "{}", field.escape_ascii());
        }
    }
}
