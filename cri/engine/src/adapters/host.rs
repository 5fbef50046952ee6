//! What the engine itself asks of the kernel.

use super::block_device;
use super::criu;
use super::interfaces;
use super::process::over;
use super::view;
use crate::apparmor;
use crate::error::{Context, Error, Result};
use crate::groups;
use crate::ports::{Dump, Host, RootfsDirs, USER_NAMESPACES};
use crate::stats::{Counts, InterfaceUsage, Opened, Stats};
use async_trait::async_trait;
use nix::errno::Errno;
use nix::poll::PollFlags;
use rrun_blocking::Blocking;
use rrun_images::Lower;
use rrun_runtime::cgroup::stats::Files;
use rrun_runtime::cgroup::{self, Layout};
use rrun_runtime::plan::{Cgroups, IdMaps};
use rrun_runtime::run::namespace;
use rrun_runtime::systemd::{self, Scope, Slice};
use rrun_sys::kernel::Feature;
use rrun_sys::pidfd;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the end of a killed process may take to be seen.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long init may take to reap a process; told by kernel 6.9 and later.
const REAPING: Duration = Duration::from_secs(1);

/// How many calls of the kernel may be under way: each blocks a thread.
const AT_ONCE: usize = 64;

pub(super) struct KernelHost {
    layout: Layout,
    features: Vec<Feature>,
    kernel: Blocking<Kernel>,
}

/// What blocks: called on threads made for that.
struct Kernel {
    layout: Layout,
    /// Where groups have their figures, of those that were read. Locked for single look-ups only.
    files: Mutex<HashMap<String, Arc<Files>>>,
}

impl KernelHost {
    pub(super) fn new(cgroup_root: &Path, bare: &[Lower]) -> Result<KernelHost> {
        let layout = Layout::detect(cgroup_root)?;
        let kernel =
            Blocking::new(Kernel { layout: layout.clone(), files: Mutex::default() }, AT_ONCE);
        let (unified, filters) = (layout.unified.as_deref(), layout.filters_devices());
        let mut features = rrun_sys::kernel::features(unified, filters);
        features.push(user_namespaces(bare));
        Ok(KernelHost { layout, features, kernel })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Works on a group; `what` is said of a failure.
    async fn group<T: Send + 'static>(
        &self,
        (cgroup, what): (&str, &str),
        work: fn(&Cgroups) -> Result<T, rrun_runtime::Error>,
    ) -> Result<T> {
        let (cgroup, what) = (cgroup.to_owned(), format!("{what} {cgroup}"));
        let work = move |kernel: &Kernel| work(&kernel.groups(&cgroup)).context(|| what);
        self.kernel.call(work).await
    }
}

impl Kernel {
    /// What a group counts.
    fn usage(&self, cgroup: &str) -> Option<Stats> {
        self.read(cgroup, |files| files.read_usage().ok())
    }

    /// Everything that is counted of a container.
    fn counts(&self, cgroup: &str, init: i32) -> Option<Counts> {
        let counts = self.read(cgroup, |files| {
            let (figures, details) = (files.read().ok()?, files.read_details().ok()?);
            let devices = figures.devices.iter().flatten();
            let devices = devices.map(|io| (block_device::name(io.major, io.minor), *io)).collect();
            Some(Counts { figures, details, devices, opened: None })
        })?;
        let opened = Opened::of(&self.groups(cgroup), init).ok();
        Some(Counts { opened, ..counts })
    }

    /// Reads files of a group, which are found once.
    fn read<T>(&self, cgroup: &str, read: impl FnOnce(&Files) -> Option<T>) -> Option<T> {
        let files = match self.files().get(cgroup) {
            Some(files) => Arc::clone(files),
            None => {
                let groups = self.groups(cgroup);
                // What is found of a group that is not there would be kept.
                if !groups.dirs.iter().all(|dir| dir.path.exists()) {
                    return None;
                }
                Arc::new(Files::find(&groups))
            }
        };
        let read = read(&files);
        match read {
            Some(_) => self.files().insert(cgroup.to_owned(), files),
            None => self.files().remove(cgroup),
        };
        read
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Arc<Files>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self, cgroup: &str) -> Cgroups {
        Cgroups { dirs: self.layout.dirs(Path::new(cgroup)), ..Cgroups::default() }
    }
}

