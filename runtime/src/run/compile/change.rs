//! The mounts of a container that runs, added to and taken from by a process that enters it.
//!
//! It joins no PID namespace, so that nobody in the container sees it, with all that it may do. Paths
//! lead where they do in the container's root: who runs there can lead them elsewhere in it, and no
//! further.

use super::mounts::{Mounts, read_only};
use super::text::c_string;
use super::{Compiled, Compiler, Inputs, NEWUSER};
use crate::plan::{Mount, MountSource};
use crate::{Context, Error, Kind, Result};
use nix::sched::CloneFlags;
use rrun_sys::program::{MountOp, NamespaceOp};
use std::os::fd::BorrowedFd;

/// The steps that add mounts, in order.
pub(in crate::run) fn add<'fd>(added: &[Mount], init: BorrowedFd<'fd>) -> Result<Compiled<'fd>> {
    let mut compiler = Compiler::new(&[])?;
    compiler.begin(Inputs::default().stdio)?;
    let root = compiler.program.empty();
    let mut mounts = Mounts::of(root);
    // While the host's are there.
    let mut regs = Vec::with_capacity(added.len());
    for mount in added {
        check(mount).context(|| format!("mount {}", mount.target))?;
        regs.push(compiler.open_source(mount)?);
    }
    compiler.enter(init);
    compiler.program.step("open the root", MountOp::Root(root));
    for (mount, reg) in added.iter().zip(regs) {
        compiler.mount(mount, reg, &mut mounts)?;
    }
    for (target, reg) in mounts.read_only_later {
        read_only(&mut compiler.program, format!("make {target} read-only"), reg);
    }
    Ok(compiler.done())
}

fn check(mount: &Mount) -> Result<()> {
    let why = match &mount.source {
        // The kernel takes the PID namespace of who makes it: it would show the host's processes.
        MountSource::New { fstype, .. } if fstype == "proc" => "a new proc cannot be added",
        MountSource::Bind { .. } | MountSource::New { .. } => return Ok(()),
        MountSource::Pod(_) | MountSource::Detached(_) => "only what is bound or new is added",
    };
    Err(Error::new(Kind::Invalid, why))
}

/// The steps that take away what is mounted on top at these paths, in order.
pub(in crate::run) fn remove<'fd>(
    targets: &[String],
    init: BorrowedFd<'fd>,
) -> Result<Compiled<'fd>> {
    let mut compiler = Compiler::new(&[])?;
    compiler.begin(Inputs::default().stdio)?;
    compiler.enter(init);
    for target in targets {
        let label = || format!("unmount {target}");
        let path = c_string(target.as_str()).context(label)?;
        compiler.program.step(label(), MountOp::Detach(path));
    }
    Ok(compiler.done())
}

impl<'fd> Compiler<'fd> {
    /// A new file system is of the namespaces of who makes it.
    fn enter(&mut self, init: BorrowedFd<'fd>) {
        let fd = self.program.borrow(init);
        let always = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP;
        // Most containers share our user namespace.
        let tries = [always | NEWUSER, always].into();
        self.program.step("enter the container", NamespaceOp::EnterProcess { fd, tries });
        self.become_root();
    }
}
