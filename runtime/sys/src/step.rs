//! The step runner: one change of the disk or the kernel at a time, its undo beside it.
//!
//! A verb is a list of steps. Each step has a name (`crate.verb.what`, for example
//! `shim.sandbox.pin-netns`), does exactly one kind of change, and registers its undo before it
//! acts. An undo is idempotent and finds its object by a name that was chosen before the first
//! step ran, so that another process can replay it after a crash.
//!
//! This is also where faults come in. A point is a side of a step: `<step>:before` or
//! `<step>:after`; `program/step` means that program only, and `program/step#2` its second time
//! in one process. Undos are steps too, named `<step>.undo`.
//! - `RRUN_KILL_AT=<point>`: the process that reaches it dies by SIGKILL.
//! - `RRUN_STOP_AT=<point>`, or `*` for all: it stops by SIGSTOP, so that a test can look at what
//!   is there before it kills it or lets it go on.
//! - `RRUN_STEP_LOG=<file>`: each point is appended as it is reached, as `<pid> <point>`.
//!
//! A point that there is not ends the program at its first step: nobody is to wait for it. The names
//! of all steps are in `step/names.txt`, which development builds hold; the lint suite keeps it.

use nix::sys::signal::Signal;
use std::any::Any;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where in a step a process may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Nothing has been changed yet.
    Before,
    /// The change is made, and nobody has recorded that it is.
    After,
}

struct Faults {
    faults: Vec<Fault>,
    log: Option<String>,
    program: String,
    /// How often each point was passed.
    passed: Mutex<HashMap<(String, Point), u32>>,
    /// Held from a line of the log to the end of the stop that follows it: the signal that lets
    /// one thread go on would take another's stop away.
    stop: Mutex<()>,
}

/// What happens to the process, and where; everywhere without a place.
struct Fault {
    signal: Signal,
    place: Option<(String, Point)>,
}

impl Fault {
    fn read(name: &str, signal: Signal) -> Option<Fault> {
        let point = std::env::var(name).ok()?;
        if point == "*" {
            return Some(Fault { signal, place: None });
        }
        match parse_point(&point).filter(|(step, _)| is_known(step)) {
            Some(place) => Some(Fault { signal, place: Some(place) }),
            None => {
                eprintln!("{name}: there is no point {point:?}");
                std::process::exit(2);
            }
        }
    }
}

/// Whether there is such a step; in a release everything is one.
fn is_known(place: &str) -> bool {
    #[cfg(debug_assertions)]
    const NAMES: &str = include_str!("step/names.txt");
    #[cfg(not(debug_assertions))]
    const NAMES: &str = "*";
    let step = place.rsplit_once('/').map_or(place, |(_, step)| step);
    let step = step.split_once('#').map_or(step, |(step, _)| step);
    let step = step.strip_suffix(".undo").unwrap_or(step);
    NAMES.lines().any(|name| match name.strip_suffix('*') {
        Some(beginning) => step.starts_with(beginning),
        None => step == name,
    })
}

/// `None` outside of tests.
fn faults() -> Option<&'static Faults> {
    static FAULTS: OnceLock<Option<Faults>> = OnceLock::new();
    let read = || {
        let faults: Vec<Fault> =
            [("RRUN_KILL_AT", Signal::SIGKILL), ("RRUN_STOP_AT", Signal::SIGSTOP)]
                .into_iter()
                .filter_map(|(name, signal)| Fault::read(name, signal))
                .collect();
        let log = std::env::var("RRUN_STEP_LOG").ok();
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
        (!faults.is_empty() || log.is_some()).then(|| Faults {
            faults,
            log,
            program: program.into_owned(),
            passed: Mutex::default(),
            stop: Mutex::default(),
        })
    };
    FAULTS.get_or_init(read).as_ref()
}

fn parse_point(text: &str) -> Option<(String, Point)> {
    let (name, point) = text.rsplit_once(':')?;
    let point = match point {
        "before" => Point::Before,
        "after" => Point::After,
        _ => return None,
    };
    Some((name.to_owned(), point))
}

/// Begins to follow a step; what it returns is dropped when the step's effect is over.
pub type Follow = fn(name: &str) -> Box<dyn Any>;

static FOLLOW: OnceLock<Follow> = OnceLock::new();

/// Has every step of this program followed that is run from now on, by a span for example, of which
/// this crate knows nothing. The first call counts.
pub fn follow(by: Follow) {
    let _ = FOLLOW.set(by);
}

/// Passes a point of step `name`: dies or stops here when a test asked for it.
///
/// Asynchronous steps call this on both sides of the effect; the others use
/// [`Steps`].
pub fn pass(name: &str, point: Point) {
    if let Some(faults) = faults() {
        faults.pass(name, point);
    }
}

impl Faults {
    fn note(&self, line: &str) {
        if let Some(path) = &self.log
            && let Ok(mut log) = OpenOptions::new().append(true).create(true).open(path)
        {
            // One write per line: several processes append to the same file.
            let _ = log.write_all(format!("{} {line}\n", std::process::id()).as_bytes());
        }
    }