/// Whether pods can have user namespaces of their own, tried on the lower directories `bare`.
fn user_namespaces(bare: &[Lower]) -> Feature {
    let tried = view::try_mapped(bare);
    if let Err(error) = &tried {
        tracing::warn!("pods cannot have user namespaces of their own here: {error}");
    }
    Feature {
        name: USER_NAMESPACES,
        since: "5.19",
        instead: Some("pods that ask for user namespaces of their own are refused"),
        missing: tried.err().map(|_| Errno::EOPNOTSUPP),
    }
}

/// A group that systemd makes.
enum Unit {
    Slice(Slice),
    Scope(Scope),
}

impl Unit {
    fn of(cgroup: &str) -> Option<Unit> {
        let slice = || Slice::of_path(cgroup).ok().map(Unit::Slice);
        groups::scope(cgroup).map(Unit::Scope).or_else(slice)
    }

    /// Stops it; false when it is somebody else's.
    fn stop(&self, groups: &Cgroups) -> rrun_runtime::Result<bool> {
        match self {
            Unit::Scope(scope) => systemd::stop(scope, &description(scope), groups),
            Unit::Slice(slice) => systemd::stop_slice(slice).map(|()| true),
        }
    }
}

/// Whose a scope is.
fn description(scope: &Scope) -> String {
    format!("rrun {}", scope.name())
}

/// Makes a scope of a process.
pub(super) fn place(scope: &Scope, groups: &Cgroups, pid: i32) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(pid);
    Ok(systemd::place(scope, &description(scope), groups, pid)?)
}

#[async_trait]
impl Host for KernelHost {
    fn features(&self) -> &[Feature] {
        &self.features
    }

    async fn overlay(&self, dirs: &RootfsDirs, ids: Option<&IdMaps>) -> Result<OwnedFd> {
        let (dirs, ids) = (dirs.clone(), ids.cloned());
        self.kernel.call(move |_| view::root(&dirs, ids.as_ref())).await
    }

    async fn view(
        &self,
        layers: &[Lower],
        sub_path: &str,
        ids: Option<&IdMaps>,
    ) -> Result<OwnedFd> {
        let (layers, sub_path, ids) = (layers.to_vec(), sub_path.to_owned(), ids.cloned());
        self.kernel.call(move |_| view::view(&layers, &sub_path, ids.as_ref())).await
    }

    async fn criu(&self) -> Result<PathBuf> {
        criu::find().await
    }

    async fn dump(&self, dump: Dump) -> Result<()> {
        self.kernel.call(move |kernel| criu::dump(&kernel.groups(&dump.cgroup), dump)).await
    }

    async fn thaw_group(&self, cgroup: &str) -> Result<()> {
        self.group((cgroup, "thaw control group"), cgroup::thaw).await
    }

    async fn unpin(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        Ok(self.kernel.call(move |_| namespace::unpin(&path)).await?)
    }

    async fn make_group(&self, cgroup: &str) -> Result<()> {
        match Unit::of(cgroup) {
            None => self.group((cgroup, "control group"), cgroup::make).await,
            Some(Unit::Scope(_)) => Ok(()),
            Some(Unit::Slice(slice)) => {
                let make = move |_: &Kernel| {
                    systemd::make_slice(&slice, "a pod of rrun", &Cgroups::default())
                };
                Ok(self.kernel.call(make).await?)
            }
        }
    }

