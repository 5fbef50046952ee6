//! Resource quantities: `100m`, `0.5`, `64Mi`, `1e3`.
//!
//! Grammar of `k8s.io/apimachinery/pkg/api/resource`: a signed decimal with a binary (Ki…Ei) or a
//! decimal (n, u, m, "", k…E) suffix, or a decimal exponent.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::error::{Error, Kind, Result};

/// An exact amount, kept in units of 10⁻⁹, and the kind of suffix it was written with: two that
/// are written differently can be equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Which suffixes an amount is printed with.
#[derive(Clone, Copy, Debug, Default)]
enum Format {
    #[default]
    Decimal,
    Binary,
    Exponent,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

const NANO: i128 = 1_000_000_000;

/// The largest amount: 2⁶³−1 units.
const MOST: i128 = i64::MAX as i128 * NANO;

/// Digits behind the point that are looked at.
const DIGITS: usize = 18;

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity::decimal(0);

    const fn decimal(nanos: i128) -> Self {
        Quantity { nanos, format: Format::Decimal }
    }

    /// A whole number of units (bytes, cores).
    pub const fn from_units(units: i64) -> Self {
        Quantity::decimal(units as i128 * NANO)
    }

    /// A number of bytes, printed with binary suffixes.
    pub const fn from_bytes(bytes: i64) -> Self {
        Quantity { nanos: bytes as i128 * NANO, format: Format::Binary }
    }

    /// A number of thousandths (milli-CPU).
    pub const fn from_milli(milli: i64) -> Self {
        Quantity::decimal(milli as i128 * 1_000_000)
    }

    /// Parses a quantity; more than 2⁶³−1 units are as many, and less than 10⁻⁹ is rounded up, as
    /// at the API server. `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let fault = |why: &str| Error::new(Kind::Invalid, format!("quantity {text:?}: {why}"));
        let text = text.trim();
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(fault("want a number with an optional suffix such as m, k, M, Ki, Mi, Gi"));
        }
        let scale = Scale::parse(suffix).ok_or_else(|| fault("unknown suffix"))?;
        let (fraction, beyond) = fraction.split_at(fraction.len().min(DIGITS));
        let rounded = i128::from(beyond.bytes().any(|digit| digit != b'0'));
        // What does not fit is too large for every machine.
        let digits = format!("0{whole}{fraction}").parse::<i128>().ok();
        let nanos = digits
            .and_then(|digits| scale.apply(digits + rounded, fraction.len()))
            .map_or(MOST, |nanos| nanos.min(MOST));
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format: scale.format(suffix) })
    }

    /// Whole units, rounded up (as the kubelet reads bytes).
    pub fn value(self) -> i64 {
        i64::try_from(div_up(self.nanos, NANO)).unwrap_or(i64::MAX)
    }

    /// Thousandths, rounded up (as the kubelet reads CPU).
    pub fn milli(self) -> i64 {
        i64::try_from(div_up(self.nanos, NANO / 1_000)).unwrap_or(i64::MAX)
    }

    /// How many times `divisor` fits, rounded up: what `resourceFieldRef` shows.
    pub fn div_ceil(self, divisor: Quantity) -> i64 {
        if divisor.nanos <= 0 {
            return self.value();
        }
        i64::try_from(div_up(self.nanos, divisor.nanos)).unwrap_or(i64::MAX)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

const DECIMAL: &[&str] = &["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY: &[&str] = &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// As the API server prints it: with the largest suffix of its kind that leaves a whole
    /// number (`1024Ki` is `1Mi`, `0.5` is `500m`).
    pub fn canonical(self) -> String {
        let small = self.nanos.abs() < 1_024 * NANO;
        match self.format {
            Format::Binary if !small => {
                let (number, power) = reduce(div_up(self.nanos, NANO), 1_024, BINARY.len());
                format!("{number}{}", BINARY[power])
            }
            Format::Exponent => match reduce(self.nanos, 1_000, DECIMAL.len()) {
                (number, 3) => number.to_string(),
                (number, power) => format!("{number}e{}", 3 * power as i32 - 9),
            },
            Format::Decimal | Format::Binary if self.nanos == 0 => "0".to_owned(),
            Format::Decimal | Format::Binary => {
                let (number, power) = reduce(self.nanos, 1_000, DECIMAL.len());
                format!("{number}{}", DECIMAL[power])
            }
        }
    }
}

/// Divides as long as nothing is left over, fewer than `most` times, and tells how often.
fn reduce(mut number: i128, by: i128, most: usize) -> (i128, usize) {
    let mut power = 0;
    while power + 1 < most && number != 0 && number % by == 0 {
        number /= by;
        power += 1;
    }
    (number, power)
}

/// Thousandths where there are any, else whole units: `250m`, `67108864`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            write!(f, "{}", self.nanos / NANO)
        } else {
            write!(f, "{}m", div_up(self.nanos, NANO / 1_000))
        }
    }
}

