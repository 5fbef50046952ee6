//! The time of day, as records have it and as text.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch, of this moment.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A point in time in RFC 3339: UTC, nine digits of nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    text: [u8; 30],
}

impl Timestamp {
    /// From nanoseconds since the epoch, which reach into the year 2262.
    pub fn new(at: i64) -> Self {
        let seconds = at.div_euclid(1_000_000_000);
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let time = seconds.rem_euclid(86_400);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], time / 3600);
        digits(&mut text[14..16], time / 60 % 60);
        digits(&mut text[17..19], time % 60);
        digits(&mut text[20..29], at.rem_euclid(1_000_000_000));
        Timestamp { text }
    }

    /// This moment.
    pub fn now() -> Self {
        Timestamp::new(now())
    }

    /// The text, all of it ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text).map_err(|_| fmt::Error)?)
    }
}

fn digits(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar, in eras of 400 years
/// whose years begin in March, so that the leap day is the last:
/// <https://howardhinnant.github.io/date_algorithms.html>.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_rfc_3339_with_nanoseconds_over_leap_years() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399_000_000_000, "2000-02-28T23:59:59.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (951_868_800_000_000_000, "2000-03-01T00:00:00.000000000Z"),
            (1_795_262_766_123_456_789, "2026-11-21T12:06:06.123456789Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(Timestamp::new(at).to_string(), text);
        }
    }
}
