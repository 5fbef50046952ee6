//! `rrun ps`

use crate::shelf::{self, Entry};
use anyhow::Result;
use rrun_cri::config::Config;
use serde_json::Value;
use std::process::ExitCode;

/// Lists the pods, with `all` also those that have ended.
pub fn ps(config: &Config, all: bool) -> Result<ExitCode> {
    let entries: Vec<Entry> =
        shelf::all(config)?.into_iter().filter(|entry| all || !entry.ended()).collect();
    let mut rows =
        vec![["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "IP", "UID"].map(String::from)];
    rows.extend(entries.iter().map(|entry| row(config, entry)));
    table(&rows);
    Ok(ExitCode::SUCCESS)
}

fn row(config: &Config, entry: &Entry) -> [String; 7] {
    let list = |key: &str| entry.status[key].as_array().map_or(&[][..], Vec::as_slice);
    let containers = list("containerStatuses");
    let ready = containers.iter().filter(|c| c["ready"] == Value::Bool(true)).count();
    let restarts: u64 = containers
        .iter()
        .chain(list("initContainerStatuses"))
        .filter_map(|container| container["restartCount"].as_u64())
        .sum();
    // What runs without its rrun is not probed and not restarted.
    let unattended = !entry.ended() && !entry.is_held(config);
    let status = if unattended { "Unattended" } else { entry.phase() };
    [
        entry.namespace.clone(),
        entry.name.clone(),
        format!("{ready}/{}", containers.len()),
        status.to_owned(),
        restarts.to_string(),
        entry.status["podIP"].as_str().unwrap_or("-").to_owned(),
        entry.uid.clone(),
    ]
}

/// Prints rows in columns as wide as they must be.
pub fn table<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
