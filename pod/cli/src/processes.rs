//! The processes of the pods of one manifest: each is this very program for one pod.

use crate::args;
use crate::context::Context;
use crate::detach;
use crate::jobs::{self, JobRun, Wanted};
use crate::many::{self, Asked, full_name};
use crate::stop;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use rrun_pod::job::Outcome;
use rrun_pod::model::Pod;
use rrun_sys::pidfd;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// The exit code of the process for a pod of a Job that did not succeed because somebody stopped it.
pub const STOPPED: u8 = 3;

/// How often the restarts of containers are counted, where they count as failures.
const COUNT: Duration = Duration::from_secs(2);

/// Which pod a process is for.
#[derive(Clone, Copy)]
struct Of {
    /// Of these Jobs, and which place it has there; none of any other pod.
    job: Option<(usize, usize)>,
    /// In [`Processes::pidfds`].
    number: usize,
}

/// The processes, and what they are for.
struct Processes<'a> {
    context: &'a Context,
    asked: &'a Asked,
    /// Whether they are background halves.
    detached: bool,
    jobs: Vec<JobRun>,
    ends: JoinSet<(Of, std::io::Result<ExitStatus>)>,
    pidfds: Vec<Option<(OwnedFd, Of)>>,
    code: i32,
    /// What the first of the background halves has accepted.
    accepted: Option<String>,
}

/// Runs all pods until they have ended, those of Jobs as their controller would. Signals are passed
/// on. In the background it does so for one Job.
pub async fn run(
    context: &Context,
    mut asked: Asked,
    args: &args::Run,
    background: bool,
) -> Result<ExitCode> {
    if let Some(wanted) = &args.job {
        let is_of = |pod: &Pod| pod.job.as_ref().is_some_and(|job| jobs::full_name(job) == *wanted);
        asked.pods.retain(is_of);
    } else {
        many::print_notes(&asked.pods);
    }
    let mut processes = Processes {
        context,
        asked: &asked,
        detached: background,
        jobs: JobRun::of(&asked.pods, args.keep || background),
        ends: JoinSet::new(),
        pidfds: Vec::new(),
        code: 0,
        accepted: None,
    };
    for pod in asked.pods.iter().filter(|pod| pod.job.is_none()) {
        // Those that run already are attended to their end.
        if !processes.start(pod, None).await {
            break;
        }
    }
    let code = processes.attend().await?;
    if background {
        remove_in_time(context, &processes.jobs).await;
    }
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(2)))
}

/// Removes the pods of Jobs that say how long after their end.
async fn remove_in_time(context: &Context, jobs: &[JobRun]) {
    for job in jobs {
        let Some(seconds) = job.job().ttl_after_finished else { continue };
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        for pod in job.made() {
            if context.store.find(&pod).await.is_ok()
                && let Err(error) = stop::remove(context, &pod, true).await
            {
                terminal::tell(format_args!("pod {pod}: {error:#}"));
            }
        }
    }
}

