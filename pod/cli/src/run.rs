//! `rrun run`: one pod from its manifest to its end.

use crate::args;
use crate::control::{self, Asked, Order};
use crate::logs::Reader;
use crate::node::{self, Node};
use crate::shelf::{self, Held, Texts};
use crate::show::Screen;
use anyhow::{Context, Result, bail};
use rrun_cri::config::Config;
use rrun_pod::PodHandle;
use rrun_pod::model::Pod;
use rrun_pod::status::{Phase, PodStatus, to_json};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};

/// How often logs are looked at. They are files of the shims, which tell nobody.
pub const LOOK: Duration = Duration::from_millis(100);

/// Runs a pod until it has ended: 0 when it succeeded, 1 when it failed.
pub async fn run(config: Arc<Config>, args: args::Run) -> Result<ExitCode> {
    let texts = Texts::read(manifest(&args), &args.objects)?;
    let pod = texts.pod()?;
    for note in &pod.notes {
        eprintln!("rrun: {note}");
    }
    let signals = Signals::new(args.detached)?;
    let held = Held::for_run(&config, &pod.meta, &texts)?;
    let node = match node::open(&config, pod.meta.uid.as_str()).await {
        Ok(node) => node,
        // It never began: there is nothing to look at later.
        Err(error) => return held.discard().and(Err(error)),
    };
    let node = Node { pods: node.pods.with_unsafe_sysctls(args.unsafe_sysctls), ..node };
    if let Err(error) = node.pods.admit(&pod) {
        return held.discard().and(Err(error.into()));
    }
    let (sockets, orders) = control::serve(&config, &held.entry, node.cri.clone())?;
    let handle = node.pods.run(pod.clone());
    let logs = Reader::new(held.entry.logs(&config), None);
    let mut watch = Watch { held, handle, logs, screen: Screen::new(&pod), answers: Vec::new() };
    let (status, remove) = watch.until_end(signals, orders, node.pods.runtime_name()).await?;
    drop(sockets);
    let kept = args.keep || args.detached;
    let Watch { held, answers, .. } = watch;
    let done = if kept && !remove { Ok(()) } else { forget(&node, &pod, held).await };
    let answer = done.as_ref().map_or_else(|e| format!("error: {e:#}"), |()| "done".to_owned());
    for asked in answers {
        let _ = asked.send(answer.clone());
    }
    // The answers are written by tasks of this runtime, which ends with us.
    tokio::time::sleep(Duration::from_millis(20)).await;
    done?;
    Ok(if status.phase == Phase::Succeeded { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn manifest(args: &args::Run) -> &Path {
    let path = args.file.as_ref().or(args.manifest.as_ref());
    path.map_or(Path::new("-"), |path| path)
}

/// Removes all that is left of an ended pod.
pub async fn forget(node: &Node, pod: &Pod, held: Held) -> Result<()> {
    node.pods.remove(pod).await.with_context(|| format!("remove pod {}", pod.meta.name))?;
    held.discard()
}

/// A pod that runs in front of somebody.
struct Watch {
    held: Held,
    handle: PodHandle,
    logs: Reader,
    screen: Screen,
    answers: Vec<oneshot::Sender<String>>,
}

impl Watch {
    /// Shows what happens and obeys, until the pod is over: its last status, and whether somebody
    /// wants it removed.
    async fn until_end(
        &mut self,
        mut signals: Signals,
        mut orders: mpsc::Receiver<Asked>,
        runtime: &str,
    ) -> Result<(PodStatus, bool)> {
        let mut events = self.handle.events();
        let mut status = self.handle.status();
        let mut look = tokio::time::interval(LOOK);
        let (mut told, mut remove) = (0, false);
        loop {
            tokio::select! {
                changed = status.changed() => {
                    let now = status.borrow_and_update().clone();
                    self.screen.status(&now);
                    self.held.entry.status = to_json(&now, runtime);
                    self.held.keep()?;
                    if changed.is_err() {
                        break;
                    }
                }
                event = events.recv() => match event {
                    Ok(event) => self.screen.event(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => events = self.handle.events(),
                },
                _ = look.tick() => self.logs.read(&mut |line| self.screen.log(line))?,
                () = signals.next() => {
                    told += 1;
                    self.screen.stopping(told);
                    self.handle.stop((told > 1).then_some(0));
                }
                Some((order, answer)) = orders.recv() => {
                    self.answers.push(answer);
                    remove |= order == Order::Remove;
                    self.handle.stop(match order {
                        Order::Stop(grace) => grace,
                        Order::Remove => Some(0),
                    });
                }
            }
        }
        while let Ok(event) = events.try_recv() {
            self.screen.event(&event);
        }
        self.logs.read(&mut |line| self.screen.log(line))?;
        let last = status.borrow().clone();
        Ok((last, remove))
    }
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

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// `rrun run --detach`: starts the background half and waits until the pod runs or has ended.
pub async fn detach(config: &Config, args: args::Run) -> Result<ExitCode> {
    if manifest(&args) == Path::new("-") {
        bail!("--detach: standard input cannot be read in the background, give a file");
    }
    let pod = Texts::read(manifest(&args), &args.objects)?.pod()?;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1).filter(|word| word != "-d" && word != "--detach"));
    command.arg("--detached").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start the background half")?;
    let uid = pod.meta.uid.to_string();
    let phase = || -> Result<Option<String>> {
        let found = shelf::all(config)?.into_iter().find(|entry| entry.uid == uid);
        let held = found.filter(|entry| entry.is_held(config));
        Ok(held.map(|entry| entry.phase().to_owned()))
    };
    loop {
        match phase()?.as_deref() {
            None | Some("Pending") => {}
            Some(_) => {
                println!("{uid}");
                return Ok(ExitCode::SUCCESS);
            }
        }
        tokio::select! {
            ended = child.wait() => {
                ended?;
                let mut said = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said).await?;
                }
                bail!("the pod ended before it ran\n{}", said.trim_end());
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
