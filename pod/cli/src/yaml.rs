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
}
