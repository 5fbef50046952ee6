//! What `rrun run` shows: logs on standard output, everything else on standard error.
//!
//! It has a thread of its own: a terminal that is stopped, a pager that is not read, a full disk
//! or a closed pipe hold up the display and never the pod.

use crate::lines::{Head, Lines};
use crate::pull::view::View;
use rrun_images::Store;
use rrun_pod::PodHandle;
use rrun_pod::events::{Event, Events, Level, Missed};
use rrun_pod::model::Pod;
use rrun_pod::status::{ContainerStatus, PodStatus, State};
use rrun_pod::supervise::logs::{LogFiles, Reader};
use std::collections::HashMap;
use std::io::{IsTerminal, Stdout, Write, stderr, stdout};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How often logs are looked at. They are files of the runtime, which tells nobody.
pub const LOOK: Duration = Duration::from_millis(100);

/// Starts the display of a pod, and of the pulls into a store of this process. The receiver gets a value, or is closed, when it has shown
/// everything. `signals` counts those that asked for the pod's end.
pub fn start(
    text: Text,
    handle: &PodHandle,
    (files, store): (LogFiles, Option<Store>),
    signals: watch::Receiver<u32>,
) -> std::io::Result<oneshot::Receiver<()>> {
    // Bars of several processes would be drawn over each other.
    let pulls = View::new(!text.among_others);
    let display = Display {
        lines: Lines::new(stdout(), text.head()),
        text,
        logs: Reader::new(files),
        pulls,
        store,
        faults: HashMap::new(),
        shared_terminal: stdout().is_terminal() && stderr().is_terminal(),
    };
    let (mut status, events) = (handle.status(), handle.events());
    // The first one too, though it may be that of before.
    status.mark_changed();
    let (done, shown) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("display".to_owned()).spawn(move || {
        runtime.block_on(display.until_end(status, events, signals));
        let _ = done.send(());
    })?;
    Ok(shown)
}

struct Display {
    text: Text,
    lines: Lines<Stdout>,
    logs: Reader,
    pulls: View,
    /// Where images come to, if that is in this process.
    store: Option<Store>,
    /// What failed last, by what it is.
    faults: HashMap<&'static str, String>,
    shared_terminal: bool,
}

impl Display {
    async fn until_end(
        mut self,
        mut status: watch::Receiver<PodStatus>,
        mut events: Events,
        mut signals: watch::Receiver<u32>,
    ) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told_all = false;
        loop {
            tokio::select! {
                changed = status.changed() => {
                    let now = status.borrow_and_update().clone();
                    for line in self.text.status(&now) {
                        self.say(&line);
                    }
                    if changed.is_err() {
                        break;
                    }
                }
                event = events.recv(), if !told_all => match event {
                    Ok(event) => self.event(&event),
                    Err(Missed::Lost(missed)) => self.say(&format!("({missed} events missed)")),
                    Err(Missed::Over) => told_all = true,
                },
                Ok(()) = signals.changed() => {
                    let line = self.text.stopping(*signals.borrow_and_update());
                    self.say(&line);
                }
                _ = look.tick() => {
                    self.look_at_pulls();
                    self.read_logs();
                }
            }
        }
        self.pulls.end();
        while let Some(event) = events.next_now() {
            self.event(&event);
        }
        self.read_logs();
        let _ = self.lines.break_off();
    }

    fn event(&mut self, event: &Event) {
        if let Some(text) = self.text.event(event) {
            self.say(&text);
        }
    }

    fn look_at_pulls(&mut self) {
        let Some(store) = &self.store else { return };
        for line in self.pulls.look(&store.pulling()) {
            self.say(&line);
        }
    }

    fn read_logs(&mut self) {
        let mut written = Ok(());
        let (lines, logs, pulls) = (&mut self.lines, &mut self.logs, &self.pulls);
        let read = logs.read(&mut |piece| {
            if let Err(e) = pulls.aside(|| lines.show(piece)) {
                written = Err(e);
            }
        });
        self.note("logs", read.err().map(|e| e.to_string()));
        self.note("standard output", written.err().map(|e| rrun_error::reason(&e)));
    }

    /// Tells a fault once, until it is over or another one.
    fn note(&mut self, what: &'static str, fault: Option<String>) {
        match fault {
            None => drop(self.faults.remove(what)),
            Some(text) if self.faults.get(what) != Some(&text) => {
                self.say(&format!("! {what}: {text}; the pod goes on"));
                self.faults.insert(what, text);
            }
            Some(_) => {}
        }
    }

    /// A line, of which a container or an image may have said parts.
    fn say(&mut self, line: &str) {
        if self.shared_terminal {
            let _ = self.lines.break_off();
        }
        let line = rrun_error::printable(line);
        // Nobody may be there to read it.
        let _ = self.pulls.aside(|| writeln!(stderr(), "{line}"));
    }
}