impl Processes<'_> {
    /// Until no process runs and no Job wants one.
    async fn attend(&mut self) -> Result<i32> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Caught so that it does not end the background half.
        let _hangup = self.detached.then(|| signal(SignalKind::hangup())).transpose()?;
        loop {
            let wait = self.work_on_jobs().await;
            if self.ends.is_empty() && wait.is_none() {
                let failed = self.jobs.iter().any(JobRun::has_failed);
                return Ok(self.code.max(i32::from(failed)));
            }
            let pause = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            let signal = tokio::select! {
                Some(ended) = self.ends.join_next() => {
                    let (of, status) = ended.context("wait for a pod's process")?;
                    self.ended(of, status.context("wait for a pod's process")?);
                    continue;
                }
                () = pause => continue,
                _ = interrupt.recv() => Signal::SIGINT,
                _ = terminate.recv() => Signal::SIGTERM,
            };
            self.jobs.iter_mut().for_each(JobRun::stop);
            self.pass_on(signal, |_| true);
        }
    }

    /// Does what Jobs want: for how long none of them wants anything; `None` where none will.
    async fn work_on_jobs(&mut self) -> Option<Duration> {
        let mut soonest = None;
        for job in 0..self.jobs.len() {
            let wait = self.work_on_job(job).await;
            soonest = [soonest, wait].into_iter().flatten().min();
        }
        soonest
    }

    async fn work_on_job(&mut self, job: usize) -> Option<Duration> {
        let was_over = self.jobs[job].is_over();
        loop {
            match self.jobs[job].next(self.context).await {
                Wanted::Start(pod, place) => {
                    if !self.start(&pod, Some((job, place))).await {
                        self.jobs[job].ended(place, Outcome::Stopped);
                    }
                }
                Wanted::Wait(wait) => return Some(wait.unwrap_or(COUNT).min(COUNT)),
                Wanted::End if was_over => return None,
                Wanted::End => {
                    let is_its = |of: &Of| of.job.is_some_and(|(its, _)| its == job);
                    self.pass_on(Signal::SIGTERM, is_its);
                    return None;
                }
            }
        }
    }

    /// Starts the process of a pod. What keeps it from that is told.
    async fn start(&mut self, pod: &Pod, job: Option<(usize, usize)>) -> bool {
        match self.try_start(pod, job).await {
            Ok(()) => true,
            Err(error) => {
                terminal::tell(format_args!("pod {}: {error:#}", full_name(pod)));
                self.code = 2;
                false
            }
        }
    }

    async fn try_start(&mut self, pod: &Pod, job: Option<(usize, usize)>) -> Result<()> {
        let place = job.map(|(job, place)| (&self.jobs[job], place));
        let tries = place.map(|(job, place)| job.tries(place).to_string());
        let mut options = Vec::new();
        if self.detached {
            options.push("--background");
        }
        if let Some(tries) = &tries {
            options.extend(["--tries", tries]);
        }
        let named = place.map_or(pod, |(job, place)| job.first(place));
        let mut command = self.asked.command(named, &options)?;
        let child = if self.detached {
            let detach::Started { mut child, accepted } =
                detach::start(command, self.asked.input.as_deref()).await?;
            if accepted.is_empty() {
                child.wait().await.context("wait for it")?;
                bail!("it was not accepted");
            }
            self.accept(accepted.trim()).await?;
            child
        } else {
            let mut child = command.spawn().context("start a process for it")?;
            many::give(&mut child, self.asked.input.as_deref()).await;
            child
        };
        self.watch(child, job)
    }

    fn watch(&mut self, mut child: Child, job: Option<(usize, usize)>) -> Result<()> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).context("it has ended")?;
        let process = pidfd::open(pid).context("open its pidfd")?;
        let of = Of { job, number: self.pidfds.len() };
        self.pidfds.push(Some((process, of)));
        self.ends.spawn(async move { (of, child.wait().await) });
        Ok(())
    }

    /// The first pod of a background half is what that has accepted.
    async fn accept(&mut self, uid: &str) -> Result<()> {
        if self.accepted.is_none() {
            self.accepted = Some(uid.to_owned());
            let entry = self.context.store.find(uid).await?;
            detach::accepted(&self.context.store, &entry).await?;
        }
        Ok(())
    }

    fn ended(&mut self, of: Of, status: ExitStatus) {
        self.pidfds[of.number] = None;
        let code = status.code().unwrap_or(1);
        let Some((job, place)) = of.job else {
            self.code = self.code.max(code);
            return;
        };
        let outcome = match code {
            0 => Outcome::Succeeded,
            1 => Outcome::Failed,
            _ => Outcome::Stopped,
        };
        if outcome == Outcome::Stopped && code != i32::from(STOPPED) {
            self.code = 2;
        }
        self.jobs[job].ended(place, outcome);
    }

    fn pass_on(&self, signal: Signal, to: impl Fn(&Of) -> bool) {
        for (process, _) in self.pidfds.iter().flatten().filter(|(_, of)| to(of)) {
            // One that has ended already needs none, and its number may be somebody else's.
            let _ = pidfd::send_signal(process.as_fd(), signal as i32);
        }
    }
}
