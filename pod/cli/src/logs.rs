//! `rrun logs`

use crate::args;
use crate::context::Context;
use crate::display::LOOK;
use crate::lines::Lines;
use anyhow::{Result, bail};
use rrun_pod::clock::Clock;
use rrun_pod::supervise::logs::{LogFiles, Piece, Reader, Runs, Stream};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// Prints what was written, and with `--follow` what will be until the pod ends.
pub async fn logs(context: &Context, args: args::Logs) -> Result<ExitCode> {
    let entry = context.store.find(&args.pod)?;
    let spec = entry.pod()?.spec;
    if let Some(name) = &args.container
        && spec.find(name).is_none()
    {
        bail!("pod {}: container {name}: not found", args.pod);
    }
    let with_name = args.container.is_none() && spec.all().count() > 1;
    let runs = if args.previous { Runs::Previous } else { Runs::Newest };
    let files = LogFiles::new(context.logs(&entry), args.container.clone(), runs);
    let mut reader = Reader::new(files.clone());
    let mut lines = Lines::new(stdout(), with_name);
    let past = past(&mut reader, args.tail, args.since)?;
    if args.previous && files.is_empty() {
        bail!("pod {}: no container of it was started again: there is no run before", args.pod);
    }
    for piece in past {
        if !print(&mut lines, &piece.borrow())? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut over = !args.follow;
    while !over {
        tokio::time::sleep(LOOK).await;
        // Looked at first: what is written before the pod ends is read after it.
        over = !context.store.is_locked(&entry);
        let mut printed = Ok(true);
        reader.read(&mut |piece| {
            if matches!(printed, Ok(true)) {
                printed = print(&mut lines, piece);
            }
        })?;
        over |= !printed?;
    }
    if with_name {
        lines.break_off()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// False when nobody reads any more.
fn print(lines: &mut Lines<impl Write>, piece: &Piece<'_>) -> Result<bool> {
    match lines.show(piece) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => bail!("standard output: {}", rrun_error::reason(&e)),
    }
}

/// A piece that is kept.
struct Kept {
    container: String,
    run: u64,
    stream: Stream,
    time: String,
    text: Vec<u8>,
    ends: bool,
}

impl Kept {
    fn new(piece: &Piece<'_>) -> Kept {
        let Piece { container, run, stream, time, text, ends } = *piece;
        let (container, time, text) = (container.to_owned(), time.to_owned(), text.to_vec());
        Kept { container, run, stream, time, text, ends }
    }

    fn borrow(&self) -> Piece<'_> {
        let Kept { container, run, stream, time, text, ends } = self;
        Piece { container, run: *run, stream: *stream, time, text, ends: *ends }
    }
}

/// What is there, by time: files are read one after another.
fn past(reader: &mut Reader, tail: Option<usize>, since: Option<u64>) -> Result<Vec<Kept>> {
    let since = since.map(|seconds| {
        let now = Clock::system().now().nanos() / 1_000_000_000;
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let from = now.saturating_sub(seconds).max(0);
        let since = Duration::from_secs(u64::try_from(from).unwrap_or(0));
        rrun_pod::clock::Timestamp::default().after(since).to_string()
    });
    let mut kept = Vec::new();
    reader.read(&mut |piece| {
        // Both are RFC 3339 in UTC: whole seconds compare as text.
        let second = |time: &str| time.get(..19).map(str::to_owned);
        if since.as_ref().is_none_or(|since| second(piece.time) >= second(since)) {
            kept.push(Kept::new(piece));
        }
    })?;
    if let Some(tail) = tail {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for piece in &kept {
            *counts.entry(piece.container.clone()).or_default() += 1;
        }
        kept.retain(|piece| {
            let left = counts.entry(piece.container.clone()).or_default();
            *left -= 1;
            *left < tail
        });
    }
    kept.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(kept)
}
