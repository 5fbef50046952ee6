//! The executor: does what a plan says and decides nothing.
//!
//! [`spawn`] compiles a [`Plan`] into a flat list of steps, each of them one or a few system
//! calls on memory that is allocated beforehand, and clones. The child walks the list; where one
//! fails it sends (step, errno) and ends, and the parent, who has the same list, words the error.
//!
//! Needs Linux 5.14: clone3 and openat2 (5.6), close_range (5.9) with its close-on-exec flag
//! (5.11), mount_setattr (5.12), `cgroup.kill` (5.14). There is no fallback to mount(2): an older
//! kernel answers ENOSYS and the error names the step.

mod child;
mod compile;
mod id_maps;
pub mod mounts;
pub mod namespace;
pub mod pod_mounts;
pub mod reaper;
pub mod start_socket;

pub use child::{Child, State};
pub use rrun_sys::program::report::{ParentTask, Refusal};

use crate::plan::{ExecPlan, Plan};
use crate::{Result, cgroup};
use rrun_sys::inherited::Inherited;
use rrun_sys::step::{self, Steps};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The first three descriptors of a process. Not used for one with a terminal.
#[derive(Debug)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
}

/// What a command line knows of a process beside its plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// Descriptors that its program gets after the standard ones.
    pub inherited: Inherited,
    /// The root is entered by chroot(2), where pivot_root(2) cannot leave the host's.
    pub no_pivot: bool,
    /// Who this process is.
    pub caller: Caller,
}

/// Who makes a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// The host's root.
    #[default]
    Root,
    /// Root inside of a user namespace: it makes no device nodes.
    RootInside,
    /// Somebody else, who may do nothing before there is a user namespace.
    Unprivileged,
}

/// Makes a container's groups and its init, and returns as soon as it is cloned.
///
/// `pod_mounts` is the mount namespace (see [`pod_mounts::make`]) in which the container's is
/// unshared; without it, it is unshared from the caller's, at a price for each mount there. Without
/// `stdio` all three are `/dev/null`.
///
/// The groups are steps `runtime.create.cgroup-v1` and `runtime.create.cgroup-v2`, the process is
/// `runtime.create.init`; what was made is taken back when a later one fails, and can be taken
/// back from outside by [`crate::cgroup::kill`] and [`crate::cgroup::remove`].
///
/// # Errors
/// `Invalid` for a plan of a newer version, a slot that is not there, a user namespace that is
/// joined, a mount inside `/proc`; else what the kernel says to the group's files or to clone3(2).
pub fn spawn(
    plan: &Plan,
    slots: &[BorrowedFd<'_>],
    pod_mounts: Option<BorrowedFd<'_>>,
    stdio: Option<Stdio>,
) -> Result<Child> {
    spawn_given(plan, compile::Inputs { slots, pod_mounts, stdio, ..Default::default() })
}

/// As [`spawn`], with what the command line says and no pod.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_beside(
    plan: &Plan,
    slots: &[BorrowedFd<'_>],
    stdio: Option<Stdio>,
    beside: Beside,
) -> Result<Child> {
    spawn_given(plan, compile::Inputs { slots, stdio, beside, ..Default::default() })
}

fn spawn_given(plan: &Plan, given: compile::Inputs<'_>) -> Result<Child> {
    let mut steps = Steps::default();
    let joined = cgroup::enter(&plan.cgroups, cgroup::Purpose::Create, &mut steps)?;
    let compiled = compile::init(plan, compile::Inputs { tasks: joined.tasks, ..given })?;
    let unified = joined.unified.as_ref().map(AsFd::as_fd);
    let child = step::run("runtime.create.init", || Child::start(compiled, unified, true))?;
    steps.commit();
    Ok(child)
}

/// Runs one more process in a container, at once: there is no [`State::Waiting`] in its life.
///
/// `init` is a pidfd of the container's init, whose namespaces are joined. The process is a child
/// of the caller. Step `runtime.exec.process`, groups as in [`spawn`] with `exec` for `create`.
///
/// # Errors
/// As [`spawn`]; `NotFound` when the container has ended.
pub fn exec(plan: &ExecPlan, init: BorrowedFd<'_>, stdio: Option<Stdio>) -> Result<Child> {
    exec_beside(plan, init, stdio, Beside::default())
}

/// As [`exec`], with what the command line says.
///
/// # Errors
/// As [`exec`].
pub fn exec_beside(
    plan: &ExecPlan,
    init: BorrowedFd<'_>,
    stdio: Option<Stdio>,
    beside: Beside,
) -> Result<Child> {
    let mut steps = Steps::default();
    let joined = cgroup::enter(&plan.cgroups, cgroup::Purpose::Exec, &mut steps)?;
    let tasks = joined.tasks;
    let given = compile::Inputs { stdio, tasks, beside, ..Default::default() };
    let compiled = compile::exec(plan, init, given)?;
    let unified = joined.unified.as_ref().map(AsFd::as_fd);
    let child = step::run("runtime.exec.process", || Child::start(compiled, unified, false))?;
    steps.commit();
    Ok(child)
}
