//! Deadlines that the shim keeps for the daemon, which may be gone when they come.

use crate::poll::Key;
use std::time::Instant;

/// What to do when a time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A container's grace is over.
    KillContainer(Key),
    /// An exec's time is over.
    KillExec(Key),
    /// A call of a program has had its time.
    EndCall(Key),
    /// Somebody should have asked for a sandbox by now.
    GiveUp,
    /// A look at the last output of a container that has ended.
    Drain(Key),
    /// The log of a container that was not made has had its time to close.
    FinishDiscard(Key),
    /// What was killed has had its time to die.
    ShutDown,
    /// A container has begun, and what its making took is free.
    Trim,
}

/// Pending alarms: a handful, so a plain list.
#[derive(Debug, Default)]
pub struct Timers(Vec<(Instant, Alarm)>);

impl Timers {
    /// Sets `alarm`; an earlier time that is set already stands.
    pub fn set(&mut self, at: Instant, alarm: Alarm) {
        match self.0.iter_mut().find(|(_, other)| *other == alarm) {
            Some((time, _)) => *time = at.min(*time),
            None => self.0.push((at, alarm)),
        }
    }

    /// When the next one comes.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    /// Takes those whose time has come.
    pub fn due(&mut self, now: Instant) -> Vec<Alarm> {
        let due = self.0.iter().filter(|(at, _)| *at <= now).map(|(_, alarm)| *alarm).collect();
        self.0.retain(|(at, _)| *at > now);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_stop_may_only_shorten_the_grace() {
        let now = Instant::now();
        let mut timers = Timers::default();
        let at = |seconds| now + Duration::from_secs(seconds);
        timers.set(at(30), Alarm::KillContainer(1));
        timers.set(at(60), Alarm::KillContainer(1));
        assert_eq!(timers.next(), Some(at(30)));
        timers.set(at(1), Alarm::KillContainer(1));
        assert_eq!(timers.due(at(1)), [Alarm::KillContainer(1)]);
        assert_eq!(timers.next(), None);
    }
}
