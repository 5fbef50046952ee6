//! Checkpoints by the program `criu`.

use crate::blocking::blocking;
use crate::error::{Context, Error, Kind, Result};
use crate::ports::Dump;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rrun_blocking::program::{Most, Program};
use rrun_runtime::criu::{self, OLDEST, Options};
use rrun_runtime::plan::Cgroups;
use rrun_sys::pidfd;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The program, looked up in PATH.
const NAME: &str = "criu";
/// How long it may take to tell its version, and how much of that is read.
const LIMIT: Duration = Duration::from_secs(10);
const MOST: Most = Most { stdout: 4096, stderr: 1024 };

/// Where the pod's own file system is mounted in its containers.
const SHM: &str = "/dev/shm";

pub(super) async fn find() -> Result<PathBuf> {
    let lacks = |why: String| Error::new(Kind::Unimplemented, why).context("checkpoints need criu");
    let start = move || {
        let path = criu::find(Path::new(NAME)).map_err(|error| lacks(error.to_string()))?;
        let mut command = Command::new(&path);
        command.arg("--version");
        let started = Program::start(command);
        let started = started.map_err(|error| lacks(format!("{}: {error}", path.display())))?;
        Ok((path, started))
    };
    let (path, started) = blocking(start).await?;
    let broken = |error: io::Error| lacks(format!("{}: {error}", path.display()));
    let ended = started.end(b"", MOST, LIMIT).await.map_err(broken)?;
    let told = String::from_utf8_lossy(&ended.stdout.bytes).into_owned();
    let (major, minor) = OLDEST;
    match criu::version(&told) {
        Some(version) if version >= OLDEST => Ok(path),
        Some((is, sub)) => {
            let path = path.display();
            Err(lacks(format!(
                "{path} is {is}.{sub}, and {major}.{minor} is the oldest that works"
            )))
        }
        None => Err(lacks(format!("{} does not tell its version", path.display()))),
    }
}

/// Blocks.
pub(super) fn dump(groups: &Cgroups, dump: Dump) -> Result<()> {
    let ended = || Error::precondition("it has ended");
    let pid = pidfd::number(dump.init.as_fd()).map_err(|_| ended())?;
    let options = Options::of_pod(dump.criu, dump.images, dump.work);
    let wanted = criu::Dump {
        options: &options,
        pid,
        root: None,
        groups,
        joined: &dump.joined,
        // Neither it nor images that are volumes are in any mount table but the container's.
        external: &[PathBuf::from(SHM)],
        external_overlays: true,
        leave_running: true,
        pre_dump: false,
        parent: None,
        tcp_skip_in_flight: false,
        link_remap: false,
        page_server: None,
        status_fd: None,
        held: vec![dump.held.as_fd()],
    };
    let (mut still, mut refused) = (Some(dump.still), None);
    let done = criu::dump(&wanted, || {
        let mut checked = || {
            let work = still.take().ok_or_else(|| Error::internal("criu is done twice"))?;
            work()?;
            // Only then was the number its own, and its file system there, all the time.
            if is_over(&dump.init)? { Err(ended()) } else { Ok(()) }
        };
        checked().map_err(|error| {
            let told = rrun_runtime::Error::new(rrun_runtime::Kind::Ended, error.to_string());
            refused = Some(error);
            told
        })
    });
    match refused {
        Some(error) => Err(error),
        None => Ok(done?),
    }
}

/// Whether a process has ended.
fn is_over(process: &OwnedFd) -> Result<bool> {
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut watched, PollTimeout::ZERO).map_err(io::Error::from);
    Ok(ready.context(|| "look at a process")? > 0)
}
