//! `rrun why`: what a pod waits for now.
//!
//! Nobody is asked for it: it stands in the pod's records and in `/proc`, and so it is told of a pod
//! whose process hangs or is gone, too.

mod processes;

use crate::args::Output;
use crate::context::Context;
use crate::table;
use anyhow::Result;
use processes::{Download, Process, Scene};
use rrun_pod::clock::{Clock, Timestamp};
use rrun_pod::events::Event;
use rrun_pod::supervise::Entry;
use rrun_pod::why::{Cause, causes};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Prints what keeps a pod where it is.
pub async fn why(context: &Context, pod: &str, output: Option<Output>) -> Result<ExitCode> {
    let entry = context.store.find(pod).await?;
    let events = context.store.events(&entry).await?;
    let report = Report::new(context, entry, &events).await?;
    let text = match output {
        Some(Output::Json) => crate::json::pretty(&report.json())?,
        None => report.text(Clock::system().now()),
    };
    table::write(&rrun_error::printable(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of a pod at this moment.
struct Report {
    entry: Entry,
    ready: bool,
    causes: Vec<Cause>,
    scene: Scene,
}

impl Report {
    async fn new(context: &Context, entry: Entry, events: &[Event]) -> Result<Report> {
        let is_over = entry.phase().is_terminal();
        let images = context.config.root.join("images/partial");
        let scene = if is_over {
            Scene::default()
        } else {
            Scene::look(entry.uid.as_str(), context.store.holder(&entry).await, &images)
        };
        let mut causes = match &entry.state {
            Some(state) => causes(&entry.pod()?, state, events),
            None => Vec::new(),
        };
        let own = if is_over {
            None
        } else if !context.store.is_locked(&entry).await {
            let what = "nobody runs it: rrun run with its manifest goes on with it";
            Some(what.to_owned())
        } else if let Some(runner) = scene.runner.as_ref().filter(|runner| runner.state == 'T') {
            Some(format!("the rrun that runs it, process {}, is stopped (SIGSTOP)", runner.pid))
        } else if entry.state.is_none() {
            Some("its process has not taken it up yet".to_owned())
        } else {
            None
        };
        let of_pod = |what| Cause { container: None, what, since: None, at: None, until: None };
        causes.splice(0..0, own.map(of_pod));
        let ready = entry.state.as_ref().is_some_and(|state| state.status.is_ready());
        Ok(Report { entry, ready, causes, scene })
    }

    fn text(&self, now: Timestamp) -> String {
        let phase = self.entry.phase().as_str();
        let ready = if self.ready { ", ready" } else { "" };
        let mut text = format!("pod {}: {phase}{ready}\n", self.entry.full_name());
        for cause in &self.causes {
            let about = cause.container.as_ref().map(|name| format!("container {name}: "));
            let _ = writeln!(
                text,
                "  {}{}{}",
                about.unwrap_or_default(),
                cause.what.trim_end(),
                times(cause, now)
            );
        }
        for Download { layer, bytes, quiet } in &self.scene.downloads {
            let quiet = if quiet.as_secs() > 1 {
                format!(", nothing for {} s", quiet.as_secs())
            } else {
                String::new()
            };
            let _ = writeln!(text, "  layer {layer}: {bytes} bytes have come{quiet}");
        }
        for process in &self.scene.stuck {
            let since = process.since.map(|since| format!(" for {} s", since.as_secs()));
            let _ = writeln!(
                text,
                "  process {} ({}) waits for the kernel and cannot be killed (state D{}){}",
                process.pid,
                process.name,
                process.place.as_ref().map(|at| format!(", in {at}")).unwrap_or_default(),
                since.unwrap_or_default()
            );
        }
        if self.is_idle() {
            text.push_str("  it waits for nothing\n");
        }
        text
    }

    fn is_idle(&self) -> bool {
        self.causes.is_empty() && self.scene.downloads.is_empty() && self.scene.stuck.is_empty()
    }

    fn json(&self) -> Value {
        let cause = |cause: &Cause| {
            json!({
                "container": cause.container,
                "what": cause.what,
                "since": cause.since.map(|at| at.to_string()),
                "at": cause.at.map(|at| at.to_string()),
                "until": cause.until.map(|at| at.to_string()),
            })
        };
        let process = |process: &Process| {
            json!({
                "pid": process.pid,
                "name": process.name,
                "state": process.state.to_string(),
                "place": process.place,
                "seconds": process.since.map(|since| since.as_secs()),
            })
        };
        let download = |one: &Download| json!({"layer": one.layer, "bytes": one.bytes, "quietSeconds": one.quiet.as_secs()});
        json!({
            "namespace": self.entry.namespace,
            "name": self.entry.name,
            "uid": self.entry.uid.as_str(),
            "phase": self.entry.phase().as_str(),
            "ready": self.ready,
            "causes": self.causes.iter().map(cause).collect::<Vec<_>>(),
            "downloads": self.scene.downloads.iter().map(download).collect::<Vec<_>>(),
            "stuckProcesses": self.scene.stuck.iter().map(process).collect::<Vec<_>>(),
        })
    }
}

/// `, for 12 s`, `, 3 s ago, the next try in 8 s`
fn times(cause: &Cause, now: Timestamp) -> String {
    let mut text = String::new();
    if let Some(since) = cause.since {
        let _ = write!(text, ", for {}", age(now.since(since)));
    }
    if let Some(at) = cause.at {
        let _ = write!(text, ", {} ago", age(now.since(at)));
    }
    if let Some(until) = cause.until.filter(|until| *until > now) {
        let _ = write!(text, ", the next try in {}", age(until.since(now)));
    }
    text
}

/// `12 s`, `3 min 5 s`, `2 h 4 min`
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        let shown = |seconds| age(Duration::from_secs(seconds));
        let all = [0, 119, 125, 7_199, 7_320].map(shown);
        assert_eq!(all, ["0 s", "119 s", "2 min 5 s", "119 min 59 s", "2 h 2 min"]);
    }

    #[test]
    fn a_cause_says_for_how_long_how_long_ago_and_when_again() {
        let at = |seconds| Timestamp::from_nanos(1).after(Duration::from_secs(seconds));
        let plain =
            Cause { container: None, what: String::new(), since: None, at: None, until: None };
        let since = Cause { since: Some(at(5)), ..plain.clone() };
        assert_eq!(times(&since, at(10)), ", for 5 s");
        let said = Cause { at: Some(at(4)), until: Some(at(30)), ..plain };
        assert_eq!(times(&said, at(10)), ", 6 s ago, the next try in 20 s");
        assert_eq!(times(&said, at(40)), ", 36 s ago");
    }
}
