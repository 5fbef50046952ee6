//! Values as JSON that no terminal obeys: what containers, images and registries said is in it too.

use serde::Serialize;
use std::fmt::Write as _;

/// A value over several lines, as kubectl prints one.
pub fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| escaped(&text) + "\n")
}

/// A value on a line of its own.
pub fn line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| escaped(&text) + "\n")
}

/// The control characters that JSON does not escape, escaped: they stand in strings alone. The line
/// ends of the text itself are none of a string's.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn no_terminal_obeys_what_is_in_a_string_and_it_reads_as_what_it_was() {
        let value = json!({"a\u{9b}2J": ["\x1b[1m\u{9d}0;x\u{9c}", "größer\u{7f}\n", "\u{a0}"]});
        let (pretty, line) = (pretty(&value).unwrap(), line(&value).unwrap());
        assert!(pretty.contains("a\\u009b2J") && pretty.contains("größer\\u007f\\n"), "{pretty}");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        for text in [pretty, line] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
