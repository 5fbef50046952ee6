//! The view that refreshes: a screen of its own, of which nothing stays.

use super::sample::{Sample, uses};
use super::shown::wide;
use super::{Asked, pods};
use crate::args::TopField;
use crate::context::Context;
use crate::{table, terminal};
use anyhow::Result;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(2);

/// How long a runtime is waited for: what it says later is in no view.
const ANSWER: Duration = Duration::from_secs(1);

/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What a person wants.
enum Wish {
    Sort(Option<TopField>),
    /// The window has another size.
    Draw,
    End,
}

/// Shows what containers use until a person has seen enough.
pub async fn live(context: &Context, mut asked: Asked<'_>) -> Result<ExitCode> {
    // Waited for before the terminal is another one.
    let ends = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let keys = terminal::Changed::keys(ENTER, LEAVE)?;
    let done = refresh(context, &mut asked, ends).await;
    drop(keys);
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn refresh(
    context: &Context,
    asked: &mut Asked<'_>,
    (mut interrupt, mut terminate): (Signal, Signal),
) -> Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut input = tokio::io::stdin();
    let mut before = Sample { answered: Vec::new(), failed: Vec::new() };
    loop {
        let next = Instant::now() + PERIOD;
        // A pod that a person named may end while it is looked at.
        let pods = pods(context, asked).await?;
        let now = Sample::take(context, pods, ANSWER).await;
        let kept = now.answered.clone();
        let failed: Vec<String> =
            now.failed.iter().map(|(pod, error)| format!("pod {pod}: {error:#}")).collect();
        loop {
            let now = Sample { answered: kept.clone(), failed: Vec::new() };
            draw(table::format(&wide(uses(&before, now), asked.by)), &failed)?;
            let mut key = [0; 1];
            let wish = tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                _ = interrupt.recv() => Wish::End,
                _ = terminate.recv() => Wish::End,
                _ = resized.recv() => Wish::Draw,
                read = input.read(&mut key) => match (read, key[0]) {
                    (Ok(1), b'c') => Wish::Sort(Some(TopField::Cpu)),
                    (Ok(1), b'm') => Wish::Sort(Some(TopField::Memory)),
                    (Ok(1), b'n') => Wish::Sort(None),
                    (Ok(1), key) if key != b'q' => Wish::Draw,
                    _ => Wish::End,
                },
            };
            match wish {
                Wish::Sort(by) => asked.by = by,
                Wish::Draw => {}
                Wish::End => return Ok(()),
            }
        }
        before = Sample { answered: kept, failed: Vec::new() };
    }
}

/// As much as the window takes, over what was there.
fn draw(table: String, failed: &[String]) -> std::io::Result<()> {
    let (rows, columns) = terminal::size().unwrap_or((24, 80));
    let head = "c: by CPU  m: by memory  n: by name  q: end";
    let lines = [head, ""].into_iter().chain(table.lines());
    let lines = lines.chain(failed.iter().map(String::as_str));
    let mut screen = "\x1b[H".to_owned();
    for (i, line) in lines.take(usize::from(rows)).enumerate() {
        let line: String =
            rrun_error::printable_line(line).chars().take(usize::from(columns)).collect();
        // The last line has no newline: the screen would move up.
        let _ = write!(screen, "{}{line}\x1b[K", if i == 0 { "" } else { "\r\n" });
    }
    screen.push_str("\x1b[J");
    table::write(&screen)
}