    async fn place(&self, cgroup: &str, groups: &Cgroups, pid: i32) -> Result<()> {
        let Some(scope) = groups::scope(cgroup) else {
            return Err(Error::internal(format!("{cgroup} is no scope")));
        };
        let groups = groups.clone();
        let place = move |_: &Kernel| place(&scope, &groups, pid);
        self.kernel.call(place).await
    }

    async fn tell_limits(&self, cgroup: &str, change: &Cgroups) -> Result<()> {
        let Some(scope) = groups::scope(cgroup) else { return Ok(()) };
        let change = change.clone();
        let tell = move |_: &Kernel| systemd::tell(&scope, &change);
        Ok(self.kernel.call(tell).await?)
    }

    async fn kill_group(&self, cgroup: &str) -> Result<()> {
        self.group((cgroup, "kill control group"), cgroup::kill).await
    }

    async fn remove_group(&self, cgroup: &str) -> Result<()> {
        let below = format!("{cgroup}/");
        let forget = move |kernel: &Kernel| {
            kernel.files().retain(|group, _| !format!("{group}/").starts_with(&below));
        };
        self.kernel.call(forget).await;
        if let Some(unit) = Unit::of(cgroup) {
            let path = cgroup.to_owned();
            let stop = move |kernel: &Kernel| unit.stop(&kernel.groups(&path));
            if !self.kernel.call(stop).await? {
                return Ok(());
            }
        }
        self.group((cgroup, "remove control group"), |groups| cgroup::remove(&groups.dirs)).await
    }

    async fn move_processes(&self, cgroup: &str, to: &str) -> Result<Vec<i32>> {
        let what = format!("move what is in control group {cgroup} to {to}");
        let (from, to) = (cgroup.to_owned(), to.to_owned());
        let work = move |kernel: &Kernel| {
            let (from, to) = (kernel.groups(&from), kernel.groups(&to));
            cgroup::move_processes(&from, &to).context(|| what)
        };
        self.kernel.call(work).await
    }

    async fn ensure_apparmor(&self, profile: &str) -> Result<()> {
        let profile = profile.to_owned();
        self.kernel.call(move |_| apparmor::ensure(&profile)).await
    }

    fn pidfd(&self, pid: i32) -> Option<OwnedFd> {
        pidfd::open(pid).ok()
    }

    async fn pid_namespace(&self, process: &Arc<OwnedFd>, pid: i32) -> Result<OwnedFd> {
        let process = Arc::clone(process);
        let open = move |_: &Kernel| {
            let path = format!("/proc/{pid}/ns/pid");
            let namespace = File::open(&path).context(|| format!("open {path}"))?;
            // Asked after the number was used: if the process lives now, it had the number then.
            pidfd::send_signal(process.as_fd(), 0)
                .map_err(|_| Error::precondition("its process has ended"))?;
            Ok(namespace.into())
        };
        self.kernel.call(open).await
    }

    async fn exit_code(&self, process: &Arc<OwnedFd>) -> Option<i32> {
        over(process, PollFlags::POLLIN, PATIENCE).await.ok()?;
        // The code is told once somebody has reaped it, which is init's part without its shim.
        over(process, PollFlags::POLLHUP, REAPING).await.ok()?;
        pidfd::exit_code(process.as_fd()).ok().flatten()
    }

    async fn usage(&self, cgroups: Vec<String>) -> Vec<Option<Stats>> {
        let read = move |kernel: &Kernel| cgroups.iter().map(|group| kernel.usage(group)).collect();
        self.kernel.call(read).await
    }

    async fn counts(&self, containers: Vec<(String, i32)>) -> Vec<Option<Counts>> {
        let read = move |kernel: &Kernel| {
            containers.iter().map(|(group, init)| kernel.counts(group, *init)).collect()
        };
        self.kernel.call(read).await
    }

    async fn interfaces(&self, netns: Vec<PathBuf>) -> Vec<Vec<InterfaceUsage>> {
        let count = |path: &PathBuf| interfaces::of(path).unwrap_or_default();
        self.kernel.call(move |_| netns.iter().map(count).collect()).await
    }
}
