//! What each step changes: a life is stopped at every point, and looked at.
//!
//! Between two points that follow each other, only the innermost step that is open may change
//! something, and each step only one kind of thing: so every change of the disk or the kernel that
//! the view can see is a step of its own.

use crate::log::{Log, PATIENCE, Passed, await_stop, go_on};
use anyhow::{Context, Result};
use rrun_tests::leaks::{Kind, Snapshot, View};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What a step changes, as far as a step may change only one of them. A pin and a socket are files
/// that the view also lists by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Mount,
    Cgroup,
    Link,
    Rule,
    Process,
    File,
    Row,
    Name,
}

impl Change {
    fn of(kind: Kind) -> Change {
        match kind {
            Kind::Mount => Change::Mount,
            Kind::Cgroup => Change::Cgroup,
            Kind::Link => Change::Link,
            Kind::Nft => Change::Rule,
            Kind::Process => Change::Process,
            Kind::Row => Change::Row,
            Kind::Name => Change::Name,
            Kind::File | Kind::Socket | Kind::Netns => Change::File,
        }
    }
}

/// Steps that may change two kinds of things, and why.
const TWO: &[(&str, &str)] = &[(
    "runtime.create.init",
    "the child that is cloned makes the mount points in its own root meanwhile; they go with the \
     writable layer",
)];

/// Steps of a thread beside the one that takes the others, and how the name of what they change ends:
/// others begin and end meanwhile, and are none of theirs.
const BESIDE: &[(&str, &str)] = &[("shim.log.journal-removed", ".journal")];

/// In the place of a point, in a line of our own.
const MARK: &str = "mark";

