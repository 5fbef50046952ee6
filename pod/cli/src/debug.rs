//! `rrun debug`: another container in a pod that runs.

use crate::args;
use crate::attach::{self, Streams};
use crate::context::Context;
use crate::runtime::alongside;
use crate::{stop, table, terminal};
use anyhow::{Context as _, Result, bail};
use rrun_pod::ephemeral::Ephemeral;
use rrun_pod::status::State;
use rrun_pod::supervise::Entry;
use rrun_pod::supervise::control::{self, Request};
use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::time::Duration;

/// How often it is looked whether the container runs.
const LOOK: Duration = Duration::from_millis(50);

/// Letters of names that are made up, which make no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Adds a container, and with `-i` is attached to it until its end.
pub async fn debug(context: &Context, args: args::Debug) -> Result<ExitCode> {
    let entry = stop::running(context, &args.pod).await?;
    let name = args.container.unwrap_or_else(made_up);
    if let Some(target) = &args.target {
        terminal::tell(format_args!("targeting container {target:?}"));
    }
    let container = Ephemeral {
        name: name.clone(),
        image: args.image,
        command: args.command,
        target: args.target,
        stdin: args.stdin,
        tty: args.tty,
    };
    let request = Request::Debug(Box::new(container));
    let tell = |words: &str| terminal::tell(words);
    let asked = control::ask(&context.store, &entry.uid, request, tell).await;
    asked.with_context(|| format!("debug {}", args.pod))?;
    if !args.stdin {
        table::write(&format!("{name}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal::tell(format_args!("container {name}: it is being started"));
    started(context, &entry, &name).await?;
    let to = Streams { stdin: true, tty: args.tty };
    let attached = alongside(context, &entry, attach::attach(context, &entry, &name, to)).await;
    let code = ended(context, &entry, &name).await;
    // One that has ended before anybody could be attached to it has its code all the same.
    match (code, attached) {
        (Some(code), _) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(255))),
        (None, Err(error)) => Err(error.context(format!("attach to {name}"))),
        (None, Ok(())) => Ok(ExitCode::SUCCESS),
    }
}

fn made_up() -> String {
    let mut number = std::hash::RandomState::new().build_hasher().finish();
    let letters = (0..5).map(|_| {
        let count = LETTERS.len() as u64;
        let letter = LETTERS[(number % count) as usize];
        number /= count;
        char::from(letter)
    });
    format!("debugger-{}", letters.collect::<String>())
}

/// How the container is, as its pod's process has put it on record.
async fn state(context: &Context, entry: &Entry, name: &str) -> Result<Option<State>> {
    let entry = context.store.find(entry.uid.as_str()).await?;
    let status = entry.state.map(|state| state.status);
    Ok(status.and_then(|status| status.container(name).map(|found| found.state.clone())))
}

/// Until it has been started. Why that takes long is told.
async fn started(context: &Context, entry: &Entry, name: &str) -> Result<()> {
    let mut told = String::new();
    loop {
        match state(context, entry, name).await? {
            Some(State::Running { .. } | State::Terminated(_)) => return Ok(()),
            Some(State::Waiting { reason, message }) if !message.is_empty() => {
                let words = format!("container {name}: waiting: {reason}: {message}");
                if words != told {
                    terminal::tell(&words);
                    told = words;
                }
            }
            _ => {}
        }
        if !context.store.is_locked(entry).await {
            bail!("pod {}: it has ended", entry.full_name());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The exit code of the container, once that is on record; none of one that goes on.
async fn ended(context: &Context, entry: &Entry, name: &str) -> Option<i32> {
    for _ in 0..100 {
        match state(context, entry, name).await.ok()? {
            Some(State::Terminated(end)) => return Some(end.exit_code),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::made_up;

    #[test]
    fn names_that_are_made_up_differ() {
        let (one, other) = (made_up(), made_up());
        assert_ne!(one, other);
        assert_eq!(one.len(), "debugger-12345".len());
    }
}
