//! Which pods of a Job are to be made and when, as the controller of Jobs decides it
//! (`pkg/controller/job`).
//!
//! Each completion has a place; a place whose pod has failed gets another pod. Without a number of
//! completions each pod that may run at a time has one.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::Job;

/// The wait after the first failure (`DefaultJobPodFailureBackOff`).
const BACK_OFF: Duration = Duration::from_secs(10);

/// The longest wait (`MaxJobPodFailureBackOff`).
const MAX_BACK_OFF: Duration = Duration::from_secs(600);

/// How a pod of a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the phase `Succeeded`.
    Succeeded,
    /// With the phase `Failed`.
    Failed,
    /// Because somebody stopped or removed it, or it could not be run at all: no other takes its place.
    Stopped,
}

/// Why a Job has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too many of its pods or of their containers did.
    BackoffLimit,
    /// Its time was over.
    Deadline,
    /// Somebody stopped or removed one of its pods, or it could not be run.
    Stopped,
}

impl Why {
    /// The reason and the message of the condition `Failed`.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Why::BackoffLimit => {
                ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
            }
            Why::Deadline => ("DeadlineExceeded", "Job was active longer than specified deadline"),
            Why::Stopped => ("Stopped", "a pod of it was stopped or could not be run"),
        }
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a pod for this place: its try, from 0.
    Start(usize, u32),
    /// Nothing before a pod ends, or before this time.
    Wait(Option<Timestamp>),
    /// Nothing any more, and it is complete.
    Complete,
    /// Nothing any more; pods that run are to be stopped.
    Fail(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Empty { tries: u32 },
    Taken { tries: u32 },
    Succeeded,
}

/// A Job on its way.
#[derive(Clone, Debug)]
pub struct Progress {
    job: Job,
    places: Vec<Place>,
    started_at: Timestamp,
    /// All of them.
    failed: u32,
    /// Those since the last success, and when the last was.
    failures: u32,
    failed_at: Timestamp,
    over: Option<Why>,
}

impl Progress {
    /// Of a Job that begins now, with so many places.
    pub fn new(job: Job, places: usize, now: Timestamp) -> Progress {
        Progress {
            job,
            places: vec![Place::Empty { tries: 0 }; places],
            started_at: now,
            failed: 0,
            failures: 0,
            failed_at: Timestamp::default(),
            over: None,
        }
    }

    /// The Job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Pods that have succeeded, and that have failed.
    pub fn counts(&self) -> (u32, u32) {
        let done = self.places.iter().filter(|place| **place == Place::Succeeded).count();
        (u32::try_from(done).unwrap_or(u32::MAX), self.failed)
    }

    /// What is to be done. `restarts` are those of the containers of its running pods, where their
    /// `restartPolicy` is `OnFailure`: they count as failures.
    pub fn next(&mut self, restarts: u32, now: Timestamp) -> Step {
        let limit = self.job.backoff_limit;
        let restarted = if limit == 0 { restarts > 0 } else { restarts >= limit };
        let deadline = self.deadline();
        if self.over.is_none() && !self.is_complete() {
            if self.failed > limit || restarted {
                self.over = Some(Why::BackoffLimit);
            } else if deadline.is_some_and(|at| now >= at) {
                self.over = Some(Why::Deadline);
            }
        }
        if let Some(why) = self.over {
            return Step::Fail(why);
        }
        if self.is_complete() {
            return Step::Complete;
        }
        match self.free_place() {
            Some((place, tries)) => match self.back_off().filter(|at| now < *at) {
                Some(at) => Step::Wait(Some(deadline.map_or(at, |deadline| deadline.min(at)))),
                None => Step::Start(place, tries),
            },
            None => Step::Wait(deadline),
        }
    }

    /// A pod for this place runs.
    pub fn began(&mut self, place: usize) {
        if let Some(Place::Empty { tries }) = self.places.get(place).copied() {
            self.places[place] = Place::Taken { tries };
        }
    }

    /// The pod of this place has ended.
    pub fn ended(&mut self, place: usize, outcome: Outcome, now: Timestamp) {
        let Some(Place::Taken { tries }) = self.places.get(place).copied() else { return };
        self.places[place] = match outcome {
            Outcome::Succeeded => Place::Succeeded,
            Outcome::Failed | Outcome::Stopped => Place::Empty { tries: tries + 1 },
        };
        match outcome {
            Outcome::Succeeded => self.failures = 0,
            Outcome::Failed => {
                self.failed += 1;
                self.failures += 1;
                self.failed_at = now;
            }
            Outcome::Stopped => self.stop(),
        }
    }

    /// No pod is made any more.
    pub fn stop(&mut self) {
        self.over.get_or_insert(Why::Stopped);
    }

