//! The runner of verbs: a verb is a static list of steps, each with its undo beside it.
//!
//! [`rrun_sys::step`] says what a step is. This runner adds two things: steps are asynchronous,
//! and an undo sees only what is on record (`OnRecord`), because the process that replays it after
//! a crash has nothing else.

use crate::error::{Error, Result};
use rrun_sys::step::{Point, pass};
use std::future::Future;
use std::pin::Pin;
use tracing::Instrument;

/// What a step does, while it does it.
pub(crate) type Doing<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A verb on its way: what its steps share, and what of it can be found again from the record.
pub(crate) trait Verb: Send + Sync {
    /// The object on record.
    type OnRecord: Send + Sync;

    /// The object on record.
    fn on_record(&self) -> &Self::OnRecord;
}

/// One change of one kind. Both sides are idempotent.
pub(crate) struct Step<V: Verb> {
    pub(crate) name: &'static str,
    pub(crate) apply: for<'a> fn(&'a mut V) -> Doing<'a>,
    /// `None` for a step that leaves nothing behind, or only inside what another one takes back.
    pub(crate) undo: Option<Undo<V::OnRecord>>,
}

/// How a step is taken back, from what is on record.
pub(crate) type Undo<K> = for<'a> fn(&'a K) -> Doing<'a>;

/// The steps of a verb.
pub(crate) struct List<V: Verb + 'static> {
    /// Those that put the intent on record. They are taken back only when every effect has been:
    /// what could not be undone stays on record.
    pub(crate) intent: &'static [Step<V>],
    /// The others.
    pub(crate) effects: &'static [Step<V>],
}

/// What could not be undone, and why.
pub(crate) type NotUndone = Vec<(&'static str, Error)>;

impl<V: Verb> List<V> {
    /// Runs all steps; on failure takes back what was begun, last first, the failed step
    /// included, because an effect may fail half-way.
    pub(crate) async fn run(&self, verb: &mut V) -> Result<(), (Error, NotUndone)> {
        for (at, step) in self.intent.iter().chain(self.effects).enumerate() {
            match one(step, verb).await {
                Ok(()) => {}
                #[cfg(test)]
                Err(error) if faults::is_death(&error) => return Err((error, NotUndone::new())),
                Err(error) => {
                    let not_undone = self.undo_first(at + 1, verb.on_record()).await;
                    return Err((error, not_undone));
                }
            }
        }
        Ok(())
    }

    /// Takes everything back: for an object whose maker is gone.
    pub(crate) async fn undo(&self, on_record: &V::OnRecord) -> NotUndone {
        self.undo_first(self.intent.len() + self.effects.len(), on_record).await
    }

    /// The names of its steps, in order.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.intent.iter().chain(self.effects).map(|step| step.name).collect()
    }

    async fn undo_first(&self, count: usize, on_record: &V::OnRecord) -> NotUndone {
        let mut not_undone = NotUndone::new();
        let begun = self.intent.iter().chain(self.effects).take(count);
        for (at, step) in begun.enumerate().collect::<Vec<_>>().into_iter().rev() {
            if at < self.intent.len() && !not_undone.is_empty() {
                break;
            }
            let Some(undo) = step.undo else { continue };
            let name = format!("{}.undo", step.name);
            if let Err(error) = run_step(&name, undo(on_record)).await {
                not_undone.push((step.name, error));
            }
        }
        not_undone
    }
}

async fn one<V: Verb>(step: &Step<V>, verb: &mut V) -> Result<()> {
    run_step(step.name, (step.apply)(verb)).await
}

/// Runs a step that stands in no list, because nothing takes it back.
pub(crate) async fn run_step<T>(name: &str, effect: impl Future<Output = Result<T>>) -> Result<T> {
    pass(name, Point::Before);
    #[cfg(test)]
    faults::meet(name, Point::Before)?;
    let value = effect.instrument(tracing::debug_span!("step", name)).await?;
    #[cfg(test)]
    faults::meet(name, Point::After)?;
    pass(name, Point::After);
    Ok(value)
}

/// Faults for tests within one process: a step that fails, or a maker that dies there.
#[cfg(test)]
pub(crate) mod faults {
    use super::{Error, Point, Result};
    use std::cell::RefCell;

    thread_local! {
        static PLAN: RefCell<Option<(String, Point, bool)>> = const { RefCell::new(None) };
    }

    /// Lets the next pass of a point fail, or die: without undoing anything.
    pub(crate) fn plan(name: &str, point: Point, dies: bool) {
        PLAN.with_borrow_mut(|plan| *plan = Some((name.to_owned(), point, dies)));
    }

    pub(super) fn meet(name: &str, point: Point) -> Result<()> {
        PLAN.with_borrow_mut(|plan| match plan {
            Some((step, at, dies)) if step == name && *at == point => {
                let error = Error::internal(if *dies { "died" } else { "failed on purpose" });
                *plan = None;
                Err(error)
            }
            _ => Ok(()),
        })
    }

    pub(super) fn is_death(error: &Error) -> bool {
        error.to_string() == "died"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Trial {
        seen: Mutex<Vec<&'static str>>,
        fail_at: &'static str,
        stuck: &'static str,
    }

    impl Verb for Trial {
        type OnRecord = Trial;

        fn on_record(&self) -> &Trial {
            self
        }
    }

    impl Trial {
        fn apply(&self, name: &'static str) -> Doing<'_> {
            self.seen.lock().unwrap().push(name);
            let failed = self.fail_at == name;
            Box::pin(async move { if failed { Err(Error::invalid("no")) } else { Ok(()) } })
        }

        fn undo(&self, name: &'static str) -> Doing<'_> {
            let stuck = self.stuck == name;
            if !stuck {
                self.seen.lock().unwrap().push(name);
            }
            Box::pin(async move { if stuck { Err(Error::invalid("stuck")) } else { Ok(()) } })
        }
    }

    static TRIAL: List<Trial> = List {
        intent: &[Step {
            name: "t.record",
            apply: |t| t.apply("record"),
            undo: Some(|t| t.undo("-record")),
        }],
        effects: &[
            Step { name: "t.a", apply: |t| t.apply("a"), undo: Some(|t| t.undo("-a")) },
            Step { name: "t.b", apply: |t| t.apply("b"), undo: Some(|t| t.undo("-b")) },
            Step { name: "t.c", apply: |t| t.apply("c"), undo: Some(|t| t.undo("-c")) },
        ],
    };

    async fn run(fail_at: &'static str, stuck: &'static str) -> (Vec<&'static str>, usize) {
        let mut trial = Trial { seen: Mutex::default(), fail_at, stuck };
        let not_undone =
            TRIAL.run(&mut trial).await.err().map_or(0, |(_, not_undone)| not_undone.len());
        (trial.seen.into_inner().unwrap(), not_undone)
    }

    #[tokio::test]
    async fn a_failed_verb_is_taken_back_last_step_first_with_the_failed_step_included() {
        let seen = run("b", "").await;
        assert_eq!(seen, (vec!["record", "a", "b", "-b", "-a", "-record"], 0));
    }

    #[tokio::test]
    async fn what_could_not_be_undone_keeps_its_record_and_the_rest_is_undone() {
        let seen = run("c", "-b").await;
        assert_eq!(seen, (vec!["record", "a", "b", "c", "-c", "-a"], 1));
    }

    #[tokio::test]
    async fn a_verb_that_succeeds_is_not_taken_back() {
        assert_eq!(run("", "").await, (vec!["record", "a", "b", "c"], 0));
    }
}
