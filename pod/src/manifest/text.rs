//! The bytes of a manifest → text: UTF-8, or UTF-16 of either order when a byte order mark says so.
//! What JSON writes and YAML cannot is put into YAML's words.

use std::borrow::Cow;

use super::fault::Fault;

/// The text without byte order marks, its last line ended: files that were put together have a
/// mark before each document.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Fault> {
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => utf8(bytes),
    }?;
    let text = match text {
        text if text.contains("\n\u{feff}") => Cow::Owned(text.replace("\n\u{feff}", "\n")),
        text if text.trim_start().starts_with('{') && text.contains("\\u") => {
            Cow::Owned(without_surrogates(&text))
        }
        text => text,
    };
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// JSON escapes a character beyond U+FFFF as two halves, YAML as one: `\ud83d\ude80` becomes
/// `\U0001f680`, and half of one the replacement character, as in Go.
fn without_surrogates(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = |from: &str| {
            let hex = from.strip_prefix("\\u").and_then(|from| from.get(..4))?;
            u16::from_str_radix(hex, 16).ok()
        };
        match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                let one = 0x10000 + ((u32::from(high) - 0xd800) << 10) + u32::from(low) - 0xdc00;
                text.push_str(&format!("\\U{one:08x}"));
                rest = &rest[12..];
            }
            (Some(0xd800..=0xdfff), _) => {
                text.push_str("\\ufffd");
                rest = &rest[6..];
            }
            _ => {
                // The character after a backslash begins no escape of its own.
                let end = rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end);
                text.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    text + rest
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
    fn each_document_of_a_file_may_have_its_mark() {
        assert_eq!(
            decode("\u{feff}a: 1\n---\n\u{feff}b: 2\n".as_bytes()).unwrap(),
            "a: 1\n---\nb: 2\n"
        );
    }

    #[test]
    fn halves_of_a_character_in_json_become_one() {
        for (json, want) in [
            (r#"{"a":"\ud83d\ude80 go\n"}"#, r#"{"a":"\U0001f680 go\n"}"#),
            (r#"{"a":"\\ud83d\\ude80"}"#, r#"{"a":"\\ud83d\\ude80"}"#),
            (r#"{"a":"\ud83d x\ude80"}"#, r#"{"a":"\ufffd x\ufffd"}"#),
            (r#"{"a":"\u00e9\u00"}"#, r#"{"a":"\u00e9\u00"}"#),
            ("a: \"\\ud83d\"", "a: \"\\ud83d\""),
        ] {
            assert_eq!(decode(json.as_bytes()).unwrap(), format!("{want}\n"));
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