    /// How long nothing is made after the failures so far, from the last one on.
    pub fn pause(&self) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?;
        Some(BACK_OFF.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_BACK_OFF))
    }

    fn back_off(&self) -> Option<Timestamp> {
        Some(self.failed_at.after(self.pause()?))
    }

    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.job.active_deadline?;
        Some(self.started_at.after(Duration::from_secs(seconds.into())))
    }

    fn taken(&self) -> usize {
        self.places.iter().filter(|place| matches!(place, Place::Taken { .. })).count()
    }

    fn is_complete(&self) -> bool {
        match self.job.completions {
            Some(_) => self.places.iter().all(|place| *place == Place::Succeeded),
            None => self.places.contains(&Place::Succeeded) && self.taken() == 0,
        }
    }

    fn free_place(&self) -> Option<(usize, u32)> {
        let enough = self.job.completions.is_none() && self.places.contains(&Place::Succeeded);
        if enough || self.taken() >= self.job.parallelism as usize {
            return None;
        }
        self.places.iter().enumerate().find_map(|(i, place)| match place {
            Place::Empty { tries } => Some((i, *tries)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(1).after(Duration::from_secs(seconds))
    }

    fn job(completions: Option<u32>, parallelism: u32, backoff_limit: u32) -> Progress {
        let job = Job {
            name: "pi".into(),
            namespace: "default".into(),
            completions,
            parallelism,
            backoff_limit,
            active_deadline: None,
            ttl_after_finished: None,
        };
        Progress::new(job, completions.unwrap_or(parallelism) as usize, at(0))
    }

    /// Starts what is to be started; what comes then.
    fn start_all(job: &mut Progress, now: u64) -> (Vec<(usize, u32)>, Step) {
        let mut started = Vec::new();
        loop {
            match job.next(0, at(now)) {
                Step::Start(place, tries) => {
                    job.began(place);
                    started.push((place, tries));
                }
                step => return (started, step),
            }
        }
    }

    #[test]
    fn so_many_pods_run_at_a_time_until_enough_have_succeeded() {
        let mut pi = job(Some(3), 2, 6);
        assert_eq!(start_all(&mut pi, 0), (vec![(0, 0), (1, 0)], Step::Wait(None)));
        pi.ended(1, Outcome::Succeeded, at(1));
        assert_eq!(start_all(&mut pi, 1), (vec![(2, 0)], Step::Wait(None)));
        pi.ended(0, Outcome::Succeeded, at(2));
        pi.ended(2, Outcome::Succeeded, at(3));
        assert_eq!(start_all(&mut pi, 3), (vec![], Step::Complete));
        assert_eq!(pi.counts(), (3, 0));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_ten_minutes_and_a_success_ends_that() {
        let mut pi = job(Some(2), 1, 100);
        let (mut now, mut waits) = (0, Vec::new());
        for tries in 0..9 {
            assert_eq!(start_all(&mut pi, now).0, [(0, tries)]);
            pi.ended(0, Outcome::Failed, at(now));
            let (started, step) = start_all(&mut pi, now);
            let Step::Wait(Some(until)) = step else { panic!("{step:?}") };
            assert!(started.is_empty());
            let wait = until.since(at(now)).as_secs();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(start_all(&mut pi, now).0, [(0, 9)]);
        pi.ended(0, Outcome::Succeeded, at(now));
        assert_eq!(start_all(&mut pi, now).0, [(1, 0)]);
        pi.ended(1, Outcome::Failed, at(now));
        assert_eq!(start_all(&mut pi, now).1, Step::Wait(Some(at(now + 10))));
    }

    #[test]
    fn one_failure_too_many_ends_a_job_and_so_do_restarts() {
        let mut pi = job(Some(1), 1, 1);
        start_all(&mut pi, 0);
        pi.ended(0, Outcome::Failed, at(0));
        assert_eq!(start_all(&mut pi, 10).0, [(0, 1)]);
        pi.ended(0, Outcome::Failed, at(11));
        assert_eq!(start_all(&mut pi, 1_000), (vec![], Step::Fail(Why::BackoffLimit)));
        for (limit, restarts, over) in [(0, 0, false), (0, 1, true), (2, 1, false), (2, 2, true)] {
            let mut pi = job(Some(1), 1, limit);
            start_all(&mut pi, 0);
            let is_over = pi.next(restarts, at(1)) == Step::Fail(Why::BackoffLimit);
            assert_eq!(is_over, over, "{restarts} of {limit}");
        }
    }

    #[test]
    fn a_job_whose_time_is_over_fails_also_while_it_waits() {
        let mut pi = job(Some(1), 1, 6);
        pi.job.active_deadline = Some(5);
        assert_eq!(start_all(&mut pi, 0).1, Step::Wait(Some(at(5))));
        pi.ended(0, Outcome::Failed, at(1));
        assert_eq!(start_all(&mut pi, 1).1, Step::Wait(Some(at(5))), "not the back-off's end");
        assert_eq!(start_all(&mut pi, 5).1, Step::Fail(Why::Deadline));
        let mut done = job(Some(1), 1, 6);
        done.job.active_deadline = Some(5);
        start_all(&mut done, 0);
        done.ended(0, Outcome::Succeeded, at(4));
        assert_eq!(start_all(&mut done, 9).1, Step::Complete);
    }

    #[test]
    fn without_completions_the_first_success_is_the_last_start() {
        let mut queue = job(None, 2, 6);
        assert_eq!(start_all(&mut queue, 0).0, [(0, 0), (1, 0)]);
        queue.ended(0, Outcome::Succeeded, at(1));
        assert_eq!(start_all(&mut queue, 1), (vec![], Step::Wait(None)));
        queue.ended(1, Outcome::Failed, at(2));
        assert_eq!(start_all(&mut queue, 2), (vec![], Step::Complete));
    }

    #[test]
    fn a_pod_that_somebody_stopped_is_not_made_anew() {
        let mut pi = job(Some(2), 2, 6);
        start_all(&mut pi, 0);
        pi.ended(0, Outcome::Stopped, at(1));
        assert_eq!(start_all(&mut pi, 60), (vec![], Step::Fail(Why::Stopped)));
    }
}
