//! Resource quantities: `100m`, `0.5`, `64Mi`, `1e3`.
//!
//! Grammar of `k8s.io/apimachinery/pkg/api/resource`: a signed decimal with a binary (Ki…Ei) or a
//! decimal (n, u, m, "", k…E) suffix, or a decimal exponent.

use std::fmt;

use crate::error::{Error, Kind, Result};

/// An exact amount, kept in units of 10⁻⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity(0);

    /// A whole number of units (bytes, cores).
    pub const fn from_units(units: i64) -> Self {
        Quantity(units as i128 * NANO)
    }

    /// A number of thousandths (milli-CPU).
    pub const fn from_milli(milli: i64) -> Self {
        Quantity(milli as i128 * 1_000_000)
    }

    /// Parses a quantity. `Invalid` for anything else, for more than 10²¹ units and for what has
    /// more than 40 characters.
    pub fn parse(text: &str) -> Result<Self> {
        let fault = |why: &str| Error::new(Kind::Invalid, format!("quantity {text:?}: {why}"));
        if text.len() > 40 {
            return Err(fault("too long"));
        }
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
        let digits: i128 = format!("0{whole}{fraction}").parse().map_err(|_| fault("too large"))?;
        let scale = Scale::parse(suffix).ok_or_else(|| fault("unknown suffix"))?;
        let nanos = scale
            .apply(digits, fraction.len())
            .filter(|n| *n <= NANO * 1_000_000_000_000_000_000_000)
            .ok_or_else(|| fault("too large"))?;
        Ok(Quantity(if negative { -nanos } else { nanos }))
    }

    /// Whole units, rounded up (as the kubelet reads bytes).
    pub fn value(self) -> i64 {
        i64::try_from(div_up(self.0, NANO)).unwrap_or(i64::MAX)
    }

    /// Thousandths, rounded up (as the kubelet reads CPU).
    pub fn milli(self) -> i64 {
        i64::try_from(div_up(self.0, NANO / 1_000)).unwrap_or(i64::MAX)
    }

    /// How many times `divisor` fits, rounded up: what `resourceFieldRef` shows.
    pub fn div_ceil(self, divisor: Quantity) -> i64 {
        if divisor.0 <= 0 {
            return self.value();
        }
        i64::try_from(div_up(self.0, divisor.0)).unwrap_or(i64::MAX)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Self {
        Quantity(self.0.saturating_add(other.0))
    }
}

/// Thousandths where there are any, else whole units: `250m`, `67108864`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            write!(f, "{}", self.0 / NANO)
        } else {
            write!(f, "{}m", div_up(self.0, NANO / 1_000))
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
                Scale::Decimal(exponent.parse::<i32>().ok().filter(|e| e.abs() <= 30)?)
            }
        })
    }

    /// `digits × 10^-fraction` in this scale, in 10⁻⁹, rounded up.
    fn apply(&self, digits: i128, fraction: usize) -> Option<i128> {
        let fraction = i32::try_from(fraction).ok()?;
        let (value, power) = match self {
            Scale::Binary(shift) => (digits.checked_mul(1_i128 << shift)?, 9 - fraction),
            Scale::Decimal(exponent) => (digits, 9 + exponent - fraction),
        };
        let ten = 10_i128.checked_pow(power.unsigned_abs())?;
        if power >= 0 { value.checked_mul(ten) } else { Some(div_up(value, ten)) }
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
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "m",
            "1x",
            "1.2.3",
            "1 Gi",
            "1mi",
            "1e99",
            "0x10",
            "--1",
            "9999999999999999999999E",
            &"9".repeat(60),
        ] {
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
