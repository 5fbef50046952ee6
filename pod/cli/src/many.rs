//! Several pods of one manifest: a process for each, as for one.

use crate::args;
use crate::context::Context;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use rrun_pod::model::Pod;
use rrun_pod::supervise::Definition;
use rrun_sys::pidfd;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitCode, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The pods that are asked for.
pub struct Asked {
    definition: Definition,
    /// In the manifest's order.
    pub pods: Vec<Pod>,
    /// The manifest, if it was on standard input: there it can be read once.
    pub input: Option<Vec<u8>>,
    /// Whether the manifest has others too.
    of_many: bool,
}

/// Reads the manifest.
pub fn read(context: &Context, args: &args::Run) -> Result<Asked> {
    let definition = Definition::read(args.manifest(), &args.objects, context.endpoint.clone())?;
    let input = if args.reads_stdin() { Some(definition.text()?) } else { None };
    let mut pods = definition.pods()?;
    let of_many = pods.len() > 1;
    if let Some(name) = &args.pod {
        pods.retain(|pod| full_name(pod) == *name || pod.meta.name == *name);
        match pods.as_slice() {
            [_] => {}
            [] => bail!("{}: no Pod {name} in it", args.manifest().display()),
            _ => bail!("{}: several Pods {name}: want namespace/name", args.manifest().display()),
        }
    }
    Ok(Asked { definition, pods, input, of_many })
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.meta.namespace, pod.meta.name)
}

impl Asked {
    /// The one pod, with the definition that says which it is.
    pub fn only(mut self) -> Result<(Definition, Pod)> {
        let pod = self.pods.pop().context("no Pod in it")?;
        let definition =
            if self.of_many { self.definition.of(&full_name(&pod)) } else { self.definition };
        Ok((definition, pod))
    }

    /// This very command for one of the pods, with these options, away from the terminal's signals.
    pub fn command(&self, pod: &Pod, options: &[&str]) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(options).process_group(0);
        if self.pods.len() > 1 {
            command.arg("--only").arg(full_name(pod));
        }
        command.args(std::env::args_os().skip(1));
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin);
        Ok(command)
    }
}

/// Gives a process its standard input. One that does not want all of it has ended.
pub async fn give(child: &mut Child, input: Option<&[u8]>) {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        let _ = stdin.write_all(input).await;
    }
}

/// Prints what of the manifest is not done, each once.
pub fn print_notes(pods: &[Pod]) {
    let mut told = BTreeSet::new();
    for note in pods.iter().flat_map(|pod| &pod.notes) {
        if told.insert(note) {
            terminal::tell(note);
        }
    }
}

/// A process for a pod, and its pidfd.
async fn start(asked: &Asked, pod: &Pod) -> Result<(Child, OwnedFd)> {
    let mut child = asked.command(pod, &[])?.spawn().context("start a process for it")?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).context("it has ended")?;
    let process = pidfd::open(pid).context("open its pidfd")?;
    give(&mut child, asked.input.as_deref()).await;
    Ok((child, process))
}

/// Runs all pods beside each other until they have ended. Signals are passed on.
pub async fn run(asked: &Asked) -> Result<ExitCode> {
    print_notes(&asked.pods);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (mut children, mut processes, mut code) = (Vec::new(), Vec::new(), 0);
    for pod in &asked.pods {
        match start(asked, pod).await {
            Ok((child, process)) => {
                children.push(child);
                processes.push(process);
            }
            // Those that run already are attended to their end.
            Err(error) => {
                terminal::tell(format_args!("pod {}: {error:#}", full_name(pod)));
                code = 2;
                break;
            }
        }
    }
    let all = async {
        for mut child in children {
            let ended = child.wait().await.context("wait for a pod's process")?;
            code = code.max(ended.code().unwrap_or(1));
        }
        anyhow::Ok(code)
    };
    tokio::pin!(all);
    loop {
        let signal = tokio::select! {
            code = &mut all => return Ok(ExitCode::from(u8::try_from(code?).unwrap_or(2))),
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
        };
        for process in &processes {
            // One that has ended already needs none, and its number may be somebody else's.
            let _ = pidfd::send_signal(process.as_fd(), signal as i32);
        }
    }
}
