//! What a cloned child does before its program runs: a flat list of steps, prepared by its
//! parent.
//!
//! Between clone and execve a child must not allocate, lock or log: another thread of the parent
//! may have held the allocator at that moment, and the C library thinks its threads are there.
//! So a child is not code of the caller's. It is a [`Program`], data that the parent has made,
//! walked by an interpreter in this module which does nothing but system calls on that data and
//! on its own stack.
//!
//! Descriptors are named by [`Reg`], an entry in a table that the parent fills as far as it can
//! and the steps fill further. A step that fails ends the child: its label, which is part of the
//! data, and the errno go over the [`channel`](report) to whoever holds the other end. Therefore
//! a parent needs to remember nothing of the list, and may even be another process by then.

mod channel;
mod clone;
mod copy;
mod credential;
mod descriptor;
mod exec;
mod file;
mod hook;
mod machine;
mod mount;
mod namespace;
pub mod report;
mod terminal;

pub use channel::ChannelOp;
pub(crate) use clone::{Forked, INTO_CGROUP, clone3};
pub use clone::{Placement, start};
pub use credential::{CredentialOp, Limit, Sets};
pub use descriptor::DescriptorOp;
pub use exec::{ExecOp, Strings};
pub use file::FileOp;
pub use hook::HookOp;
pub use mount::{Base, MountOp, Rules};
pub use namespace::NamespaceOp;
pub use terminal::TerminalOp;

use crate::inherited::Inherited;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// An entry in a program's table of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(usize);

/// One step of a child.
#[derive(Debug)]
pub enum Op {
    /// Talk with the parent.
    Channel(ChannelOp),
    /// The standard descriptors, and which are closed.
    Descriptor(DescriptorOp),
    /// Namespaces, and the second clone that a joined PID namespace needs.
    Namespace(NamespaceOp),
    /// Mounts.
    Mount(MountOp),
    /// Nodes, links and values in files.
    File(FileOp),
    /// The terminal.
    Terminal(TerminalOp),
    /// Ids, capabilities, limits, filter.
    Credential(CredentialOp),
    /// Working directory, search and execve.
    Exec(ExecOp),
    /// A program that is run and waited for.
    Hook(HookOp),
}

macro_rules! op_from {
    ($($kind:ident: $op:ident),*) => { $(impl From<$op> for Op {
        fn from(op: $op) -> Op {
            Op::$kind(op)
        }
    })* };
}
op_from!(
    Channel: ChannelOp, Descriptor: DescriptorOp, Namespace: NamespaceOp, Mount: MountOp,
    File: FileOp, Terminal: TerminalOp, Credential: CredentialOp, Exec: ExecOp,
    Hook: HookOp
);

#[derive(Debug)]
struct Step {
    label: Box<[u8]>,
    op: Op,
}

/// The steps of one child, and the descriptors it starts with.
#[derive(Debug, Default)]
pub struct Program<'fd> {
    steps: Vec<Step>,
    fds: Vec<RawFd>,
    owned: Vec<OwnedFd>,
    inherited: Inherited,
    borrowed: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Program<'fd> {
    /// Adds a step. `label` says what it does in the words of an error: `mount /etc/hosts`.
    pub fn step(&mut self, label: impl Into<String>, op: impl Into<Op>) {
        let label = label.into().into_bytes().into_boxed_slice();
        self.steps.push(Step { label, op: op.into() });
    }

    /// Puts a descriptor of the parent's into the table.
    pub fn borrow(&mut self, fd: BorrowedFd<'fd>) -> Reg {
        self.put(fd.as_raw_fd())
    }

    /// Puts a descriptor into the table and keeps it until the program is dropped.
    pub fn own(&mut self, fd: OwnedFd) -> Reg {
        let reg = self.put(fd.as_raw_fd());
        self.owned.push(fd);
        reg
    }

    /// Leaves open what comes from the caller's caller, for the program that is executed.
    pub fn hand_on(&mut self, inherited: Inherited) {
        self.inherited = inherited;
    }

    /// An entry for a step to fill.
    pub fn empty(&mut self) -> Reg {
        self.put(-1)
    }

    fn put(&mut self, fd: RawFd) -> Reg {
        self.fds.push(fd);
        Reg(self.fds.len() - 1)
    }
}
