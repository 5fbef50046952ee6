//! `rrun run`: one pod from its manifest to its end.

use crate::args;
use crate::context::Context;
use crate::runtime::Runtime;
use crate::{detach, display, many, processes};
use anyhow::Result;
use rrun_pod::PodHandle;
use rrun_pod::status::Phase;
use rrun_pod::supervise::container_gc::ContainerGc;
use rrun_pod::supervise::logs::{LogFiles, Runs};
use rrun_pod::supervise::rotate::Limits;
use rrun_pod::supervise::{Ended, LockedPod, Supervision, control, supervise};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Runs the pods of a manifest until they have ended: 0 when all succeeded, 1 when one failed.
pub async fn run(context: &Context, args: args::Run, background: bool) -> Result<ExitCode> {
    let asked = many::read(context, &args)?;
    if asked.has_several_processes() && !args.is_one_of_many {
        return processes::run(context, asked, &args, background).await;
    }
    let (definition, pod) = asked.only()?;
    if !args.is_one_of_many {
        many::print_notes(std::slice::from_ref(&pod));
    }
    let image_gc = context.image_gc_policy()?;
    let container_gc = args.process.containers.policy()?;
    let signals = Signals::new(background)?;
    let locked = context.store.lock_to_run(definition, &pod.meta).await?;
    let opened = Runtime::open(context, &locked.entry).await;
    let runtime = match opened {
        Ok(runtime) => runtime,
        // It never began: there is nothing to look at later.
        Err(e) if locked.entry.state.is_none() => {
            return locked.discard().await.map_err(Into::into).and(Err(e));
        }
        Err(e) => return Err(e),
    };
    let process = &args.process;
    let runtime = runtime.allowing(process.unsafe_sysctls.clone(), container_gc);
    // One that was taken up before may always go on, to be ended.
    if locked.entry.state.is_none()
        && let Err(e) = runtime.pods.admit(&pod)
    {
        locked.discard().await?;
        return Err(e.into());
    }
    let limits = Limits { max_size: process.log_max_size, max_files: process.log_max_files };
    let mut supervision = runtime.supervision(&context.logs(&locked.entry), limits);
    supervision.image_gc = runtime.image_gc(context, image_gc);
    let collects = runtime.container_gc(context, container_gc);
    supervision.container_gc =
        Some(ContainerGc { period: process.container_gc_period, ..collects });
    let keep = args.keep || background;
    let shown = if background { None } else { Some(args.is_one_of_many) };
    let (phase, stopped) =
        follow(context, locked, &runtime, (signals, shown), (supervision, keep)).await?;
    Ok(match phase {
        Phase::Succeeded => ExitCode::SUCCESS,
        _ if stopped && args.tries.is_some() => ExitCode::from(processes::STOPPED),
        _ => ExitCode::from(1),
    })
}

/// The pod's last phase, and whether somebody stopped it.
async fn follow(
    context: &Context,
    pod: LockedPod,
    runtime: &Runtime,
    (signals, shown): (Signals, Option<bool>),
    (supervision, keep): (Supervision, bool),
) -> Result<(Phase, bool)> {
    let files = LogFiles::new(supervision.logs.clone(), None, Runs::All);
    let attended = runtime.attend(context, &pod).await?;
    let (count, mut counted) = watch::channel(0);
    let shown = if let Some(among_others) = shown {
        let pod = pod.entry.pod()?;
        let text = display::Text::new(&pod, among_others);
        let shown = (files.clone(), runtime.images());
        Some(display::start(text, &attended.handle, shown, counted.clone())?)
    } else {
        detach::accepted(&context.store, &pod.entry).await?;
        None
    };
    tokio::spawn(signals.stop(attended.handle.clone(), count));
    let ended = supervise(pod, attended.handle, attended.requests, supervision).await;
    let Ended { pod, status, remove, asked } = ended;
    let stopped = remove || !asked.is_empty() || *counted.borrow() > 0;
    // What is open is shown to its end, whatever is removed meanwhile.
    files.look_in_time().await;
    let work = async { if keep && !remove { Ok(()) } else { runtime.forget(pod).await } };
    let done = control::answer_with(asked, work).await;
    drop(attended.sockets);
    if let Some(shown) = shown {
        counted.mark_unchanged();
        tokio::select! {
            _ = shown => {}
            // Somebody has seen enough.
            _ = counted.changed() => {}
        }
    }
    done?;
    Ok((status.phase, stopped))
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Caught so that it does not end the background half of `--detach`.
    _hangup: Option<Signal>,
}

impl Signals {
    fn new(background: bool) -> Result<Signals> {
        let hangup = background.then(|| signal(SignalKind::hangup())).transpose()?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Signals { interrupt, terminate: signal(SignalKind::terminate())?, _hangup: hangup })
    }

    /// The first stops the pod, the second kills it; `count` tells how many there were.
    async fn stop(mut self, pod: Arc<PodHandle>, count: watch::Sender<u32>) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            count.send_modify(|count| *count += 1);
            pod.stop((*count.borrow() > 1).then_some(0));
        }
    }
}
