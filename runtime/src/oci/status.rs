//! What a container is doing.

use crate::first_process::ProcessStart;
use crate::id::Id;
use crate::invalid;
use crate::record::{Folder, Record};
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use serde::Serialize;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What runtime-spec calls the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made, or was when its maker died.
    Creating,
    /// Its program waits for its start.
    Created,
    Running,
    /// Its processes stand still.
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

impl Status {
    /// Looks at the process, at its groups, and at the socket of its start, which goes away with the
    /// start.
    pub fn of(folder: &Folder, record: &Record) -> Status {
        match record.init {
            None => Status::Creating,
            Some(init) if ProcessStart::of(init.pid) != Some(init) => Status::Stopped,
            // What cannot be asked is not frozen. One that was not started hears of no start then.
            Some(_) if cgroup::is_frozen(&record.groups).unwrap_or(false) => Status::Paused,
            Some(_) if folder.start_socket().exists() => Status::Created,
            Some(_) => Status::Running,
        }
    }
}

/// A container as `state` and `list` print it: runtime-spec's fields, and runc's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    oci_version: String,
    pub id: String,
    pub pid: i32,
    pub status: Status,
    pub bundle: String,
    rootfs: String,
    pub created: String,
    #[serde(skip_serializing_if = "std::collections::HashMap::is_empty")]
    annotations: std::collections::HashMap<String, String>,
    /// `disabled` for one that is in its caller's groups; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_manager: Option<&'static str>,
    owner: String,
}

impl ContainerState {
    pub fn of(folder: &Folder) -> Result<ContainerState> {
        let record = folder.read()?;
        let status = Status::of(folder, &record);
        let pid = match (status, record.init) {
            (Status::Created | Status::Running | Status::Paused, Some(init)) => init.pid,
            _ => 0,
        };
        Ok(ContainerState {
            cgroup_manager: record.groups.dirs.is_empty().then_some("disabled"),
            oci_version: record.oci_version,
            id: record.id,
            pid,
            status,
            bundle: record.bundle.display().to_string(),
            rootfs: record.rootfs.display().to_string(),
            created: record.created,
            annotations: record.annotations,
            owner: String::new(),
        })
    }
}

/// The verb `state`.
pub fn print(root: &Path, id: &Id) -> Result<()> {
    let shown = Folder::open(root, id).and_then(|folder| ContainerState::of(&folder));
    let shown = shown.context(|| format!("state {id}"))?;
    let json = serde_json::to_string_pretty(&shown).map_err(|e| invalid(e.to_string()))?;
    println!("{json}");
    Ok(())
}

/// The first process of a container that lives.
pub fn live(record: &Record) -> Result<OwnedFd> {
    record.init.and_then(ProcessStart::open).ok_or_else(ended)
}

/// In the words that containerd looks for.
pub fn ended() -> Error {
    Error::new(Kind::Ended, "container not running")
}
