//! `rrun events`

use crate::args::Output;
use crate::context::Context;
use crate::display::LOOK;
use crate::table;
use anyhow::Result;
use rrun_pod::events::{Event, Level};
use rrun_pod::supervise::Entry;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints the events on record, oldest first, and with `watch` those that follow until nobody runs the
/// pod any more.
pub async fn events(
    context: &Context,
    pod: &str,
    watch: bool,
    output: Option<Output>,
) -> Result<ExitCode> {
    let entry = context.store.find(pod).await?;
    let past = context.store.events(&entry).await?;
    let head = ["TIME", "TYPE", "REASON", "CONTAINER", "MESSAGE"].map(String::from);
    let rows: Vec<_> = std::iter::once(head).chain(past.iter().map(row)).collect();
    let widths = table::widths(&rows);
    let shown = |event: &Event| match output {
        Some(Output::Json) => crate::json::line(&json(&entry, event)),
        None => Ok(table::line(&row(event), &widths)),
    };
    match output {
        Some(Output::Json) => {
            table::write(&past.iter().map(shown).collect::<Result<String, _>>()?)?
        }
        None => table::print(&rows)?,
    }
    let (mut last, mut size) = (past.last().cloned(), 0);
    let mut over = !watch;
    while !over {
        tokio::time::sleep(LOOK).await;
        // Looked at first: what is recorded before the pod ends is read after it.
        over = !context.store.is_locked(&entry).await;
        let now = context.store.events_size(&entry).await;
        if now == size {
            continue;
        }
        size = now;
        let all = context.store.events(&entry).await?;
        let fresh = after(&all, last.as_ref());
        for event in fresh {
            if !table::shown(&shown(event)?)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
        last = fresh.last().cloned().or(last);
    }
    Ok(ExitCode::SUCCESS)
}

/// The events after the last one that was printed. The list may have been cut at its beginning.
fn after<'a>(all: &'a [Event], last: Option<&Event>) -> &'a [Event] {
    let printed = last.and_then(|last| all.iter().rposition(|event| event == last));
    printed.map_or(all, |at| &all[at + 1..])
}

/// As the API has events, as far as they are known here.
fn json(entry: &Entry, event: &Event) -> Value {
    let kind = if event.level == Level::Warning { "Warning" } else { "Normal" };
    let field = event.container.as_ref().map(|name| format!("spec.containers{{{name}}}"));
    json!({
        "kind": "Event",
        "apiVersion": "v1",
        "involvedObject": {
            "kind": "Pod",
            "namespace": entry.namespace,
            "name": entry.name,
            "uid": entry.uid.as_str(),
            "fieldPath": field,
        },
        "type": kind,
        "reason": event.reason.as_str(),
        "message": event.message,
        "lastTimestamp": event.at.to_string(),
    })
}

/// The columns of an event.
pub fn row(event: &Event) -> [String; 5] {
    [
        event.at.to_string(),
        if event.level == Level::Warning { "Warning" } else { "Normal" }.to_owned(),
        event.reason.as_str().to_owned(),
        event.container.clone().unwrap_or_else(|| "-".to_owned()),
        event.message.split_whitespace().collect::<Vec<_>>().join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_pod::clock::Timestamp;
    use rrun_pod::events::Reason;

    #[test]
    fn what_follows_the_last_event_is_new_and_all_is_when_that_one_was_cut_away() {
        let event = |at| Event {
            at: Timestamp::from_nanos(at),
            level: Level::Normal,
            reason: Reason::Started,
            container: None,
            message: String::new(),
        };
        let all = [event(1), event(2), event(2), event(3)];
        assert_eq!(after(&all, None), all);
        assert_eq!(after(&all, Some(&event(2))), [event(3)]);
        assert_eq!(after(&all, Some(&event(3))), []);
        assert_eq!(after(&all, Some(&event(0))), all);
    }
}
