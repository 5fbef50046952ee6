//! The step runner: one change of the disk or the kernel at a time, its undo beside it.
//!
//! A verb is a list of steps. Each step has a name (`room.verb.what`, for example
//! `shim.sandbox.pin-netns`), does exactly one kind of change, and registers its undo before it
//! acts. An undo is idempotent and finds its object by a name that was chosen before the first
//! step ran, so that another process can replay it after a crash.
//!
//! This is also where faults come in. `RRUN_KILL_AT=<step>:before` or `<step>:after` makes the
//! process that reaches that point die by SIGKILL, which is how the tests walk every point;
//! `RRUN_STEP_LOG=<file>` appends each step as it begins, as `program/step`, the second time in
//! one process as `program/step#2`, and who dies there. `RRUN_KILL_AT` takes this form too.

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
    kill_at: Option<(String, Point)>,
    log: Option<String>,
    program: String,
    /// How often each point was passed.
    passed: Mutex<HashMap<(String, Point), u32>>,
}

/// `None` outside of tests.
fn faults() -> Option<&'static Faults> {
    static FAULTS: OnceLock<Option<Faults>> = OnceLock::new();
    let read = || {
        let kill_at = std::env::var("RRUN_KILL_AT").ok().and_then(|s| parse_point(&s));
        let log = std::env::var("RRUN_STEP_LOG").ok();
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
        (kill_at.is_some() || log.is_some()).then(|| Faults {
            kill_at,
            log,
            program: program.into_owned(),
            passed: Mutex::default(),
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

/// Passes a point of step `name`: dies here when a test asked for it.
///
/// Rooms whose steps are asynchronous call this on both sides of the effect; the others use
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
            let _ = log.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn pass(&self, name: &str, point: Point) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry((name.to_owned(), point)).or_default();
        *count += 1;
        let full = match *count {
            1 => format!("{}/{name}", self.program),
            times => format!("{}/{name}#{times}", self.program),
        };
        if point == Point::Before {
            self.note(&full);
        }
        if let Some((step, at)) = &self.kill_at
            && (step == name || *step == full)
            && *at == point
        {
            let side = if point == Point::Before { "before" } else { "after" };
            self.note(&format!("dies at {full}:{side}"));
            let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL);
        }
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
        only(name, effect)
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
            if let Err(error) = (undo.run)() {
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
pub fn only<T, E>(name: &'static str, effect: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    pass(name, Point::Before);
    let value = effect()?;
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
}
