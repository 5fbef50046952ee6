//! What this host has and lacks of what pods need. Looked at without changing anything, and beside a
//! daemon that runs.

mod disk;
mod kernel;
mod limits;
mod network;

use crate::config::Config;
use rrun_error::printable_line;
use serde::Serialize;

/// What follows from what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is as it should be.
    Ok,
    /// Pods run; something is done in another way, or cannot be asked for.
    Note,
    /// No pod can be run, or the daemon does not start.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it belongs to: `kernel`, `cgroup`, `lsm`, `limit`, `module`, `network`, `disk`, `program`.
    pub topic: &'static str,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// What follows from it; empty where nothing does.
    pub follows: String,
}

impl Row {
    fn new(topic: &'static str, what: impl Into<String>, found: impl Into<String>) -> Row {
        let (what, found) = (what.into(), found.into());
        Row { topic, what, found, verdict: Verdict::Ok, follows: String::new() }
    }

    /// Something is done in another way for it, or cannot be asked for.
    fn note(self, follows: impl Into<String>) -> Row {
        Row { verdict: Verdict::Note, follows: follows.into(), ..self }
    }

    /// Nothing can be done instead.
    fn missing(self, follows: impl Into<String>) -> Row {
        Row { verdict: Verdict::Missing, follows: follows.into(), ..self }
    }

    /// As it is found, where `holds`; else a note.
    fn note_unless(self, holds: bool, follows: impl Into<String>) -> Row {
        if holds { self } else { self.note(follows) }
    }

    fn missing_unless(self, holds: bool, follows: impl Into<String>) -> Row {
        if holds { self } else { self.missing(follows) }
    }
}

/// Looks at this host with the eyes of a daemon that goes by `config`. Blocks.
pub fn examine(config: &Config) -> Vec<Row> {
    let mut rows = kernel::rows(config);
    rows.extend(limits::rows());
    rows.extend(network::rows(config));
    rows.extend(disk::rows(config));
    rows
}

/// Whether something is missing that no pod can be run without.
pub fn is_wanting(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.verdict == Verdict::Missing)
}

/// A line for each, and one below it for what follows. What was found is text of the host.
pub fn text(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max();
    let topics = width(|row| row.topic).unwrap_or(0);
    let names = width(|row| &row.what).unwrap_or(0);
    let mut text = String::new();
    for Row { topic, what, found, verdict, follows } in rows {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Missing => "MISSING",
        };
        let line = format!("{verdict:7}  {topic:topics$}  {what:names$}  {found}");
        let follows = match follows.as_str() {
            "" => String::new(),
            follows => {
                let follows = printable_line(follows);
                format!("\n{:9}{:topics$}  {:names$}  {follows}", "", "", "")
            }
        };
        text.push_str(&printable_line(&line));
        text.push_str(&follows);
        text.push('\n');
    }
    text
}

/// The same for programs: an array of objects.
pub fn json(rows: &[Row]) -> String {
    format!("{:#}\n", serde_json::json!(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_stands_in_columns_and_what_follows_from_it_below() {
        let rows = [
            Row::new("kernel", "Linux", "6.1"),
            Row::new("lsm", "SELinux", "on\n").note("labels are\nrefused"),
            Row::new("kernel", "openat2", "ENOSYS").missing("no pod can be run"),
        ];
        let expected = "ok       kernel  Linux    6.1\n\
                        note     lsm     SELinux  on \n\
                        \x20                         labels are refused\n\
                        MISSING  kernel  openat2  ENOSYS\n\
                        \x20                         no pod can be run\n";
        assert_eq!(text(&rows), expected);
        assert!(is_wanting(&rows) && !is_wanting(&rows[..2]));
        assert!(json(&rows).contains("\"verdict\": \"missing\""), "{}", json(&rows));
    }
}
