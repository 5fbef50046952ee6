//! Shims as processes.

use super::process::over;
use crate::blocking::blocking;
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::groups;
use crate::ports::{Answer, Dialled, NEW_SHIM, Refusal, Shim, Shims};
use async_trait::async_trait;
use nix::fcntl::AT_FDCWD;
use nix::poll::PollFlags;
use rrun_runtime::cgroup::Layout;
use rrun_runtime::plan::Cgroups;
use rrun_shim_protocol::{Client, Create, Exec, Launch, Request, Running, launch};
use rrun_sys::mount;
use rrun_sys::pidfd;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a shim, whose loop never blocks, may take to answer anything.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a shim's children may take for what they do on file systems that are slow.
const WORK: Duration = Duration::from_secs(60);
/// The same where all memory of processes is read.
const RESTORE: Duration = Duration::from_secs(600);
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
        mount::MountAttr { set: rrun_runtime::plan::attr::RDONLY, ..Default::default() };
    mount::set_attributes(tree.as_fd(), c"", &attributes, false)?;
    Ok(tree)
}

#[async_trait]
impl Shims for RealShims {
    async fn launch(&self, run_dir: &Path, cgroup: &str) -> Result<()> {
        let dirs = self.layout.dirs(Path::new(cgroup));
        let scope = groups::scope(cgroup);
        let wanted = Launch {
            shim: PathBuf::from(format!("/proc/self/fd/{}", self.program.as_raw_fd())),
            run_dir: run_dir.to_owned(),
            cgroups: match scope {
                None => dirs.iter().map(|dir| dir.path.clone()).collect(),
                Some(_) => Vec::new(),
            },
            oom_score_adj: OOM_SCORE_ADJ,
        };
        launch(&wanted).await?;
        let Some(scope) = scope else { return Ok(()) };
        let (socket, groups) = (Launch::socket(run_dir), Cgroups { dirs, ..Cgroups::default() });
        let late = |_| Error::new(Kind::Timeout, format!("{}: no answer", socket.display()));
        let greeted = timeout(NEW_SHIM, Client::connect(&socket)).await.map_err(late)?;
        let pid = greeted?.0.pid();
        let place = blocking(move || super::host::place(&scope, &groups, pid));
        place.await.context(|| "place the shim")
    }

    async fn dial(&self, run_dir: &Path, greeting: Duration) -> Result<Dialled> {
        let socket = Launch::socket(run_dir);
        match timeout(greeting, Client::connect(&socket)).await {
            Ok(Ok((client, events))) => {
                Ok(Dialled { shim: Arc::new(Connection { client }), events })
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let message = format!("{}: no answer in {greeting:?}", socket.display());
                Err(Error::new(Kind::Timeout, message))
            }
        }
    }

    async fn kill(&self, run_dir: &Path) -> Result<()> {
        let socket = Launch::socket(run_dir);
        let what = || format!("end shim at {}", socket.display());
        let Some(process) = process_of(run_dir).await? else { return Ok(()) };
        // By its own hand where it answers: it unpins its namespaces and removes its files.
        let farewell = async {
            let (client, _events) = Client::connect(&socket).await?;
            client.call(Request::Shutdown, Vec::new()).await
        };
        let ended = match timeout(FAREWELL, farewell).await {
            Ok(Ok(_)) => over(&process, PollFlags::POLLIN, FAREWELL).await?,
            _ => false,
        };
        if ended {
            return Ok(());
        }
        end(&process).await.context(what)
    }

    async fn kill_hung(&self, run_dir: &Path) -> Result<()> {
        let what = || format!("kill shim of {}", run_dir.display());
        match process_of(run_dir).await? {
            Some(process) => end(&process).await.context(what),
            None => Ok(()),
        }
    }
}

/// SIGKILL, and its effect. One that is killed and does not die, because one of its threads hangs
/// in a dead file system, does nothing any more: nobody waits for it.
async fn end(process: &OwnedFd) -> Result<()> {
    match pidfd::send_signal(process.as_fd(), 9) {
        Ok(()) | Err(nix::Error::ESRCH) => {}
        Err(errno) => return Err(io::Error::from(errno)).context(|| "SIGKILL"),
    }
    if !over(process, PollFlags::POLLIN, FAREWELL).await? {
        tracing::warn!("a shim is killed and not dead");
    }
    Ok(())
}

/// The shim of a run folder, if there is one: by the number that it wrote down, as long as that
/// process was started for this folder. One that hangs is found like that too.
async fn process_of(run_dir: &Path) -> Result<Option<OwnedFd>> {
    let run_dir = run_dir.to_owned();
    blocking(move || Ok(find_process(&run_dir))).await
}

fn find_process(run_dir: &Path) -> Option<OwnedFd> {
    let pid = rrun_sys::record::read_text(&run_dir.join("shim.pid")).ok()?;
    let pid = pid.trim().parse().ok()?;
    let process = pidfd::open(pid).ok()?;
    // Read after the descriptor was opened: if it is the shim now, the descriptor is the shim's.
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let wanted = run_dir.as_os_str().as_bytes();
    command.split(|b| *b == 0).any(|arg| arg == wanted).then_some(process)
}

struct Connection {
    client: Client,
}

impl Connection {
    /// Waits for an answer while the shim is heard of and `limit` is not over.
    async fn within<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, rrun_shim_protocol::Error>>,
    ) -> Result<T, Refusal> {
        let late = |limit: Duration| {
            let message = format!("shim {}: no answer in {limit:?}", self.client.pid());
            Err(Error::new(Kind::Timeout, message).into())
        };
        tokio::select! {
            biased;
            answer = answer => answer.map_err(Refusal::from),
            () = self.silence() => late(SILENCE),
            () = sleep(limit) => late(limit),
        }
    }

    /// Lasts until nothing was heard of the shim for so long. One that only has much to do says
    /// what there is.
    async fn silence(&self) {
        let heard = || async {
            sleep(SILENCE / 2).await;
            timeout(SILENCE / 2, self.client.call(Request::State, Vec::new())).await.is_ok()
        };
        while heard().await {}
    }
}

#[async_trait]
impl Shim for Connection {
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        let limit = match &request {
            Request::Stop { grace_ms, .. } => Duration::from_millis(*grace_ms).saturating_add(WORK),
            Request::Create(Create { restore: Some(_), .. }) => RESTORE,
            _ => WORK,
        };
        self.within(limit, self.client.call(request, fds)).await
    }

    async fn exec(&self, exec: Exec, stdio: Vec<OwnedFd>) -> Result<Running, Refusal> {
        self.within(WORK, self.client.exec(exec, stdio)).await
    }
}
