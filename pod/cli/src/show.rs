//! What `rrun run` prints: logs on standard output, everything else on standard error.

use crate::logs::Line;
use rrun_pod::events::{Event, Level};
use rrun_pod::model::Pod;
use rrun_pod::status::{ContainerStatus, PodStatus, State};
use std::collections::HashMap;
use std::io::Write;
use std::time::Instant;

/// A terminal, or what stands for one.
pub struct Screen {
    start: Instant,
    pod: String,
    grace: u32,
    shown: HashMap<String, String>,
    /// The last event about each container, and about the pod.
    told: HashMap<Option<String>, String>,
}

impl Screen {
    pub fn new(pod: &Pod) -> Screen {
        Screen {
            start: Instant::now(),
            pod: pod.meta.name.clone(),
            grace: pod.spec.termination_grace_period,
            shown: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Shows what is new in a status.
    pub fn status(&mut self, status: &PodStatus) {
        for container in status.init_containers.iter().chain(&status.containers) {
            self.change(&container.name, describe(container));
        }
        let mut text = format!("{:?}", status.phase);
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
        self.change("", text);
    }

    fn change(&mut self, container: &str, text: String) {
        if self.shown.get(container) != Some(&text) {
            let name = if container.is_empty() { "pod" } else { "container" };
            let of = if container.is_empty() { &self.pod } else { container };
            self.say(&format!("{name} {of}: {text}"));
            self.shown.insert(container.to_owned(), text);
        }
    }

    pub fn event(&mut self, event: &Event) {
        if let Some(text) = self.news(event) {
            self.say(&text);
        }
    }

    /// The words of an event; `None` when the same happened again: a probe fails once a second.
    fn news(&mut self, event: &Event) -> Option<String> {
        let mark = if event.level == Level::Warning { "! " } else { "" };
        let about = event.container.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let text = format!("{mark}{}: {about}{}", event.reason.as_str(), event.message.trim_end());
        let before = self.told.insert(event.container.clone(), text.clone());
        (before.as_ref() != Some(&text)).then_some(text)
    }

    /// After a signal.
    pub fn stopping(&self, times: u32) {
        match times {
            1 => self.say(&format!("stopping, within {} s; again to kill", self.grace)),
            _ => self.say("killing"),
        }
    }

    fn say(&self, text: &str) {
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "{:>8.3} {text}", self.start.elapsed().as_secs_f64());
    }

    pub fn log(&self, line: &Line<'_>) {
        print(line, true);
    }
}

/// Prints a line of a log.
pub fn print(line: &Line<'_>, with_name: bool) {
    let mut out = std::io::stdout().lock();
    let name = if with_name { format!("{} | ", line.container) } else { String::new() };
    let _ = out.write_all(name.as_bytes()).and_then(|()| out.write_all(line.text));
    let _ = out.write_all(b"\n").and_then(|()| out.flush());
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
    use super::Screen;
    use rrun_pod::clock::Timestamp;
    use rrun_pod::events::{Event, Level, Reason};
    use rrun_pod::manifest::{self, Source};

    #[test]
    fn an_event_is_told_once_until_something_else_happens_to_its_container() {
        let text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n\
            spec: {containers: [{name: a, image: i}]}\n";
        let pod = manifest::pod(Source { name: "web.yaml", text }, &[]).unwrap();
        let mut screen = Screen::new(&pod);
        let mut news = |container: &str, level, reason, message: &str| {
            let (at, container) = (Timestamp::from_nanos(0), Some(container.to_owned()));
            screen.news(&Event { at, level, reason, container, message: message.to_owned() })
        };
        let failed = Some("! Unhealthy: a: failed: no".to_owned());
        assert_eq!(news("a", Level::Warning, Reason::Unhealthy, "failed: no\n"), failed);
        assert_eq!(news("a", Level::Warning, Reason::Unhealthy, "failed: no\n"), None);
        assert!(news("b", Level::Warning, Reason::Unhealthy, "failed: no\n").is_some());
        assert!(news("a", Level::Normal, Reason::Started, "Container started").is_some());
        assert_eq!(news("a", Level::Warning, Reason::Unhealthy, "failed: no\n"), failed);
    }
}
