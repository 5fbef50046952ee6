//! Starting a shim.

use crate::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// What a shim is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its program. The daemon gives a path below `/proc/self/fd` that leads to a detached
    /// read-only mount, because the shim's children keep it as `/proc/self/exe` until they
    /// execute a container's program (CVE-2019-5736).
    pub shim: PathBuf,
    /// The pod's run folder; socket, exit records and the shim's own log live there.
    pub run_dir: PathBuf,
    /// Directories of control groups that the shim moves itself to, one a hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// `oom_score_adj`; −998 where that is allowed.
    pub oom_score_adj: i32,
}

impl Launch {
    /// The socket of the shim whose run folder this is.
    pub fn socket(run_dir: &Path) -> PathBuf {
        run_dir.join("shim.sock")
    }
}

/// Starts a shim and returns when it listens. It is no child of the caller then.
///
/// # Errors
/// With what the shim said on stderr.
pub async fn launch(launch: &Launch) -> Result<(), Error> {
    let mut command = Command::new(&launch.shim);
    command.arg0("rrun-shim").arg("--run-dir").arg(&launch.run_dir);
    command.arg("--oom-score-adj").arg(launch.oom_score_adj.to_string());
    for group in &launch.cgroups {
        command.arg("--cgroup").arg(group);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let what = format!("launch shim in {}", launch.run_dir.display());
    let output = command.output().await.map_err(|e| Error::os(&what, rrun_error::reason(&e)))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::os(what, format!("{}: {}", output.status, said.trim())))
    }
}
