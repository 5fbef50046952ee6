//! `rrun attach`: what a container writes from now on, and its standard input.

use crate::args;
use crate::context::Context;
use crate::exec::{running, target};
use crate::runtime::{alongside, reach};
use crate::terminal::Changed;
use crate::{streaming, terminal};
use anyhow::{Context as _, Result, anyhow, bail};
use rrun_cri_api::v1;
use rrun_pod::supervise::Entry;
use std::process::ExitCode;

/// What of the container is wanted beside what it writes.
#[derive(Clone, Copy)]
pub struct Streams {
    pub stdin: bool,
    pub tty: bool,
}

/// Until the container ends.
pub async fn run(context: &Context, args: args::Attach) -> Result<ExitCode> {
    let (entry, name) = target(context, &args.pod, args.container.as_deref()).await?;
    let has = streams(&entry, &name)?;
    if args.tty && !has.tty {
        bail!("Unable to use a TTY - container {name} did not allocate one");
    }
    if args.stdin && !has.stdin {
        bail!("attach {}: container {name}: it has no standard input (stdin: true)", args.pod);
    }
    // As kubectl: what has a terminal is not split in two streams.
    let to = Streams { stdin: args.stdin, tty: has.tty };
    if args.stdin && args.tty {
        terminal::tell("If you don't see a command prompt, try pressing enter.");
    }
    let done = alongside(context, &entry, attach(context, &entry, &name, to)).await;
    done.with_context(|| format!("attach {}", args.pod))?;
    Ok(ExitCode::SUCCESS)
}

/// What a container was given.
fn streams(entry: &Entry, name: &str) -> Result<Streams> {
    let pod = entry.pod()?;
    if let Some((_, found)) = pod.spec.find(name) {
        return Ok(Streams { stdin: found.stdin, tty: found.tty });
    }
    let added = entry.state.iter().flat_map(|state| &state.ephemeral);
    let found = added.into_iter().find(|added| added.name == name);
    let found = found.with_context(|| format!("container {name}: not found"))?;
    Ok(Streams { stdin: found.stdin, tty: found.tty })
}

/// Moves the streams of a container that runs, until it ends.
pub async fn attach(context: &Context, entry: &Entry, name: &str, to: Streams) -> Result<()> {
    let Streams { stdin, tty } = to;
    let of = reach(context, entry).await?;
    let container_id = running(&*of.cri, entry.uid.as_str(), name).await?;
    let request = v1::AttachRequest { container_id, stdin, tty, stdout: true, stderr: !tty };
    let reply = of.cri.attach(request).await;
    let url = reply.map_err(|status| anyhow!("{}", status.message()))?.url;
    let connection = streaming::connect(&url).await.with_context(|| url.clone())?;
    let raw = if tty && stdin { Changed::raw() } else { None };
    // What it ended with is on record.
    let done = streaming::converse(connection, stdin, tty).await.map(drop);
    drop(raw);
    done
}
