//! The Jobs of a manifest: which of their pods are made when, and what comes of them.

use crate::context::Context;
use crate::many::full_name as name_of_pod;
use crate::terminal;
use rrun_pod::clock::Clock;
use rrun_pod::job::{Outcome, Progress, Step, Why};
use rrun_pod::model::{Job, Pod, RestartPolicy};
use rrun_pod::supervise::Entry;
use std::time::Duration;

/// `namespace/name`
pub fn full_name(job: &Job) -> String {
    format!("{}/{}", job.namespace, job.name)
}

/// A Job that is run.
pub struct JobRun {
    progress: Progress,
    clock: Clock,
    /// Its pods, a place each.
    pods: Vec<Pod>,
    /// How many have failed in each place.
    tries: Vec<u32>,
    running: Vec<bool>,
    /// Whether ended pods stay on record.
    kept: bool,
    /// What it has come to.
    over: Option<Result<(), Why>>,
}

/// What a Job wants.
pub enum Wanted {
    /// A process for this pod, and its place.
    Start(Box<Pod>, usize),
    /// Nothing before one of its pods ends, or this time has passed.
    Wait(Option<Duration>),
    /// The end of those of its pods that run.
    End,
}

impl JobRun {
    /// The Jobs of these pods, in their order.
    pub fn of(pods: &[Pod], kept: bool) -> Vec<JobRun> {
        let mut jobs: Vec<JobRun> = Vec::new();
        for pod in pods {
            let Some(job) = &pod.job else { continue };
            match jobs.iter_mut().find(|other| other.progress.job() == &**job) {
                Some(other) => other.pods.push(pod.clone()),
                None => jobs.push(JobRun::new(job, pod, kept)),
            }
        }
        for job in &mut jobs {
            let places = job.pods.len();
            let now = job.clock.now();
            job.progress = Progress::new(job.progress.job().clone(), places, now);
            (job.tries, job.running) = (vec![0; places], vec![false; places]);
        }
        jobs
    }

    fn new(job: &Job, pod: &Pod, kept: bool) -> JobRun {
        let clock = Clock::system();
        let progress = Progress::new(job.clone(), 0, clock.now());
        let pods = vec![pod.clone()];
        let (tries, running) = (Vec::new(), Vec::new());
        JobRun { progress, clock, pods, tries, running, kept, over: None }
    }

    /// The Job.
    pub fn job(&self) -> &Job {
        self.progress.job()
    }

    /// What it wants now. What it has come to is told when that is known.
    pub async fn next(&mut self, context: &Context) -> Wanted {
        let restarts = self.restarts(context).await;
        let now = self.clock.now();
        match self.progress.next(restarts, now) {
            Step::Start(place, tries) => {
                if tries > 0 && self.is_forgotten(context, place).await {
                    self.stop();
                    return Wanted::End;
                }
                self.progress.began(place);
                self.running[place] = true;
                Wanted::Start(Box::new(self.pod(place)), place)
            }
            Step::Wait(until) => Wanted::Wait(until.map(|at| at.since(now))),
            Step::Complete => {
                self.end(Ok(()));
                Wanted::End
            }
            Step::Fail(why) => {
                self.end(Err(why));
                Wanted::End
            }
        }
    }

    /// The pod of a place as the manifest has it.
    pub fn first(&self, place: usize) -> &Pod {
        &self.pods[place]
    }

    /// Whether what it has come to is known.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// How many have failed in a place.
    pub fn tries(&self, place: usize) -> u32 {
        self.tries[place]
    }

    /// The pod of a place has ended.
    pub fn ended(&mut self, place: usize, outcome: Outcome) {
        let name = name_of_pod(&self.pod(place));
        self.running[place] = false;
        self.progress.ended(place, outcome, self.clock.now());
        if outcome != Outcome::Failed {
            return;
        }
        self.tries[place] += 1;
        let (_, failed) = self.progress.counts();
        let limit = self.job().backoff_limit;
        if failed <= limit && self.over.is_none() {
            let wait = self.progress.pause().unwrap_or_default().as_secs();
            self.say(&format!("pod {name} has failed ({failed} of {limit}): the next in {wait} s"));
        }
    }

    /// Makes no pod any more, because a person wants no more of it.
    pub fn stop(&mut self) {
        self.progress.stop();
        self.end(Err(Why::Stopped));
    }

    /// Whether it has failed.
    pub fn has_failed(&self) -> bool {
        self.over.is_some_and(|over| over.is_err())
    }

    /// The names of all pods that were made.
    pub fn made(&self) -> Vec<String> {
        let of_place = |(pod, tries): (&Pod, &u32)| -> Vec<String> {
            (0..=*tries).map(|tries| name_of_pod(&with(pod, tries))).collect()
        };
        self.pods.iter().zip(&self.tries).flat_map(of_place).collect()
    }

    /// The pod that runs in a place, or would run next.
    fn pod(&self, place: usize) -> Pod {
        with(&self.pods[place], self.tries[place])
    }

    /// Whether somebody has removed the pod that failed in a place.
    async fn is_forgotten(&self, context: &Context, place: usize) -> bool {
        let before = with(&self.pods[place], self.tries[place].saturating_sub(1));
        self.kept && context.store.find(&name_of_pod(&before)).await.is_err()
    }

    /// Restarts of containers that count as failures of pods.
    async fn restarts(&self, context: &Context) -> u32 {
        let counts = |pod: &Pod| pod.spec.restart_policy == RestartPolicy::OnFailure;
        if !self.pods.first().is_some_and(counts) {
            return 0;
        }
        let places = (0..self.pods.len()).filter(|place| self.running[*place]);
        let mut sum = 0;
        for place in places {
            let found = context.store.find(&name_of_pod(&self.pod(place))).await;
            sum += found.map_or(0, |entry| restarts(&entry));
        }
        sum
    }

    fn end(&mut self, over: Result<(), Why>) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(over);
        let (succeeded, failed) = self.progress.counts();
        self.say(&match over.map_err(Why::words) {
            Ok(()) => format!("Complete ({succeeded} succeeded, {failed} failed)"),
            Err((reason, message)) => format!("Failed: {reason}: {message}"),
        });
    }

    fn say(&self, text: &str) {
        terminal::tell(format_args!("job {}: {text}", full_name(self.job())));
    }
}

fn with(pod: &Pod, tries: u32) -> Pod {
    if tries == 0 { pod.clone() } else { pod.clone().again(tries) }
}

fn restarts(entry: &Entry) -> u32 {
    let Some(state) = &entry.state else { return 0 };
    let status = &state.status;
    let all = status.init_containers.iter().chain(&status.containers);
    if status.phase.is_terminal() { 0 } else { all.map(|one| one.restart_count).sum() }
}
