//! Durations as flags of Kubernetes have them (Go's `time.Duration`): `1m`, `1h30m`, `-1.5s`.

/// Units from the largest, in nanoseconds.
const UNITS: [(&str, i64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// Nanoseconds.
///
/// # Errors
/// What is wrong with it, in Go's words.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(digits);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| unit.starts_with(name));
        let (name, size) = known.ok_or_else(|| {
            let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
            format!("time: unknown unit {:?} in duration {text:?}", &unit[..end])
        })?;
        let part = scaled(number, *size).ok_or_else(invalid)?;
        nanos = nanos.checked_add(part).ok_or_else(invalid)?;
        rest = &unit[name.len()..];
    }
    Ok(sign * nanos)
}

/// `1.5` of a unit; what is less than a nanosecond is dropped.
fn scaled(number: &str, size: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Of an hour the 13th digit is less than a nanosecond.
    let digits = &fraction[..fraction.len().min(18)];
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let nanos = part * i128::from(size) / 10_i128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(size)?.checked_add(i64::try_from(nanos).ok()?)
}

/// `1m0s`, as Go prints it.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let rest = nanos.unsigned_abs();
    let with_point = |value: u64, digits: usize| {
        let unit = 10_u64.pow(u32::try_from(digits).unwrap_or(0));
        let fraction = format!("{:0digits$}", value % unit);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{}{point}{fraction}", value / unit)
    };
    let text = match rest {
        0 => "0s".to_owned(),
        1..1_000 => format!("{rest}ns"),
        1_000..1_000_000 => format!("{}µs", with_point(rest, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", with_point(rest, 6)),
        _ => {
            let (hours, below) = (rest / 3_600_000_000_000, rest % 3_600_000_000_000);
            let (minutes, below) = (below / 60_000_000_000, below % 60_000_000_000);
            let seconds = format!("{}s", with_point(below, 9));
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes}m{seconds}"),
                _ => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn a_duration_is_read_and_printed_as_go_does_it() {
        const SECOND: i64 = 1_000_000_000;
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("1m", 60 * SECOND, "1m0s"),
            ("-1m", -60 * SECOND, "-1m0s"),
            ("1h30m", 5_400 * SECOND, "1h30m0s"),
            ("+90s", 90 * SECOND, "1m30s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            (".25s", 250_000_000, "250ms"),
            ("300ms", 300_000_000, "300ms"),
            ("2us3ns", 2_003, "2.003µs"),
            ("0.333333333333333h", 1_199_999_999_999, "19m59.999999999s"),
            ("0.0000000000003h", 1, "1ns"),
            ("1h0.5s", 3_600 * SECOND + 500_000_000, "1h0m0.5s"),
        ] {
            assert_eq!((parse(text), format(nanos).as_str()), (Ok(nanos), printed), "{text}");
        }
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("5", "time: missing unit in duration \"5\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            (".s", "time: invalid duration \".s\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
        ] {
            assert_eq!(parse(text).unwrap_err(), why);
        }
    }
}
