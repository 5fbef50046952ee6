//! `rrun logs`

use crate::args;
use crate::context::Context;
use crate::display::LOOK;
use crate::exec::is_ephemeral;
use crate::lines::{Head, Lines};
use anyhow::{Result, bail};
use rrun_pod::clock::Clock;
use rrun_pod::supervise::logs::{LogFiles, Piece, Reader, Runs, Stream};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// Prints what was written, and with `--follow` what will be until the pod ends.
pub async fn logs(context: &Context, args: args::Logs) -> Result<ExitCode> {
    let entry = context.store.find(&args.pod).await?;
    let spec = entry.pod()?.spec;
    if let Some(name) = &args.container
        && spec.find(name).is_none()
        && !is_ephemeral(&entry, name)
    {
        bail!("pod {}: container {name}: not found", args.pod);
    }
    let with_name = args.container.is_none() && spec.all().count() > 1;
    let runs = if args.previous { Runs::Previous } else { Runs::Newest };
    let files = LogFiles::new(context.logs(&entry), args.container.clone(), runs);
    let mut reader = Reader::new(files.clone());
    let head = match (args.prefix, with_name) {
        (true, _) => Head::Full(entry.name.clone()),
        (false, true) => Head::Container,
        (false, false) => Head::Nothing,
    };
    let mut lines = Lines::new(stdout(), head).with_time(args.timestamps);
    // A number below nothing is all of them, as for kubectl.
    let tail = args.tail.and_then(|lines| usize::try_from(lines).ok());
    let past = past(&mut reader, tail, args.since)?;
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
        over = !context.store.is_locked(&entry).await;
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
fn past(reader: &mut Reader, tail: Option<usize>, since: Option<Duration>) -> Result<Vec<Kept>> {
    let since = since.map(|time| {
        let now = Clock::system().now().nanos() / 1_000_000_000;
        now.saturating_sub(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)).max(0)
    });
    let mut kept = Vec::new();
    reader.read(&mut |piece| {
        if since.is_none_or(|since| is_after(piece.time, since)) {
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
    in_order(&mut kept);
    Ok(kept)
}

/// Sorts the lines of several containers by time. Those of one stay in their order, although the
/// clock may have gone back between them.
fn in_order(kept: &mut Vec<Kept>) {
    let mut latest: BTreeMap<String, String> = BTreeMap::new();
    let mut keyed: Vec<(String, Kept)> = Vec::with_capacity(kept.len());
    for piece in kept.drain(..) {
        // What has come of a line is handed over last, and was written before other lines.
        let mut key = piece.time.clone();
        if piece.ends {
            let latest = latest.entry(piece.container.clone()).or_default();
            key = key.max(latest.clone());
            latest.clone_from(&key);
        }
        keyed.push((key, piece));
    }
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    kept.extend(keyed.into_iter().map(|(_, piece)| piece));
}

/// Whether `time`, RFC 3339 in whatever zone the runtime writes, is not before a second of the epoch.
fn is_after(time: &str, second: i64) -> bool {
    let local = second.saturating_add(zone(time));
    let local = Duration::from_secs(u64::try_from(local).unwrap_or(0));
    let second = rrun_pod::clock::Timestamp::default().after(local).to_string();
    // Whole seconds of one zone compare as text.
    time.get(..19) >= second.get(..19)
}

/// Seconds that the zone of `time` is before UTC: 7200 of `…+02:00`.
fn zone(time: &str) -> i64 {
    let Some((_, zone)) = time.len().checked_sub(6).and_then(|at| time.split_at_checked(at)) else {
        return 0;
    };
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let parts = zone.strip_prefix(['+', '-']).and_then(|zone| zone.split_once(':'));
    let seconds = parts.and_then(|(hours, minutes)| {
        Some(hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60)
    });
    sign * seconds.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(pieces: &[(&str, &str, &str)]) -> String {
        let mut kept: Vec<Kept> = pieces
            .iter()
            .map(|(container, time, text)| {
                let (text, ends) = (text.as_bytes(), !text.ends_with('>'));
                let (run, stream) = (0, Stream::Stdout);
                Kept::new(&Piece { container, run, stream, time, text, ends })
            })
            .collect();
        in_order(&mut kept);
        let texts = kept.iter().map(|piece| String::from_utf8_lossy(&piece.text).into_owned());
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lines_of_a_container_keep_their_order_when_the_clock_goes_back() {
        assert_eq!(
            ordered(&[("a", "5", "one"), ("a", "2", "two"), ("a", "6", "three")]),
            "one two three"
        );
        let two = [("a", "1", "x"), ("a", "4", "y"), ("b", "2", "p"), ("b", "3", "q")];
        assert_eq!(ordered(&two), "x p q y");
        assert_eq!(ordered(&[("a", "3", "line"), ("a", "2", "prompt>")]), "prompt> line");
    }

    #[test]
    fn a_time_is_compared_in_the_zone_that_it_is_written_in() {
        let noon = 1_767_268_800; // 2026-01-01T12:00:00Z
        for (time, after) in [
            ("2026-01-01T12:00:00.5Z", true),
            ("2026-01-01T11:59:59.999999999Z", false),
            ("2026-01-01T14:00:00.1+02:00", true),
            ("2026-01-01T13:59:59.1+02:00", false),
            ("2026-01-01T06:30:00.1-05:30", true),
            ("2026-01-01T06:29:59.1-05:30", false),
        ] {
            assert_eq!(is_after(time, noon), after, "{time}");
        }
    }
}