/// The stops of what runs with `RRUN_STOP_AT=*`.
pub struct Census {
    stops: Arc<Mutex<Vec<(Passed, Snapshot)>>>,
    /// The first look that could not be had: what comes after it tells nothing.
    faults: Arc<Mutex<Option<anyhow::Error>>>,
    looks: Arc<tokio::sync::Mutex<bool>>,
    marked: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Census {
    /// From now on, whoever stops is let go on.
    pub fn begin(log: &Arc<tokio::sync::Mutex<Log>>, view: &Arc<View>) -> Census {
        let stops = Arc::new(Mutex::new(Vec::new()));
        let looks = Arc::new(tokio::sync::Mutex::new(false));
        let look = Arc::clone(&looks);
        let marked = Arc::new(Notify::new());
        let mark = Arc::clone(&marked);
        let (log, view, all) = (Arc::clone(log), Arc::clone(view), Arc::clone(&stops));
        let faults = Arc::new(Mutex::new(None));
        let fault = Arc::clone(&faults);
        let task = tokio::spawn(async move {
            let mut log = log.lock_owned().await;
            while let Ok(passed) = log.next().await {
                if passed.point == MARK {
                    mark.notify_one();
                    continue;
                }
                let pid = passed.pid;
                if let Err(error) = await_stop(pid).await {
                    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
                let looks = look.lock().await;
                if !*looks {
                    go_on(pid);
                    continue;
                }
                match Snapshot::take(&view) {
                    Ok(now) => {
                        all.lock().unwrap_or_else(PoisonError::into_inner).push((passed, now))
                    }
                    Err(error) => {
                        let error = error.context(passed.point);
                        fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
                go_on(pid);
            }
        });
        Census { stops, faults, looks, marked, task }
    }

    /// Waits until all that was written to the log so far has been read: a point of somebody who is
    /// dead by now is none of what comes.
    pub async fn catch_up(&self, log: &str) -> Result<()> {
        OpenOptions::new().append(true).open(log)?.write_all(format!("0 {MARK}\n").as_bytes())?;
        let read = tokio::time::timeout(PATIENCE, self.marked.notified()).await;
        read.context("the mark in the step log is not read")
    }

    /// Whether it is looked at as well. A look that has begun is waited for: it opens the
    /// databases, which makes files beside them.
    pub async fn look(&self, looks: bool) {
        *self.looks.lock().await = looks;
    }

    /// The points that were reached, and what is wrong with the changes between them.
    pub async fn end(self) -> Result<(Vec<String>, Vec<String>)> {
        self.task.abort();
        let _ = self.task.await;
        if let Some(fault) = self.faults.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        let stops = std::mem::take(&mut *self.stops.lock().unwrap_or_else(PoisonError::into_inner));
        let mut points: Vec<String> = Vec::new();
        for (passed, _) in &stops {
            if !points.contains(&passed.point) {
                points.push(passed.point.clone());
            }
        }
        Ok((points, breaches(&stops)))
    }
}

/// A step on its way, and what it has changed.
struct Open {
    step: String,
    /// Other steps have begun in it.
    is_outer: bool,
    changes: BTreeMap<Change, Vec<String>>,
}

impl Open {
    /// Without the program, and the number of the time.
    fn name(&self) -> &str {
        let name = self.step.split_once('/').map_or(self.step.as_str(), |(_, name)| name);
        name.split('#').next().unwrap_or_default()
    }

    /// How the name of what it changes ends, if others are taken beside it.
    fn changes_beside(&self) -> Option<&'static str> {
        BESIDE.iter().find(|(step, _)| *step == self.name()).map(|(_, ending)| *ending)
    }
}

/// The step that has made a change.
fn whose<'a>(open: &'a mut [Open], line: &str) -> Option<&'a mut Open> {
    let is_its = |ending: &str| line.ends_with(ending);
    let beside = open.iter().rposition(|step| step.changes_beside().is_some_and(is_its));
    let others = || open.iter().rposition(|step| step.changes_beside().is_none());
    let at = beside.or_else(others)?;
    open.get_mut(at)
}

fn breaches(stops: &[(Passed, Snapshot)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for pair in stops.windows(2) {
        let [(passed, before), (next, after)] = pair else { continue };
        match passed.point.rsplit_once(':') {
            Some((step, "before")) => {
                let outer = open.iter_mut().filter(|step| step.changes_beside().is_none());
                outer.for_each(|outer| outer.is_outer = true);
                let step = step.to_owned();
                open.push(Open { step, is_outer: false, changes: BTreeMap::new() });
            }
            Some((step, _)) => {
                // By its name alone: a daemon that forks ends its step as another process.
                let at = open.iter().rposition(|open| open.step == step);
                if let Some(done) = at.map(|at| open.remove(at)) {
                    found.extend(breach(&done));
                }
            }
            None => {}
        }
        let mut lines = Vec::new();
        for (change, line) in changes(before, after) {
            match whose(&mut open, &line) {
                Some(step) => step.changes.entry(change).or_default().push(line),
                None => lines.push(line),
            }
        }
        if !lines.is_empty() {
            let lines = lines.join("\n  ");
            found.push(format!("no step, {} to {}:\n  {lines}", passed.point, next.point));
        }
    }
    found
}

/// What a step may not: change more than one kind of thing, or anything beside its own steps but
/// to start the process that these happen in.
fn breach(step: &Open) -> Option<String> {
    let starts = |change: &Change| *change == Change::Process;
    let well = match step.is_outer {
        true => step.changes.keys().all(starts),
        false => step.changes.len() < 2 || TWO.iter().any(|(known, _)| *known == step.name()),
    };
    if well {
        return None;
    }
    let what = if step.is_outer { "beside its own steps" } else { "in one step" };
    let lines: Vec<_> = step.changes.values().flatten().map(String::as_str).collect();
    Some(format!("{} {what}:\n  {}", step.step, lines.join("\n  ")))
}

/// What is another between two looks. A process is its number, whatever it is called by now. Its
/// end is no change: it dies by itself, if only of a signal, and its parent reaps it whenever one of
/// its threads comes to that, beside the step of another.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<(Change, String)> {
    let pid = |line: &str| line.split(' ').nth(1).map(str::to_owned);
    let all = before.differences(after);
    let mut times: BTreeMap<Option<String>, u32> = BTreeMap::new();
    for (_, line) in all.iter().filter(|(kind, _)| *kind == Kind::Process) {
        *times.entry(pid(line)).or_default() += 1;
    }
    let is_change = |kind: Kind, line: &str| {
        let ends = line.starts_with("gone");
        match kind {
            Kind::Process => !(ends || times.get(&pid(line)) == Some(&2)),
            // The folder of a removed pod is deleted behind, by no step.
            _ => !line.contains(".removed"),
        }
    };
    let changed = all.into_iter().filter(|(kind, line)| is_change(*kind, line));
    changed.map(|(kind, line)| (Change::of(kind), format!("{kind:?} {line}"))).collect()
}
