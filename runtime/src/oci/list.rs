//! The verbs `list` and `ps`.

use crate::cli::{ListFormat, Ps};
use crate::id::Id;
use crate::invalid;
use crate::log::Log;
use crate::record::Folder;
use crate::status::ContainerState;
use rrun_error::printable_line;
use rrun_runtime::{Context, Result, cgroup};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// The ids of all containers, sorted.
pub fn ids(root: &Path) -> Result<Vec<Id>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        entries => entries.context(|| format!("list {}", root.display()))?.flatten().collect(),
    };
    let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut ids: Vec<Id> = names.filter_map(|name| name.parse().ok()).collect();
    ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Ok(ids)
}

/// Lists containers; one whose record cannot be read is named and passed over.
pub fn list(root: &Path, format: ListFormat, quiet: bool, log: &Log) -> Result<()> {
    let mut all = Vec::new();
    for id in ids(root)? {
        match Folder::open(root, &id).and_then(|folder| ContainerState::of(&folder)) {
            Ok(shown) => all.push(shown),
            Err(error) => log.warning(&error.to_string()),
        }
    }
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
pub fn processes(root: &Path, options: &Ps) -> Result<()> {
    let record = Folder::open(root, &options.id)?.read()?;
    record.check_groups().context(|| format!("ps {}", options.id))?;
    let mut pids: Vec<i32> =
        cgroup::processes(&record.groups)?.into_iter().map(nix::unistd::Pid::as_raw).collect();
    pids.sort_unstable();
    match options.format {
        ListFormat::Json => {
            println!("{}", serde_json::to_string(&pids).map_err(|e| invalid(e.to_string()))?);
        }
        ListFormat::Table if !options.options.is_empty() => lines_of_ps(&options.options, &pids)?,
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

/// What ps(1) says of these processes, with its heading.
fn lines_of_ps(options: &[String], pids: &[i32]) -> Result<()> {
    let output = Command::new("ps").args(options).output().context(|| "execute ps")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(invalid(format!("ps: {}: {}", output.status, words.trim_end())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_ascii_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| invalid("ps prints no column PID"))?;
    println!("{}", printable_line(heading));
    for line in lines {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|text| text.parse().ok());
        if pid.is_some_and(|pid: i32| pids.contains(&pid)) {
            println!("{}", printable_line(line));
        }
    }
    Ok(())
}
