//! The pod's namespaces, their pins on the host, the pod's own mount namespace, and the reaper.

use crate::process::{refuse, to_wire};
use nix::unistd::Pid;
use rrun_runtime::plan::CgroupDir;
use rrun_runtime::run::namespace::NamespaceKind as Kind;
use rrun_runtime::run::reaper::Reaper;
use rrun_runtime::run::{namespace, pod_mounts, reaper};
use rrun_runtime::{Context, Error, Result, cgroup};
use rrun_shim_protocol::{NamespaceKind, Reaper as Planned, Sandbox, WireError, WireKind};
use rrun_sys::step::Steps;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What was made for the pod.
pub struct Pod {
    sandbox: Sandbox,
    namespaces: Vec<OwnedFd>,
    pod_mounts: OwnedFd,
    reaper: Option<Reaper>,
}

impl Pod {
    /// Makes it, or takes back what was made of it.
    pub fn make(sandbox: Sandbox) -> Result<Pod, WireError> {
        let mut steps = Steps::default();
        match make(sandbox, &mut steps) {
            Ok(pod) => {
                steps.commit();
                Ok(pod)
            }
            Err(error) => {
                steps.roll_back();
                Err(to_wire(&error))
            }
        }
    }

    /// A retry asks for the same.
    pub fn is(&self, sandbox: &Sandbox) -> bool {
        self.sandbox == *sandbox
    }

    /// The pod's slots for plans.
    pub fn slots(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.namespaces.iter().map(AsFd::as_fd)
    }

    /// The pod's own mount namespace.
    pub fn mounts(&self) -> BorrowedFd<'_> {
        self.pod_mounts.as_fd()
    }

    /// The reaper, while it lives.
    pub fn reaper(&self) -> Option<Pid> {
        self.reaper.as_ref().map(|reaper| reaper.pid)
    }

    /// The reaper has ended, and every process of its namespace with it.
    pub fn reaper_ended(&mut self) {
        self.reaper = None;
    }

    /// Kills the reaper: its namespace, and what is left in it, ends with it. It is reaped like any
    /// other child.
    pub fn kill_reaper(&self) -> Result<()> {
        let Some(reaper) = &self.reaper else { return Ok(()) };
        rrun_sys::step::run("shim.shutdown.reaper", || {
            rrun_sys::pidfd::send_signal(reaper.pidfd.as_fd(), nix::libc::SIGKILL)
                .context(|| "kill the reaper")
        })
    }

    /// The groups that the reaper was in.
    pub fn reaper_groups(&self) -> &[CgroupDir] {
        self.sandbox.reaper.as_ref().map_or(&[], |reaper| &reaper.plan.cgroups.dirs)
    }

    /// Takes the pins away; what cannot be is told.
    pub fn unpin(self) -> Vec<Error> {
        self.sandbox.pins.iter().filter_map(|pin| namespace::unpin(&pin.path).err()).collect()
    }
}

fn make(sandbox: Sandbox, steps: &mut Steps<Error>) -> Result<Pod> {
    let kinds: Vec<_> = sandbox.namespaces.iter().filter_map(|kind| persistent(*kind)).collect();
    let setup = namespace::Setup {
        hostname: sandbox.hostname.as_deref(),
        sysctls: &sandbox.sysctls,
        loopback: kinds.contains(&Kind::Network),
        id_maps: sandbox.id_maps.as_ref(),
    };
    // Namespaces and mounts without a path die with this process: nothing to take back.
    let make = || namespace::make(&kinds, &setup);
    let mut namespaces = steps.run("shim.sandbox.namespaces", make, || Ok(()))?;
    for pin in &sandbox.pins {
        let at = sandbox.namespaces.iter().position(|kind| *kind == pin.kind);
        let Some(fd) = at.and_then(|at| namespaces.get(at)) else { continue };
        let undo = || {
            let path = pin.path.clone();
            move || namespace::unpin(&path)
        };
        let file = || {
            let made = rrun_sys::record::open_or_make(&pin.path).map(drop);
            made.context(|| format!("pin {}", pin.path.display()))
        };
        steps.run("shim.sandbox.pin-file", file, undo())?;
        let mount = || namespace::pin(fd.as_fd(), &pin.path);
        steps.run("shim.sandbox.pin", mount, undo())?;
    }
    let make = || match &sandbox.id_maps {
        None => pod_mounts::make(sandbox.shm_size),
        Some(maps) => pod_mounts::make_for(maps.root()?, sandbox.shm_size),
    };
    let pod_mounts = steps.run("shim.sandbox.mount-namespace", make, || Ok(()))?;
    let mut reaper = None;
    if let Some(planned) = &sandbox.reaper {
        let running = start_reaper(planned, (&namespaces, &pod_mounts), steps)?;
        namespaces.push(running.namespace.try_clone()?);
        reaper = Some(running);
    }
    Ok(Pod { sandbox, namespaces, pod_mounts, reaper })
}

/// Namespaces that need no process; the PID namespace comes with its reaper.
fn persistent(kind: NamespaceKind) -> Option<Kind> {
    match kind {
        NamespaceKind::Network => Some(Kind::Network),
        NamespaceKind::Ipc => Some(Kind::Ipc),
        NamespaceKind::Uts => Some(Kind::Uts),
        NamespaceKind::User => Some(Kind::User),
        NamespaceKind::Pid => None,
    }
}

fn start_reaper(
    planned: &Planned,
    (namespaces, pod_mounts): (&[OwnedFd], &OwnedFd),
    steps: &mut Steps<Error>,
) -> Result<Reaper> {
    let slots: Vec<BorrowedFd<'_>> = namespaces.iter().map(AsFd::as_fd).collect();
    let binary = reaper::binary()?;
    let groups = planned.plan.cgroups.clone();
    let spawn = || reaper::spawn(&planned.plan, &slots, Some(pod_mounts.as_fd()), binary.as_fd());
    let undo = move || {
        cgroup::kill(&groups)?;
        cgroup::remove_patiently(&groups.dirs)
    };
    steps.run("shim.sandbox.reaper", spawn, undo)
}

/// The sandbox was not made yet.
pub fn missing() -> WireError {
    refuse(WireKind::Invalid, "the sandbox was not made yet")
}
