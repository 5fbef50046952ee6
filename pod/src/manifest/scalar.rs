//! YAML scalars → values, as Kubernetes' own reader resolves them (`resolve.go` of
//! `go.yaml.in/yaml/v2`): YAML 1.1, where `yes` and `on` are booleans and `0644` is octal.

use base64::Engine as _;
use libyaml_safer::ScalarStyle;

use super::fault::Fault;
use super::tree::Value;

/// What the tags of YAML itself begin with.
const YAML_TAG: &str = "tag:yaml.org,2002:";

/// The value of one scalar.
pub fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&str>,
    line: usize,
) -> Result<Value, Fault> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain if is_no_number(text) => {
                Err(Fault::at(line, "", format!("YAML: {text} is nothing that JSON has")))
            }
            ScalarStyle::Plain => Ok(plain(text)),
            _ => Ok(Value::Text(text.to_owned())),
        };
    };
    // A tag of the writer's own makes a string.
    let Some(tag) = tag.strip_prefix(YAML_TAG) else { return Ok(Value::Text(text.to_owned())) };
    let wrong = || Fault::at(line, "", format!("YAML: {text:?} is not what its tag !!{tag} says"));
    match (tag, plain(text)) {
        ("int", value @ Value::Int(_))
        | ("float", value @ (Value::Float(_) | Value::Int(_)))
        | ("bool", value @ Value::Bool(_))
        | ("null", value @ Value::Null) => Ok(value),
        ("int", Value::Float(number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Value::Float(number))
        }
        ("int" | "float" | "bool" | "null", _) => Err(wrong()),
        ("binary", _) => {
            let compact: String = text.split_ascii_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
            let decoded = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.map(Value::Text).ok_or_else(wrong)
        }
        _ => Ok(Value::Text(text.to_owned())),
    }
}

/// A value as the key of a mapping, in the spelling that JSON gets; `None` for what cannot be one.
pub fn key(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Float(number) => Some(float_key(number)),
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(n) => Some(n.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// A number as a key, as Go prints one of 32 bits: `1.10` is `1.1`, and a million `1e+06`.
fn float_key(number: &str) -> String {
    let value = number.parse::<f64>().unwrap_or(0.0) as f32;
    let scientific = format!("{value:e}");
    match scientific.split_once('e').map(|(digits, power)| (digits, power.parse::<i32>())) {
        Some((digits, Ok(power))) if !(-4..6).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.abs())
        }
        _ => value.to_string(),
    }
}

/// Infinities and what is no number: Kubernetes' reader knows them, and JSON has none of them.
fn is_no_number(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Value::Bool(false)
        }
        _ => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |prefix: &str, radix| {
        let rest = digits.strip_prefix(prefix).filter(|r| !r.starts_with(['+', '-']))?;
        i128::from_str_radix(rest, radix).ok()
    };
    let int = radix("0x", 16)
        .or_else(|| radix("0X", 16))
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0B", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0O", 8))
        .or_else(|| (digits.len() > 1).then(|| radix("0", 8)).flatten())
        .or_else(|| {
            digits.parse().ok().filter(|_| !digits.starts_with(['0', '+', '-']) || digits == "0")
        });
    if let Some(int) = int.map(|n: i128| n.saturating_mul(sign)) {
        match (i64::try_from(int), u64::try_from(int)) {
            (Ok(small), _) => return Some(Value::Int(small)),
            (_, Ok(large)) => return Some(Value::Float(large.to_string())),
            _ => {}
        }
    }
    let shape =
        digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let finite = plain.parse::<f64>().is_ok_and(f64::is_finite);
    (shape && finite).then_some(Value::Float(plain))
}

