//! JSON as Go's decoder reads it, for documents of images: what others have taken for years is
//! still pulled.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Parses a document. In strings, bytes that are no UTF-8 and halves of surrogate pairs become
/// U+FFFD, of a key that comes twice the last value counts.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value> {
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_str(&whole_escapes(&text)).map_err(Error::invalid)
}

/// The field of that name; in another case if there is none.
pub(crate) fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let like = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    object.get(name).or_else(like)
}

/// A number that is whole, however it is written.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    let float = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=2f64.powi(53)).contains(n));
    value.as_u64().or_else(|| float.map(|n| n as u64))
}

/// The text with `\\ufffd` for each half of a surrogate pair that stands alone.
fn whole_escapes(text: &str) -> Cow<'_, str> {
    let mut whole = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        let next = match (surrogate(text, at), surrogate(text, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at + 12,
            (Some(_), _) => {
                whole.push_str(&text[copied..at]);
                whole.push_str("\\ufffd");
                copied = at + 6;
                copied
            }
            // Whatever it escapes.
            (None, _) => at + 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        at = next;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    whole.push_str(&text[copied..]);
    Cow::Owned(whole)
}

/// The half of a surrogate pair that is escaped at `at`.
fn surrogate(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    let unit = u32::from_str_radix(digits, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_broken_is_replaced_and_nothing_else_is() {
        for (text, want) in [
            (&b"\"Ren\xe9\""[..], "Ren\u{fffd}"),
            (br#""\ud83d""#, "\u{fffd}"),
            (br#""\udc00x\ud83d""#, "\u{fffd}x\u{fffd}"),
            (br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (br#""\\ud83d""#, "\\ud83d"),
            (br#""\u00e9\n\"""#, "\u{e9}\n\""),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{}", text.escape_ascii());
        }
        for bad in [&b"\"\\u12\""[..], b"\"\\", b"{", b"\"\\ud83"] {
            assert!(parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float() {
        let read = |text: &str| whole(&parse(text.as_bytes()).unwrap());
        assert_eq!((read("2"), read("2.0"), read("2e3")), (Some(2), Some(2), Some(2000)));
        assert_eq!(
            (read("2.5"), read("-1"), read("1e300"), read("\"2\"")),
            (None, None, None, None)
        );
    }
}
