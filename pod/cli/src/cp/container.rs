//! The file system of a running container, through its process.

use anyhow::{Context as _, Result, bail};
use rrun_cri_api::{Cri, v1};
use rrun_sys::pidfd;
use rrun_sys::root::{RelPath, RootDir, Rule};
use serde_json::Value;
use std::os::fd::AsFd;
use std::path::Path;

/// The root of a container as its first process sees it.
pub struct ContainerRoot {
    /// Links in it lead nowhere else.
    pub root: RootDir,
    /// User and group of the process.
    pub owner: (u32, u32),
    /// The process's working directory.
    folder: String,
}

impl ContainerRoot {
    /// A path as the container's process would understand it.
    pub fn path(&self, path: &str) -> Result<RelPath> {
        absolute(path, &self.folder)
    }
}

/// Opens the root of a container of a runtime on this machine.
pub async fn open(cri: &dyn Cri, id: &str) -> Result<ContainerRoot> {
    let pid = pid(cri, id).await?;
    let process = pidfd::open(pid).with_context(|| format!("open process {pid}"))?;
    if self::pid(cri, id).await? != pid {
        bail!("it has just ended");
    }
    let of_process = |what: &str| format!("/proc/{pid}/{what}");
    let path = of_process("root");
    let root = RootDir::open(Path::new(&path), Rule::InRoot).with_context(|| path)?;
    let folder = std::fs::read_link(of_process("cwd"));
    let folder = folder.map_or_else(|_| "/".to_owned(), |path| path.display().to_string());
    let status = std::fs::read_to_string(of_process("status")).context("read its user")?;
    let owner = (id_of(&status, "Uid:")?, id_of(&status, "Gid:")?);
    // Its number was its own all the time if it is still there.
    pidfd::send_signal(process.as_fd(), 0).context("it has just ended")?;
    Ok(ContainerRoot { root, owner, folder })
}

/// The number of its first process, under the key that agents know from containerd.
async fn pid(cri: &dyn Cri, id: &str) -> Result<i32> {
    let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let info = cri.container_status(request).await?.info;
    let info = info.get("info").context("the runtime does not tell its process")?;
    let info: Value = serde_json::from_str(info).context("read what the runtime tells of it")?;
    let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.filter(|pid| *pid > 0).context("it does not run")
}

/// The effective one of four.
fn id_of(status: &str, label: &str) -> Result<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(label));
    let id = line.and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
    id.with_context(|| format!("no {label} in its status"))
}

/// A path of a container, below the folder where its process began if it is relative.
fn absolute(path: &str, folder: &str) -> Result<RelPath> {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    let mut names: Vec<&str> = Vec::new();
    for name in whole.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    RelPath::parse(names.join("/")).with_context(|| format!("{path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_container_has_no_dots_and_begins_where_its_process_did() {
        for (path, folder, want) in [
            ("/etc/../etc/hosts", "/app", "etc/hosts"),
            ("../../../x", "/app", "x"),
            ("log/./today", "/app", "app/log/today"),
            ("/", "/app", ""),
        ] {
            assert_eq!(absolute(path, folder).unwrap(), RelPath::parse(want).unwrap(), "{path}");
        }
    }
}
