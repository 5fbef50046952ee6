//! The first process of a PID namespace that containers share.
//!
//! It is a container of its own, with nothing in it: were it merely the shim, a neighbour with
//! default capabilities would read the host through `/proc/1/root`.

use super::compile::{self, Inputs};
use super::{Child, Stdio};
use crate::plan::{Namespace, Plan};
use crate::{Context, Result, cgroup};
use nix::unistd::Pid;
use rrun_sys::step::{self, Steps};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A running reaper.
#[derive(Debug)]
pub struct Reaper {
    /// Process id, seen from the caller.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its PID namespace.
    pub namespace: OwnedFd,
}

/// The reaper's program, in a sealed memfd.
///
/// # Errors
/// What the kernel says.
pub fn binary() -> Result<OwnedFd> {
    rrun_sys::memfd::sealed(c"reaper", rrun_sys::reaper::PROGRAM).context(|| "memfd of the reaper")
}

/// Starts the reaper `binary` as pid 1 of a new PID namespace, in an empty read-only root, with
/// no descriptors and no capabilities, in the groups, ids, namespaces and seccomp filter of
/// `plan` (whose root, mounts and capabilities are not looked at). Blocks until it runs, about a
/// millisecond. Groups are steps as in [`super::spawn`], the process is `runtime.create.reaper`.
///
/// # Errors
/// As [`super::Child::advance`].
pub fn spawn(
    plan: &Plan,
    slots: &[BorrowedFd<'_>],
    pod_mounts: Option<BorrowedFd<'_>>,
    binary: BorrowedFd<'_>,
) -> Result<Reaper> {
    let mut steps = Steps::default();
    let joined = cgroup::enter(&plan.cgroups, cgroup::Purpose::Create, &mut steps)?;
    let stdio: Option<Stdio> = None;
    let given = Inputs { slots, pod_mounts, stdio, tasks: joined.tasks, ..Default::default() };
    let compiled = compile::reaper(plan, binary, given)?;
    let unified = joined.unified.as_ref().map(AsFd::as_fd);
    let mut child = step::run("runtime.create.reaper", || Child::start(compiled, unified, false))?;
    // Its namespace is there from the clone on, and cannot be looked up once it has died; inside a
    // user namespace it comes later.
    let is_inside = plan.namespaces.user != Namespace::Host;
    if is_inside {
        child.wait_running()?;
    }
    let path = format!("/proc/{}/ns/pid", child.pid());
    let namespace = std::fs::File::open(&path).context(|| format!("open {path}"))?;
    if !is_inside {
        child.wait_running()?;
    }
    steps.commit();
    Ok(Reaper { pid: child.pid(), pidfd: child.pidfd_owned()?, namespace: namespace.into() })
}
