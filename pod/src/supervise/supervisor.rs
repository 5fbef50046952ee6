//! The loop around one pod: its records, and what others ask for.

use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use rrun_cri_api::Cri;
use tokio::sync::mpsc;

use super::container_gc::ContainerGc;
use super::control::{self, Asked, Request};
use super::definition::Definition;
use super::image_gc::ImageGc;
use super::recording::{self, Faults};
use super::rotate::{self, Limits};
use super::store::{LockedPod, Redefinition};
use crate::clock::Clock;
use crate::engine::PodHandle;
use crate::ephemeral::Ephemeral;
use crate::error::Result;
use crate::state::Ending;
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
    /// Who collects dead containers meanwhile, if somebody does.
    pub container_gc: Option<ContainerGc>,
}

/// Keeps a pod's records, rotates its logs, collects images and containers and does what others ask
/// for, until the pod is over. A record that cannot be written ends nothing: it is written with the next
/// change, or in a while.
pub async fn supervise(
    pod: LockedPod,
    handle: Arc<PodHandle>,
    requests: mpsc::Receiver<Asked>,
    mut supervision: Supervision,
) -> Ended {
    let images = supervision.image_gc.take();
    let containers = supervision.container_gc.take();
    let beside = [
        images.map(|gc| tokio::spawn(gc.run(handle.recorder()))),
        containers.map(|gc| tokio::spawn(gc.run(handle.recorder()))),
        Some(tokio::spawn(rotating(handle.clone(), supervision))),
    ];
    let mut asked = Vec::new();
    let mut remove = false;
    // A disk that hangs under the records keeps nobody from stopping the pod.
    let redefinition = pod.redefinition();
    let (applies, to_apply) = mpsc::unbounded_channel();
    let waiting = (&mut asked, &mut remove);
    let pod = tokio::select! {
        pod = recording::record(pod, &handle) => pod,
        never = serve(requests, &handle, waiting, applies) => match never {},
        never = editing(to_apply, &handle, redefinition) => match never {},
    };
    beside.iter().flatten().for_each(tokio::task::JoinHandle::abort);
    let status = handle.state().borrow().status.clone();
    Ended { pod, status, remove, asked }
}

/// Does what others ask for, and notes who they are. What is not written or removed for long after
/// the end keeps nobody waiting.
async fn serve(
    mut requests: mpsc::Receiver<Asked>,
    handle: &PodHandle,
    (asked, remove): (&mut Vec<Asked>, &mut bool),
    applies: mpsc::UnboundedSender<Asked>,
) -> Infallible {
    let late = late(handle);
    tokio::pin!(late);
    let mut is_late = false;
    loop {
        tokio::select! {
            () = &mut late, if !is_late => is_late = true,
            Some(one) = requests.recv() => {
                let grace = match &one.request {
                    Request::Stop(grace) => *grace,
                    Request::Remove => Some(0),
                    Request::Apply(_) | Request::Debug(_) | Request::Restart => {
                        // Who takes them goes on as long as this does.
                        let _ = applies.send(one);
                        continue;
                    }
                };
                *remove |= one.request == Request::Remove;
                handle.stop(grace);
                asked.push(one);
            }
            else => return pending().await,
        }
        if is_late {
            for one in std::mem::take(asked) {
                one.answer(&Err(control::late())).await;
            }
        }
    }
}

/// Does what others ask for that is no end of the pod, one after the other. What is on record is so before it is
/// begun: whoever takes the pod over goes on with it.
async fn editing(
    mut applies: mpsc::UnboundedReceiver<Asked>,
    handle: &PodHandle,
    mut redefinition: Redefinition,
) -> Infallible {
    while let Some(one) = applies.recv().await {
        // Apart from what waits for it, as long as the pod runs.
        let done = Box::pin(edit(&one.request, handle, &mut redefinition)).await;
        one.answer(&done).await;
    }
    pending().await
}

async fn edit(request: &Request, handle: &PodHandle, on_record: &mut Redefinition) -> Result<()> {
    let definition = match request {
        Request::Apply(definition) => definition,
        Request::Debug(container) => return handle.add(Ephemeral::clone(container)),
        Request::Restart => {
            handle.restart().await;
            return Ok(());
        }
        Request::Stop(_) | Request::Remove => return Ok(()),
    };
    let next = handle.edition(&definition.pod_with(&handle.meta().uid)?)?;
    on_record.write(Definition::clone(definition)).await?;
    handle.update(next);
    Ok(())
}

/// Until the pod has ended and some time after.
async fn late(handle: &PodHandle) {
    let mut state = handle.state();
    // It closes when all is done, and then nobody waits any more.
    let _ = state.wait_for(|state| state.ending == Ending::Done).await;
    tokio::time::sleep(control::PATIENCE).await;
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
