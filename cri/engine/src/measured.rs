//! The last reading of something measured, told again for a second.

use crate::stats::{Stats, Usage};
use std::sync::{Arc, Mutex, PoisonError};

/// How old a figure may be that is told again, nanoseconds: a kubelet asks for the same ones
/// several times in a row.
const FRESH: i64 = 1_000_000_000;

/// Something measured, and when: nanoseconds since the epoch.
pub(crate) struct Measured<T>(Mutex<Option<(i64, Arc<T>)>>);

impl<T> Default for Measured<T> {
    fn default() -> Self {
        Measured(Mutex::default())
    }
}

impl<T> Measured<T> {
    /// The value, and when it was measured.
    pub(crate) fn last(&self) -> Option<(i64, Arc<T>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_fresh(&self, now: i64) -> bool {
        self.is_younger(now, FRESH)
    }

    /// Whether it was measured within the last `age` nanoseconds.
    pub(crate) fn is_younger(&self, now: i64, age: i64) -> bool {
        self.last().is_some_and(|(at, _)| (0..age).contains(&(now - at)))
    }

    pub(crate) fn put(&self, at: i64, value: Option<T>) {
        let value = value.map(|value| (at, Arc::new(value)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    pub(crate) fn value(&self) -> Option<Arc<T>> {
        self.last().map(|(_, value)| value)
    }
}

impl Measured<Usage> {
    /// Takes a reading; the one before tells how fast CPU time grows.
    pub(crate) fn read(&self, at: i64, figures: Option<Stats>) {
        let before = self.last();
        let usage = figures.map(|figures| {
            let before = before.and_then(|(at, usage)| Some((at, usage.figures.cpu_usage_ns?)));
            let nano_cores = before.zip(figures.cpu_usage_ns).and_then(|((since, before), now)| {
                nano_cores(at - since, now.checked_sub(before)?)
            });
            Usage { at, figures, nano_cores }
        });
        self.put(at, usage);
    }
}

/// Both in nanoseconds.
fn nano_cores(time: i64, cpu: u64) -> Option<u64> {
    let time = u128::try_from(time).ok().filter(|time| *time > 0)?;
    u64::try_from(u128::from(cpu) * 1_000_000_000 / time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_cpu_is_told_from_two_readings() {
        let measured = Measured::<Usage>::default();
        let figures = |cpu| Some(Stats { cpu_usage_ns: Some(cpu), ..Stats::default() });
        let cores = || measured.value().and_then(|usage| usage.nano_cores);
        measured.read(1_000_000_000, figures(5_000_000_000));
        assert_eq!(cores(), None);
        measured.read(3_000_000_000, figures(6_000_000_000));
        assert_eq!(cores(), Some(500_000_000), "one second of two");
        // A group that was made anew, and a clock that was set back.
        measured.read(4_000_000_000, figures(1));
        assert_eq!(cores(), None);
        measured.read(2_000_000_000, figures(2));
        assert_eq!(cores(), None);
        measured.read(5_000_000_000, None);
        assert!(measured.value().is_none());
    }
}
