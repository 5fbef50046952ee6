//! The interpreter. Everything here and in the topic modules' `run` runs in the child: no
//! allocation, no lock, no panic.

use super::report::{self, Detail, MessageKind};
use super::{Op, Reg, Step};
use crate::call::syscall;
use crate::inherited::Inherited;
use nix::errno::Errno;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// The state of a child.
pub(super) struct Machine<'p> {
    pub(super) fds: &'p mut [RawFd],
    pub(super) channel: RawFd,
    /// The working directory could not be entered as root (a root-squashing network file
    /// system); it is tried again as the user.
    pub(super) cwd_failed: bool,
    /// Which candidate was found to be the program.
    pub(super) chosen: usize,
    /// More about the failure of the step that runs.
    pub(super) detail: Detail,
    /// The step that runs could not be done as asked, and did what was allowed.
    pub(super) clamped: bool,
    /// What there is to say about the failure of the step that runs, beside its errno.
    pub(super) said: Words,
    /// The process's id as its parent sees it, in decimal, when it was asked for.
    pub(super) pid: Words,
}

/// A few words without an allocation.
pub(super) struct Words {
    pub(super) buffer: [u8; 256],
    pub(super) length: usize,
}

impl Words {
    pub(super) const NONE: Words = Words { buffer: [0; 256], length: 0 };

    /// As many as there is room for.
    pub(super) fn of(bytes: &[u8]) -> Words {
        let mut words = Words::NONE;
        let length = bytes.len().min(words.buffer.len());
        if let (Some(to), Some(from)) = (words.buffer.get_mut(..length), bytes.get(..length)) {
            to.copy_from_slice(from);
            words.length = length;
        }
        words
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Machine<'_> {
    /// Walks the steps. Returns never: the last one executes a program, or the child ends.
    pub(super) fn run(&mut self, steps: &[Step]) -> ! {
        for step in steps {
            if let Err(errno) = self.step(&step.op) {
                let code = self.detail.exit_code(errno);
                let said = self.said.bytes();
                report::send_failure(self.channel, self.detail, errno, [&step.label, said]);
                exit(code);
            }
            if std::mem::take(&mut self.clamped) {
                report::send(self.channel, MessageKind::Clamped, &step.label);
            }
        }
        exit(0)
    }

    fn step(&mut self, op: &Op) -> Result<(), Errno> {
        match op {
            Op::Channel(op) => op.run(self),
            Op::Descriptor(op) => op.run(self),
            Op::Namespace(op) => op.run(self),
            Op::Mount(op) => op.run(self),
            Op::File(op) => op.run(self),
            Op::Terminal(op) => op.run(self),
            Op::Credential(op) => op.run(self),
            Op::Exec(op) => op.run(self),
            Op::Hook(op) => op.run(self),
        }
    }

    /// Says why the step that runs is about to fail.
    pub(super) fn say(&mut self, words: &[u8]) {
        self.said = Words::of(words);
    }

    /// The same in several parts, as far as there is room.
    pub(super) fn say_all(&mut self, parts: [&[u8]; 4]) {
        self.said.length = 0;
        for byte in parts.into_iter().flatten() {
            if let Some(at) = self.said.buffer.get_mut(self.said.length) {
                *at = *byte;
                self.said.length += 1;
            }
        }
    }

    /// The descriptor in a register.
    pub(super) fn fd<'fd>(&self, reg: Reg) -> Result<BorrowedFd<'fd>, Errno> {
        match self.fds.get(reg.0) {
            // SAFETY: the table holds descriptors that are open in this process, which has one
            // thread; only `close` takes one out, and it empties the register.
            Some(fd) if *fd >= 0 => Ok(unsafe { BorrowedFd::borrow_raw(*fd) }),
            _ => Err(Errno::EBADF),
        }
    }

    /// Fills a register, closing what was in it.
    pub(super) fn put(&mut self, reg: Reg, fd: OwnedFd) {
        self.close(reg);
        if let Some(entry) = self.fds.get_mut(reg.0) {
            *entry = fd.into_raw_fd();
        }
    }

    /// Closes what a register holds.
    pub(super) fn close(&mut self, reg: Reg) {
        if let Some(entry) = self.fds.get_mut(reg.0)
            && *entry >= 0
        {
            // SAFETY: open, and nobody else's.
            let _ = unsafe { syscall!(libc::SYS_close, *entry) };
            *entry = -1;
        }
    }

    /// Closes every descriptor after those that are handed on, but the channel and those in
    /// registers.
    pub(super) fn close_others(&mut self, inherited: Inherited) -> Result<(), Errno> {
        let mut next = inherited.end();
        loop {
            let kept = self.fds.iter().copied().chain([self.channel]).filter(|fd| *fd >= next);
            let Some(keep) = kept.min() else {
                return close_range(next, RawFd::MAX, 0);
            };
            if keep > next {
                close_range(next, keep - 1, 0)?;
            }
            next = keep + 1;
        }
    }
}

/// close_range(2), both ends included.
pub(super) fn close_range(first: RawFd, last: RawFd, flags: u32) -> Result<(), Errno> {
    // SAFETY: integers only. That no owner of a closed descriptor is left is the interpreter's
    // rule: it keeps descriptors in registers.
    unsafe { syscall!(libc::SYS_close_range, first, last, flags)? };
    Ok(())
}

/// Ends the child without the C library's exit handlers.
pub(super) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: an integer only; does not return.
        let _ = unsafe { syscall!(libc::SYS_exit_group, code) };
    }
}