/// The words for what happens.
pub struct Text {
    start: Instant,
    /// Whether lines of other pods stand between its own.
    among_others: bool,
    pod: String,
    grace: u32,
    shown: HashMap<String, String>,
    /// The last event about each container, and about the pod.
    told: HashMap<Option<String>, String>,
}

impl Text {
    /// For a pod, which may be one of several on this terminal.
    pub fn new(pod: &Pod, among_others: bool) -> Text {
        Text {
            start: Instant::now(),
            among_others,
            pod: pod.meta.name.clone(),
            grace: pod.spec.termination_grace_period,
            shown: HashMap::new(),
            told: HashMap::new(),
        }
    }

    fn head(&self) -> Head {
        if self.among_others { Head::Pod(self.pod.clone()) } else { Head::Container }
    }

    fn stamp(&self, text: &str) -> String {
        let of = if self.among_others { format!("[{}] ", self.pod) } else { String::new() };
        format!("{:>8.3} {of}{text}", self.start.elapsed().as_secs_f64())
    }

    /// Lines for what is new in a status.
    fn status(&mut self, status: &PodStatus) -> Vec<String> {
        let containers = status.init_containers.iter().chain(&status.containers);
        let mut all: Vec<(String, String)> = containers
            .map(|container| (format!("container {}", container.name), describe(container)))
            .collect();
        let mut text = status.phase.as_str().to_owned();
        if status.is_ready() {
            text.push_str(", ready");
        }
        for part in [&status.reason, &status.message] {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(part);
            }
        }
        if !status.pod_ips.is_empty() {
            text.push_str(&format!(", at {}", status.pod_ips.join(" and ")));
        }
        all.push((format!("pod {}", self.pod), text));
        all.retain(|(what, text)| {
            self.shown.insert(what.clone(), text.clone()).as_ref() != Some(text)
        });
        all.iter().map(|(what, text)| self.stamp(&format!("{what}: {text}"))).collect()
    }

    /// The line of an event; `None` when the same happened again: a probe fails once a second.
    fn event(&mut self, event: &Event) -> Option<String> {
        let mark = if event.level == Level::Warning { "! " } else { "" };
        let about = event.container.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let text = format!("{mark}{}: {about}{}", event.reason.as_str(), event.message.trim_end());
        let before = self.told.insert(event.container.clone(), text.clone());
        (before.as_ref() != Some(&text)).then(|| self.stamp(&text))
    }

    /// After the signal that is the `count`th.
    fn stopping(&self, count: u32) -> String {
        match count {
            1 => self.stamp(&format!("stopping, within {} s; again to kill", self.grace)),
            _ => self.stamp("killing"),
        }
    }
}

fn describe(container: &ContainerStatus) -> String {
    let mut text = match &container.state {
        State::Waiting { reason, message } if message.is_empty() => format!("waiting: {reason}"),
        State::Waiting { reason, message } => format!("waiting: {reason}: {message}"),
        State::Running { .. } if container.ready => "running, ready".to_owned(),
        State::Running { .. } => "running".to_owned(),
        State::Terminated(end) => format!("ended with {}: {}", end.exit_code, end.reason),
    };
    if container.restart_count > 0 {
        text.push_str(&format!(", restart {}", container.restart_count));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Text;
    use rrun_pod::clock::Timestamp;
    use rrun_pod::events::{Event, Level, Reason};
    use rrun_pod::manifest::{self, Source};

    #[test]
    fn an_event_is_told_once_until_something_else_happens_to_its_container() {
        let text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n\
            spec: {containers: [{name: a, image: i}]}\n";
        let pod = manifest::pod(Source { name: "web.yaml", text }, &[]).unwrap();
        let mut text = Text::new(&pod, false);
        let mut told = |container: &str, level, reason, message: &str| {
            let (at, container) = (Timestamp::from_nanos(0), Some(container.to_owned()));
            let event = Event { at, level, reason, container, message: message.to_owned() };
            text.event(&event).map(|line| line.trim_start().split_once(' ').unwrap().1.to_owned())
        };
        let failed = Some("! Unhealthy: a: failed: no".to_owned());
        assert_eq!(told("a", Level::Warning, Reason::Unhealthy, "failed: no\n"), failed);
        assert_eq!(told("a", Level::Warning, Reason::Unhealthy, "failed: no\n"), None);
        assert!(told("b", Level::Warning, Reason::Unhealthy, "failed: no\n").is_some());
        assert!(told("a", Level::Normal, Reason::Started, "Container started").is_some());
        assert_eq!(told("a", Level::Warning, Reason::Unhealthy, "failed: no\n"), failed);
    }
}