    fn pass(&self, name: &str, point: Point) {
        let full = match self.count(name, point) {
            1 => format!("{}/{name}", self.program),
            times => format!("{}/{name}#{times}", self.program),
        };
        let side = if point == Point::Before { "before" } else { "after" };
        let _one_at_a_time = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        self.note(&format!("{full}:{side}"));
        let here = |fault: &&Fault| match &fault.place {
            Some((step, at)) => *at == point && (step == name || *step == full),
            None => true,
        };
        if let Some(fault) = self.faults.iter().find(here) {
            // To this thread, which goes no further; the others stop or die with it.
            let _ = nix::sys::signal::raise(fault.signal);
        }
    }

    fn count(&self, name: &str, point: Point) -> u32 {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry((name.to_owned(), point)).or_default();
        *count += 1;
        *count
    }
}

/// An undo that was registered and not yet run.
struct Undo<E> {
    name: &'static str,
    run: Box<dyn FnOnce() -> Result<(), E> + Send>,
}

/// A running verb: the steps done so far, and how to take them back.
///
/// Dropped without [`Steps::commit`], it rolls back and forgets the errors; call
/// [`Steps::roll_back`] to have them.
pub struct Steps<E> {
    undos: Vec<Undo<E>>,
}

impl<E> Default for Steps<E> {
    fn default() -> Self {
        Steps { undos: Vec::new() }
    }
}

impl<E> Steps<E> {
    /// Runs one step. The undo is registered before the effect runs, because an effect that
    /// fails half-way must be taken back too.
    pub fn run<T>(
        &mut self,
        name: &'static str,
        effect: impl FnOnce() -> Result<T, E>,
        undo: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<T, E> {
        self.undos.push(Undo { name, run: Box::new(undo) });
        run(name, effect)
    }

    /// All steps stay: the verb has succeeded and its record is written.
    pub fn commit(mut self) {
        self.undos.clear();
    }

    /// Takes every step back, last first, and returns what could not be taken back.
    pub fn roll_back(mut self) -> Vec<(&'static str, E)> {
        self.drain()
    }

    fn drain(&mut self) -> Vec<(&'static str, E)> {
        let mut left = Vec::new();
        while let Some(undo) = self.undos.pop() {
            let name = format!("{}.undo", undo.name);
            if let Err(error) = run(&name, undo.run) {
                left.push((undo.name, error));
            }
        }
        left
    }
}

impl<E> Drop for Steps<E> {
    fn drop(&mut self) {
        self.drain();
    }
}

/// Runs a step that has nothing to take back: a removal, or a change that lives inside an object
/// whose own step takes it back.
pub fn run<T, E>(name: &str, effect: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    pass(name, Point::Before);
    let followed = FOLLOW.get().map(|by| by(name));
    let value = effect()?;
    drop(followed);
    pass(name, Point::After);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_failed_verb_is_taken_back_last_step_first_with_the_failed_step_included() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let undo = |name: &'static str| {
            let seen = Arc::clone(&seen);
            move || {
                seen.lock().unwrap().push(name);
                Ok(())
            }
        };
        let mut steps = Steps::<&str>::default();
        steps.run("a", || Ok(()), undo("a")).unwrap();
        let failed = steps.run("b", || Err::<(), _>("no"), undo("b"));
        assert_eq!(failed, Err("no"));
        drop(steps);
        assert_eq!(*seen.lock().unwrap(), ["b", "a"]);
    }

    #[test]
    fn what_could_not_be_undone_is_reported_and_the_rest_is_still_undone() {
        let mut steps = Steps::<&str>::default();
        let done = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&done);
        steps
            .run(
                "a",
                || Ok(()),
                move || {
                    *flag.lock().unwrap() = true;
                    Ok(())
                },
            )
            .unwrap();
        steps.run("b", || Ok(()), || Err("stuck")).unwrap();
        assert_eq!(steps.roll_back(), [("b", "stuck")]);
        assert!(*done.lock().unwrap());
    }

    #[test]
    fn a_committed_verb_is_not_taken_back() {
        let mut steps = Steps::<&str>::default();
        steps.run("a", || Ok(()), || Err("must not run")).unwrap();
        steps.commit();
    }

    #[test]
    fn a_kill_point_names_its_step_and_its_side() {
        assert_eq!(parse_point("shim.netns:before"), Some(("shim.netns".into(), Point::Before)));
        assert_eq!(parse_point("shim.netns:after"), Some(("shim.netns".into(), Point::After)));
        assert_eq!(parse_point("shim.netns"), None);
    }

    #[test]
    fn a_step_is_known_by_its_name_however_it_is_told_apart() {
        for step in ["shim.sandbox.pin", "shim.sandbox.pin.undo", "cni.add.plugin.bridge"] {
            assert!(is_known(step), "{step}");
            assert!(is_known(&format!("rrund/{step}#2")), "{step}");
        }
        for typo in ["shim.sandbox.pim", "shim.sandbox", "shim.sandbox.pin.redo", ""] {
            assert!(!is_known(typo), "{typo}");
        }
    }
}
