//! What the engine itself asks of the kernel.

use super::shims::over;
use crate::apparmor;
use crate::clock;
use crate::error::{Context, Error, Kind, Result};
use crate::ports::{Host, RootfsDirs};
use crate::stats::{Memory, Psi, PsiLine, Usage};
use crate::table::blocking;
use async_trait::async_trait;
use nix::poll::PollFlags;
use rrun_runtime::cgroup::stats::{Pressure, Stall, Stats};
use rrun_runtime::cgroup::{self, Layout};
use rrun_runtime::plan::Cgroups;
use rrun_runtime::run::namespace;
use rrun_sys::mount;
use rrun_sys::pidfd;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of a killed process may take to be seen.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long init may take to reap a process; told by kernel 6.9 and later.
const REAPING: Duration = Duration::from_secs(1);

pub(super) struct KernelHost {
    layout: Layout,
}

impl KernelHost {
    pub(super) fn new(cgroup_root: &Path) -> Result<KernelHost> {
        Ok(KernelHost { layout: Layout::detect(cgroup_root).map_err(runtime)? })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn groups(&self, cgroup: &str) -> Cgroups {
        Cgroups { dirs: self.layout.dirs(Path::new(cgroup)), ..Cgroups::default() }
    }
}

fn runtime(error: rrun_runtime::Error) -> Error {
    let kind = match error.kind() {
        rrun_runtime::Kind::NotFound => Kind::NotFound,
        _ => Kind::Internal,
    };
    Error::from_chain(kind, error.chain())
}

#[async_trait]
impl Host for KernelHost {
    async fn overlay(&self, dirs: &RootfsDirs) -> Result<OwnedFd> {
        let dirs = dirs.clone();
        blocking(move || overlay(&dirs)).await
    }

    async fn unpin(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        blocking(move || namespace::unpin(&path).map_err(runtime)).await
    }

    async fn make_group(&self, cgroup: &str) -> Result<()> {
        let groups = self.groups(cgroup);
        let what = format!("control group {cgroup}");
        blocking(move || cgroup::make(&groups).map_err(runtime).context(|| what)).await
    }

    async fn kill_group(&self, cgroup: &str) -> Result<()> {
        let groups = self.groups(cgroup);
        let what = format!("kill control group {cgroup}");
        blocking(move || cgroup::kill(&groups).map_err(runtime).context(|| what)).await
    }

    async fn remove_group(&self, cgroup: &str) -> Result<()> {
        let groups = self.groups(cgroup);
        let what = format!("remove control group {cgroup}");
        blocking(move || cgroup::remove(&groups.dirs).map_err(runtime).context(|| what)).await
    }

    async fn ensure_apparmor(&self, profile: &str) -> Result<()> {
        let profile = profile.to_owned();
        blocking(move || apparmor::ensure(&profile)).await
    }

    fn pidfd(&self, pid: i32) -> Option<OwnedFd> {
        pidfd::open(pid).ok()
    }

    async fn exit_code(&self, process: &Arc<OwnedFd>) -> Option<i32> {
        over(process, PollFlags::POLLIN, PATIENCE).await.ok()?;
        // The code is told once somebody has reaped it, which is init's part without its shim.
        over(process, PollFlags::POLLHUP, REAPING).await.ok()?;
        pidfd::exit_code(process.as_fd()).ok().flatten()
    }

    async fn usage(&self, cgroup: &str) -> Result<(Usage, Option<u64>)> {
        let groups = self.groups(cgroup);
        let what = format!("control group {cgroup}");
        let read = move || cgroup::stats::read(&groups).map_err(runtime).context(|| what);
        let stats = blocking(read).await?;
        Ok((usage(&stats), stats.pids))
    }
}

/// An overlay as a detached mount: it is in nobody's mount table, and goes with its descriptor.
fn overlay(dirs: &RootfsDirs) -> Result<OwnedFd> {
    let context =
        mount::Context::open(c"overlay").map_err(io::Error::from).context(|| "open an overlay")?;
    let set = || -> nix::Result<()> {
        let text =
            |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL);
        context.set(c"source", Some(c"overlay"))?;
        // One option a layer (kernel 6.5): no list to run over a page, no `:` to escape.
        for layer in &dirs.lower {
            context.set(c"lowerdir+", Some(&text(layer)?))?;
        }
        context.set(c"upperdir", Some(&text(&dirs.upper)?))?;
        context.set(c"workdir", Some(&text(&dirs.work)?))
    };
    match set() {
        Ok(()) => {}
        Err(errno) => return Err(overlay_error(context.message(), errno)),
    }
    context.mount(0).map_err(|errno| overlay_error(None, errno))
}

fn overlay_error(said: Option<String>, errno: nix::Error) -> Error {
    let error = Error::os("mount an overlay", &io::Error::from(errno));
    match said {
        Some(said) => error.context(said),
        None => error,
    }
}

fn usage(stats: &Stats) -> Usage {
    let memory = stats.memory.as_ref();
    let available =
        |m: &cgroup::stats::Memory| m.limit.map(|limit| limit.saturating_sub(m.working_set));
    Usage {
        at: clock::now(),
        cpu_ns: stats.cpu_usage_ns,
        cpu_psi: stats.pressure.map(|all| psi(&all.cpu)),
        memory: Memory {
            working_set: memory.map(|m| m.working_set),
            available: memory.and_then(available),
            usage: memory.map(|m| m.usage),
            rss: memory.map(|m| m.rss),
            faults: memory.map(|m| m.page_faults),
            major_faults: memory.map(|m| m.major_page_faults),
            swap_available: None,
            swap_usage: stats.swap_usage,
            psi: stats.pressure.map(|all| psi(&all.memory)),
        },
        io_psi: stats.pressure.map(|all| psi(&all.io)),
    }
}

fn psi(pressure: &Pressure) -> Psi {
    let line = |stall: &Stall| PsiLine {
        total: stall.total_us,
        avg10: f64::from(stall.avg10) / 100.0,
        avg60: f64::from(stall.avg60) / 100.0,
        avg300: f64::from(stall.avg300) / 100.0,
    };
    Psi { full: line(&pressure.full), some: line(&pressure.some) }
}
