//! Objects as YAML.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// An object, as kubectl prints one.
pub fn of(object: &Value) -> Result<String> {
    let text = serde_saphyr::to_string(object).context("write YAML")?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_that_reads_as_something_else_is_quoted() {
        let pod = json!({"a": {"b": "no", "c": "0644", "d": "1", "e": "x: y"}, "f": [], "g": [{"h": null, "i": "one\ntwo"}]});
        let text = of(&pod).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, pod, "{text}");
        assert!(!text.contains("b: no\n") && !text.contains("d: 1\n"), "{text}");
    }
    #[test]
    fn no_terminal_obeys_what_is_in_a_string() {
        let pod =
            json!({"a\u{9b}2J": ["\x1b[1m\n\u{9d}0;x\u{9c}", "one\ntwo\u{9b}3J\n"], "b": "\u{7f}"});
        let text = of(&pod).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), pod, "{text}");
    }
}
