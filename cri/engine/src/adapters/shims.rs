//! Shims as processes.

use super::host::dirs_of;
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::ports::{Answer, Dialled, Refusal, Shim, Shims};
use crate::table::blocking;
use async_trait::async_trait;
use nix::fcntl::AT_FDCWD;
use nix::poll::{PollFd, PollFlags, poll};
use rrun_runtime::cgroup::Layout;
use rrun_shim_protocol::{Client, Exec, Launch, Request, Running, WireKind, launch};
use rrun_sys::mount;
use rrun_sys::pidfd;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a shim may take to answer a greeting.
const GREETING: Duration = Duration::from_secs(2);
/// How long a shim may take to end by itself, and then to be dead.
const FAREWELL: Duration = Duration::from_secs(5);

/// What oom_score_adj a shim wants: a little better than what it looks after.
const OOM_SCORE_ADJ: i32 = -998;

pub(super) struct RealShims {
    /// The shim's program: a detached read-only mount, one for all shims, so that it cannot be
    /// written through `/proc/self/exe` from inside a container (CVE-2019-5736) and its pages are
    /// shared.
    program: OwnedFd,
    layout: Layout,
}

impl RealShims {
    pub(super) fn new(config: &Config, layout: Layout) -> Result<RealShims> {
        let program = read_only(&config.shim)
            .map_err(io::Error::from)
            .context(|| format!("shim {}", config.shim.display()))?;
        Ok(RealShims { program, layout })
    }
}

fn read_only(program: &Path) -> nix::Result<OwnedFd> {
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL)?;
    let tree = mount::clone_tree(AT_FDCWD, &path, false)?;
    let attributes =
        mount::Attributes { set: rrun_runtime::plan::attr::RDONLY, ..Default::default() };
    mount::set_attributes(tree.as_fd(), c"", &attributes, false)?;
    Ok(tree)
}

#[async_trait]
impl Shims for RealShims {
    async fn launch(&self, run_dir: &Path, cgroup: &str) -> Result<()> {
        let order = Launch {
            shim: PathBuf::from(format!("/proc/self/fd/{}", self.program.as_raw_fd())),
            run_dir: run_dir.to_owned(),
            cgroups: dirs_of(&self.layout, cgroup).into_iter().map(|dir| dir.path).collect(),
            oom_score_adj: OOM_SCORE_ADJ,
        };
        launch(&order).await.map_err(|error| told(error).error)
    }

    async fn dial(&self, run_dir: &Path) -> Result<Dialled> {
        let socket = Launch::socket(run_dir);
        match timeout(GREETING, Client::connect(&socket)).await {
            Ok(Ok((client, events))) => {
                Ok(Dialled { shim: Arc::new(Connection { client }), events })
            }
            Ok(Err(error)) => Err(told(error).error),
            Err(_) => {
                let message = format!("{}: the shim does not answer", socket.display());
                Err(Error::new(Kind::Unavailable, message))
            }
        }
    }

    async fn kill(&self, run_dir: &Path) -> Result<()> {
        let socket = Launch::socket(run_dir);
        let what = || format!("end shim at {}", socket.display());
        let Some(process) = process_of(run_dir) else { return Ok(()) };
        // By its own hand where it answers: it unpins its namespaces and removes its files.
        let farewell = async {
            let (client, _events) = Client::connect(&socket).await?;
            client.call(Request::Shutdown, Vec::new()).await
        };
        let ended = match timeout(FAREWELL, farewell).await {
            Ok(Ok(_)) => over(&process, FAREWELL).await?,
            _ => false,
        };
        if ended {
            return Ok(());
        }
        match pidfd::send_signal(process.as_fd(), 9) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(errno) => return Err(io::Error::from(errno)).context(what),
        }
        match over(&process, FAREWELL).await? {
            true => Ok(()),
            false => Err(Error::new(Kind::Timeout, "it is killed and not dead").context(what())),
        }
    }
}

/// The shim of a run folder, if there is one: by the number that it wrote down, as long as that
/// process was started for this folder. One that hangs is found like that too.
fn process_of(run_dir: &Path) -> Option<OwnedFd> {
    let pid = std::fs::read_to_string(run_dir.join("shim.pid")).ok()?.trim().parse().ok()?;
    let process = pidfd::open(pid).ok()?;
    // Read after the descriptor was opened: if it is the shim now, the descriptor is the shim's.
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let wanted = run_dir.as_os_str().as_bytes();
    command.split(|b| *b == 0).any(|arg| arg == wanted).then_some(process)
}

/// Waits for the end of a process that is not a child; whether it has come within `limit`.
pub(super) async fn over(process: &OwnedFd, limit: Duration) -> Result<bool> {
    let process = process.try_clone().context(|| "duplicate a pidfd")?;
    let milliseconds = u16::try_from(limit.as_millis()).unwrap_or(u16::MAX);
    blocking(move || {
        let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut watched, milliseconds).map_err(io::Error::from);
        Ok(ready.context(|| "wait for a process")? > 0)
    })
    .await
}

struct Connection {
    client: Client,
}

#[async_trait]
impl Shim for Connection {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        self.client.call(request, fds).await.map_err(told)
    }

    async fn exec(&self, exec: Exec, stdio: Vec<OwnedFd>) -> Result<Running, Refusal> {
        self.client.exec(exec, stdio).await.map_err(told)
    }
}

fn told(error: rrun_shim_protocol::Error) -> Refusal {
    use rrun_shim_protocol::Kind as Sort;
    match error.kind() {
        Sort::Refused(wire) => {
            let code = match wire.kind {
                WireKind::Exec(code) => Some(code),
                _ => None,
            };
            Refusal { code, error: Error::from(wire.clone()) }
        }
        Sort::Gone => Error::new(Kind::Unavailable, error.to_string()).into(),
        Sort::Protocol | Sort::Os => Error::new(Kind::Internal, error.to_string()).into(),
    }
}
