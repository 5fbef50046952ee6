//! The loop around one pod: its records, and what others ask for.

use std::path::PathBuf;
use std::sync::Arc;

use rrun_cri_api::Cri;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::control::{Asked, Request};
use super::image_gc::ImageGc;
use super::rotate::{self, Limits};
use super::store::LockedPod;
use crate::clock::Clock;
use crate::engine::PodHandle;
use crate::error::Result;
use crate::status::PodStatus;

/// A pod that is over.
#[derive(Debug)]
pub struct Ended {
    /// Still taken.
    pub pod: LockedPod,
    /// Its last status.
    pub status: PodStatus,
    /// Whether somebody asked for its removal.
    pub remove: bool,
    /// Those that wait for its end.
    pub asked: Vec<Asked>,
}

/// What the supervision of a pod leans on.
pub struct Supervision {
    /// The runtime that has it.
    pub cri: Arc<dyn Cri>,
    /// Where its logs are.
    pub logs: PathBuf,
    /// When they are rotated.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// Who collects images meanwhile, if somebody does.
    pub image_gc: Option<ImageGc>,
}

/// Keeps a pod's records, rotates its logs, collects images and does what others ask for, until
/// the pod is over. A record that cannot be written ends nothing: it is written with the next change, or in a while.
pub async fn supervise(
    mut pod: LockedPod,
    handle: Arc<PodHandle>,
    mut requests: mpsc::Receiver<Asked>,
    mut supervision: Supervision,
) -> Ended {
    let gc = supervision.image_gc.take();
    let collecting = gc.map(|gc| tokio::spawn(gc.run(handle.recorder())));
    let rotating = tokio::spawn(rotating(handle.clone(), supervision));
    let (mut state, mut events) = (handle.state(), handle.events());
    let mut again = tokio::time::interval(rotate::PERIOD);
    let mut faults = Faults::default();
    let mut unsaved = true;
    let (mut asked, mut remove, mut told_all) = (Vec::new(), false, false);
    loop {
        tokio::select! {
            changed = state.changed() => {
                unsaved = true;
                save(&mut pod, &mut state, &mut unsaved, &mut faults);
                if changed.is_err() {
                    break;
                }
            }
            event = events.recv(), if !told_all => match event {
                Ok(event) => faults.note("event", pod.record(&event)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => told_all = true,
            },
            _ = again.tick(), if unsaved => save(&mut pod, &mut state, &mut unsaved, &mut faults),
            Some(one) = requests.recv() => {
                remove |= one.request == Request::Remove;
                handle.stop(match one.request {
                    Request::Stop(grace) => grace,
                    Request::Remove => Some(0),
                });
                asked.push(one);
            }
        }
    }
    while let Some(event) = events.next_now() {
        faults.note("event", pod.record(&event));
    }
    rotating.abort();
    if let Some(collecting) = collecting {
        collecting.abort();
    }
    let status = state.borrow().status.clone();
    Ended { pod, status, remove, asked }
}

type Saved = tokio::sync::watch::Receiver<crate::state::PodState>;

fn save(pod: &mut LockedPod, state: &mut Saved, unsaved: &mut bool, faults: &mut Faults) {
    let saved = pod.save(state.borrow_and_update().clone());
    *unsaved = saved.is_err();
    faults.note("state", saved);
}

async fn rotating(handle: Arc<PodHandle>, supervision: Supervision) {
    let Supervision { cri, logs, limits, clock, .. } = supervision;
    let mut faults = Faults::default();
    loop {
        tokio::time::sleep(rotate::PERIOD).await;
        let status = handle.status().borrow().clone();
        faults.note("log", rotate::rotate(&*cri, &logs, &status, limits, clock.now()).await);
    }
}

/// What could not be done, told once until it goes well again or fails for another reason.
#[derive(Default)]
struct Faults(std::collections::BTreeMap<&'static str, String>);

impl Faults {
    fn note(&mut self, what: &'static str, result: Result<()>) {
        match result {
            Ok(()) => drop(self.0.remove(what)),
            Err(e) => {
                let text = e.to_string();
                if self.0.get(what) != Some(&text) {
                    tracing::error!("{text}");
                    self.0.insert(what, text);
                }
            }
        }
    }
}
