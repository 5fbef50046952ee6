//! The bytes of a manifest → text: UTF-8, or UTF-16 of either order when a byte order mark says so.

use std::borrow::Cow;

use super::fault::Fault;

/// The text without its byte order mark.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Fault> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, Fault> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Fault::at(line, "", "not UTF-8")
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, Fault> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len() / 2);
    for found in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match found {
            Ok(c) => text.push(c),
            Err(_) => return Err(broken(&text)),
        }
    }
    if odd.is_empty() { Ok(Cow::Owned(text)) } else { Err(broken(&text)) }
}

fn broken(before: &str) -> Fault {
    Fault::at(before.matches('\n').count() + 1, "", "not UTF-16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_says_what_the_text_is() {
        let text = "a: é𝄞\r\nb: 1\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|u| u.to_be_bytes()).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
            [&[0xff, 0xfe], little.as_slice()].concat(),
            [&[0xfe, 0xff], big.as_slice()].concat(),
        ] {
            assert_eq!(decode(&bytes).unwrap(), text);
        }
    }

    #[test]
    fn what_its_mark_does_not_keep_is_a_fault_with_its_line() {
        for bytes in
            [b"a: 1\nb: \xff\n".as_slice(), b"\xff\xfea\0\n\0\x00\xd8x\0", b"\xfe\xff\0a\0\n\0"]
        {
            assert_eq!(decode(bytes).unwrap_err().line, 2, "{bytes:?}");
        }
    }
}