fn div_up(value: i128, by: i128) -> i128 {
    let floor = value.div_euclid(by);
    if value.rem_euclid(by) == 0 { floor } else { floor + 1 }
}

enum Scale {
    /// Times 2^n.
    Binary(u32),
    /// Times 10^n.
    Decimal(i32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "Ki" => Scale::Binary(10),
            "Mi" => Scale::Binary(20),
            "Gi" => Scale::Binary(30),
            "Ti" => Scale::Binary(40),
            "Pi" => Scale::Binary(50),
            "Ei" => Scale::Binary(60),
            "n" => Scale::Decimal(-9),
            "u" => Scale::Decimal(-6),
            "m" => Scale::Decimal(-3),
            "" => Scale::Decimal(0),
            "k" => Scale::Decimal(3),
            "M" => Scale::Decimal(6),
            "G" => Scale::Decimal(9),
            "T" => Scale::Decimal(12),
            "P" => Scale::Decimal(15),
            "E" => Scale::Decimal(18),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E'])?;
                Scale::Decimal(exponent.parse::<i32>().ok().filter(|e| e.abs() <= 1_000)?)
            }
        })
    }

    fn format(&self, suffix: &str) -> Format {
        match self {
            Scale::Binary(_) => Format::Binary,
            Scale::Decimal(_) if suffix.len() > 1 => Format::Exponent,
            Scale::Decimal(_) => Format::Decimal,
        }
    }

    /// `digits × 10^-fraction` in this scale, in 10⁻⁹, rounded up.
    fn apply(&self, digits: i128, fraction: usize) -> Option<i128> {
        let fraction = i32::try_from(fraction).ok()?;
        let (value, power) = match self {
            Scale::Binary(shift) => (digits.checked_mul(1_i128 << shift)?, 9 - fraction),
            Scale::Decimal(exponent) => (digits, 9 + exponent - fraction),
        };
        match (10_i128.checked_pow(power.unsigned_abs()), power >= 0) {
            (Some(ten), false) => Some(div_up(value, ten)),
            (None, false) => Some(value.signum()),
            (_, true) if value == 0 => Some(0),
            (ten, true) => value.checked_mul(ten?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_the_api_server_reads_them() {
        for (text, milli, value) in [
            ("100m", 100, 1),
            ("0.5", 500, 1),
            ("1", 1_000, 1),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("1e3", 1_000_000, 1_000),
            ("1E3", 1_000_000, 1_000),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("1n", 1, 1),
            ("1e-99", 1, 1),
            ("0.30000000000000000000000000000000000000000000000001", 301, 1),
            ("9999999999999999999999E", i64::MAX, i64::MAX),
            ("1e99", i64::MAX, i64::MAX),
            ("0e99", 0, 0),
            (&"9".repeat(60), i64::MAX, i64::MAX),
            (" 1Ki\n", 1_024_000, 1_024),
            (".5", 500, 1),
            ("5.", 5_000, 5),
            ("-1", -1_000, -1),
            ("0", 0, 0),
        ] {
            let q = Quantity::parse(text).unwrap();
            assert_eq!((q.milli(), q.value()), (milli, value), "{text}");
        }
    }

    #[test]
    fn an_amount_is_printed_as_the_api_server_prints_it() {
        for (text, want) in [
            ("1Mi", "1Mi"),
            ("1024Ki", "1Mi"),
            ("1536Ki", "1536Ki"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("1048576", "1048576"),
            ("1000000", "1M"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1e6", "1e6"),
            ("0", "0"),
            ("0Mi", "0"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().canonical(), want, "{text}");
        }
        assert_eq!(Quantity::parse("1Gi").unwrap(), Quantity::parse("1024Mi").unwrap());
        let sum = Quantity::ZERO.plus(Quantity::parse("1Mi").unwrap());
        assert_eq!(sum.plus(Quantity::parse("1048576").unwrap()).canonical(), "2Mi");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1x", "1.2.3", "1 Gi", "1mi", "0x10", "--1"] {
            assert_eq!(Quantity::parse(text).unwrap_err().kind(), Kind::Invalid, "{text}");
        }
    }

    #[test]
    fn a_divisor_rounds_up() {
        let q = Quantity::parse("100m").unwrap();
        assert_eq!(q.div_ceil(Quantity::from_units(1)), 1);
        assert_eq!(q.div_ceil(Quantity::from_milli(1)), 100);
        let mem = Quantity::parse("65Mi").unwrap();
        assert_eq!(mem.div_ceil(Quantity::parse("64Mi").unwrap()), 2);
    }
}
