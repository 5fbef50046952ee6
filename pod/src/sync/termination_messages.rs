//! Last words of containers: the termination message file, or the log's end.

use std::collections::HashMap;

use super::observe::{Observed, Run, RunState};
use crate::node::Node;

/// Of one container, in bytes.
const MAX_MESSAGE: usize = 4 << 10;
/// Of all containers of a pod together.
const MAX_POD: usize = 12 << 10;
/// What may be taken from a log.
const MAX_LOG: usize = 2 << 10;
const MAX_LOG_LINES: usize = 80;
/// What of a log is read to find that.
pub(crate) const LOG_WINDOW: usize = 256 << 10;

/// Messages that were read once; a run that ended does not change.
#[derive(Debug, Default)]
pub struct TerminationMessages(HashMap<String, String>);

impl TerminationMessages {
    /// Adds last words to every run that has ended.
    pub async fn complete(&mut self, seen: &mut Observed, containers: usize, node: &dyn Node) {
        let limit = MAX_MESSAGE.min(MAX_POD / containers.max(1));
        self.0.retain(|id, _| seen.runs.iter().any(|run| run.id == *id));
        for run in seen.runs.iter_mut().filter(|run| run.state == RunState::Exited) {
            let own = match self.0.get(&run.id) {
                Some(known) => known.clone(),
                None => {
                    let own = read(run, node).await;
                    self.0.insert(run.id.clone(), own.clone());
                    own
                }
            };
            if !own.is_empty() && !run.message.is_empty() {
                run.message.push_str(": ");
            }
            run.message.push_str(&own);
            let end = run.message.floor_char_boundary(limit);
            run.message.truncate(end);
        }
    }
}

async fn read(run: &Run, node: &dyn Node) -> String {
    let from_log = run.message_from_log && run.exit_code != 0;
    if let Some(path) = &run.message_file {
        match node.read_tail(path, MAX_MESSAGE).await {
            Ok(bytes) if !bytes.is_empty() => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(_) => {}
            Err(e) => return format!("Error on reading termination log {}: {e}", path.display()),
        }
    }
    if !from_log || run.log_path.as_os_str().is_empty() {
        return String::new();
    }
    match node.read_tail(&run.log_path, LOG_WINDOW).await {
        Ok(bytes) => log_end(&bytes),
        Err(e) => format!("Error reading termination message from logs: {e}"),
    }
}

/// The content of the last 80 lines of a CRI log, at most its last 2 KiB.
pub(crate) fn log_end(log: &[u8]) -> String {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    for line in log.split(|b| *b == b'\n') {
        // `<time> <stream> <tag> <content>`; the first may be cut by the window and is dropped.
        let mut parts = line.splitn(4, |b| *b == b' ');
        let (Some(_), Some(stream), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if !matches!(stream, b"stdout" | b"stderr") {
            continue;
        }
        if let Some(open) = lines.last_mut() {
            open.extend_from_slice(parts.next().unwrap_or_default());
            if tag.starts_with(b"F") {
                open.push(b'\n');
                lines.push(Vec::new());
            }
        }
    }
    let full = lines.iter().filter(|line| !line.is_empty()).count();
    let last: Vec<u8> = lines
        .into_iter()
        .filter(|l| !l.is_empty())
        .skip(full.saturating_sub(MAX_LOG_LINES))
        .flatten()
        .collect();
    let text = String::from_utf8_lossy(&last);
    let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_LOG));
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_end_is_decoded_and_bounded() {
        let log = b"ng stdout F cut\n2026-01-01T00:00:00Z stdout P ab\n2026-01-01T00:00:00Z stdout F c\n2026-01-01T00:00:00Z stderr F no\n";
        assert_eq!(log_end(log), "cut\nabc\nno\n");
        let many: String = (0..200).map(|i| format!("t stdout F line {i}\n")).collect();
        let text = log_end(many.as_bytes());
        assert!(text.starts_with("line 120\n") && text.ends_with("line 199\n"), "{text}");
        let long = format!("t stdout F {}\n", "é".repeat(3_000));
        let text = log_end(long.as_bytes());
        assert!(text.len() <= MAX_LOG && text.starts_with('é'));
    }
}