/// A number that was written with a point or an exponent and is whole: helm prints `1.00064e+09`
/// for 1000640000, and `8080.0` is 8080. `None` for fractions and for what 64 bits do not hold.
pub fn whole(number: &str) -> Option<i64> {
    let value: f64 = number.parse().ok()?;
    // 2⁶³: the conversion below is exact for every whole number beneath it.
    let fits = value.fract() == 0.0 && value.abs() < 9_223_372_036_854_775_808.0;
    fits.then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::super::fields::Notes;
    use super::super::tree::YamlNode;
    use super::super::yaml;
    use super::*;

    fn documents(bytes: &[u8]) -> Result<Vec<YamlNode>, Fault> {
        yaml::documents(bytes, &Notes::default())
    }

    fn one(text: &str) -> Value {
        documents(text.as_bytes()).unwrap().remove(0).value
    }

    #[test]
    fn scalars_resolve_as_kubernetes_resolves_them() {
        let text = |t: &str| Value::Text(t.to_owned());
        for (written, value) in [
            ("a", text("a")),
            ("'1'", text("1")),
            ("1", Value::Int(1)),
            ("-7", Value::Int(-7)),
            ("0644", Value::Int(0o644)),
            ("0o644", Value::Int(0o644)),
            ("0x1F", Value::Int(31)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("9223372036854775808", Value::Float("9223372036854775808".into())),
            ("1_000", Value::Int(1000)),
            ("1.5", Value::Float("1.5".into())),
            ("1_0.5", Value::Float("10.5".into())),
            ("1e3", Value::Float("1e3".into())),
            ("09", Value::Float("09".into())),
            ("0xFFFFFFFFFFFFFFFF", Value::Float("18446744073709551615".into())),
            ("1e400", text("1e400")),
            ("'.inf'", text(".inf")),
            ("100m", text("100m")),
            ("1.2.3.4", text("1.2.3.4")),
            ("2026-01-01", text("2026-01-01")),
            ("12:30", text("12:30")),
            ("yes", Value::Bool(true)),
            ("off", Value::Bool(false)),
        ] {
            assert_eq!(one(written), value, "{written}");
        }
    }

    #[test]
    fn a_harmless_tag_says_which_reading_is_meant() {
        let text = |t: &str| Value::Text(t.to_owned());
        for (written, value) in [
            ("!!str 5", text("5")),
            ("!!str yes", text("yes")),
            ("!!int 5", Value::Int(5)),
            ("!!int '5'", Value::Int(5)),
            ("!!float 5", Value::Int(5)),
            ("!!bool yes", Value::Bool(true)),
            ("!!binary aGk=", text("hi")),
            ("!!timestamp 2026-01-01", text("2026-01-01")),
            ("! '5'", text("5")),
            ("!mine 5", text("5")),
            ("!<tag:yaml.org,2002:str> 5", text("5")),
        ] {
            assert_eq!(one(written), value, "{written}");
        }
        for written in ["!!int a", "!!bool 1", "!!binary '*'", "!!int 1.5", ".inf", "-.INF", ".nan"]
        {
            assert!(documents(written.as_bytes()).is_err(), "{written}");
        }
    }

    #[test]
    fn a_number_is_a_key_in_gos_spelling() {
        for (written, want) in [
            ("1.10", "1.1"),
            ("8080.0", "8080"),
            ("1e3", "1000"),
            ("1e6", "1e+06"),
            ("123456789.0", "1.2345679e+08"),
            ("0.00001", "1e-05"),
            ("08", "8"),
        ] {
            assert_eq!(key(&plain(written)).as_deref(), Some(want), "{written}");
        }
    }

    #[test]
    fn only_whole_numbers_stand_for_integers() {
        for (number, want) in [
            ("1.00064e+09", Some(1_000_640_000)),
            ("8080.0", Some(8080)),
            ("1e+01", Some(10)),
            ("-2.0", Some(-2)),
            ("09", Some(9)),
            ("9223372036854774784", Some(9_223_372_036_854_774_784)),
            ("9223372036854775808", None),
            ("0.5", None),
            ("1e400", None),
        ] {
            assert_eq!(whole(number), want, "{number}");
        }
    }
}
