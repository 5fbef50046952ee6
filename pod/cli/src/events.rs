//! `rrun events`

use crate::context::Context;
use crate::table;
use anyhow::Result;
use rrun_pod::events::Level;
use std::process::ExitCode;

/// Prints the events on record, oldest first.
pub fn events(context: &Context, pod: &str) -> Result<ExitCode> {
    let entry = context.store.find(pod)?;
    let mut rows = vec![["TIME", "TYPE", "REASON", "CONTAINER", "MESSAGE"].map(String::from)];
    for event in context.store.events(&entry)? {
        rows.push([
            event.at.to_string(),
            if event.level == Level::Warning { "Warning" } else { "Normal" }.to_owned(),
            event.reason.as_str().to_owned(),
            event.container.unwrap_or_else(|| "-".to_owned()),
            event.message.split_whitespace().collect::<Vec<_>>().join(" "),
        ]);
    }
    table::print(&rows)?;
    Ok(ExitCode::SUCCESS)
}
