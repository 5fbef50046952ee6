//! The verbs `list` and `ps`.

use crate::cli::ListFormat;
use crate::id::Id;
use crate::invalid;
use crate::log::Log;
use crate::record::Folder;
use crate::status::ContainerState;
use rrun_error::printable_line;
use rrun_runtime::{Context, Result, cgroup};
use std::io::ErrorKind;
use std::path::Path;

/// Lists containers; one whose record cannot be read is named and passed over.
pub fn list(root: &Path, format: ListFormat, quiet: bool, log: &Log) -> Result<()> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        entries => entries.context(|| format!("list {}", root.display()))?.flatten().collect(),
    };
    let mut all = Vec::new();
    for entry in entries {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<Id>() else { continue };
        match Folder::open(root, &id).and_then(|folder| ContainerState::of(&folder)) {
            Ok(shown) => all.push(shown),
            Err(error) => log.warning(&error.to_string()),
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    match (quiet, format) {
        (true, _) => all.iter().for_each(|shown| println!("{}", shown.id)),
        (false, ListFormat::Json) => {
            println!("{}", serde_json::to_string(&all).map_err(|e| invalid(e.to_string()))?);
        }
        (false, ListFormat::Table) => {
            println!("{:<32} {:>8} {:<9} {:<31} BUNDLE", "ID", "PID", "STATUS", "CREATED");
            for one in &all {
                let status = one.status.to_string();
                let (bundle, created) = (printable_line(&one.bundle), printable_line(&one.created));
                println!("{:<32} {:>8} {status:<9} {created:<31} {bundle}", one.id, one.pid);
            }
        }
    }
    Ok(())
}

/// Lists the processes of a container, by their numbers on the host.
pub fn processes(root: &Path, id: &Id, format: ListFormat) -> Result<()> {
    let record = Folder::open(root, id)?.read()?;
    let mut pids: Vec<i32> =
        cgroup::processes(&record.groups)?.into_iter().map(nix::unistd::Pid::as_raw).collect();
    pids.sort_unstable();
    match format {
        ListFormat::Json => {
            println!("{}", serde_json::to_string(&pids).map_err(|e| invalid(e.to_string()))?);
        }
        ListFormat::Table => {
            println!("{:>8} COMMAND", "PID");
            for pid in pids {
                let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
                let name = String::from_utf8_lossy(name.trim_ascii_end());
                println!("{pid:>8} {}", printable_line(&name));
            }
        }
    }
    Ok(())
}
