//! Talk with the parent.

use super::Reg;
use super::machine::{Machine, Words};
use super::report::{self, MessageKind, ParentTask};
use crate::call::syscall;
use nix::errno::Errno;
use std::os::fd::RawFd;

/// Steps that talk with the parent.
#[derive(Debug)]
pub enum ChannelOp {
    /// Say that all is prepared.
    Ready,
    /// Wait for a packet; the child ends when the parent closes its end without one.
    Await,
    /// Ask the parent to do something, and wait until it is done.
    Ask(ParentTask),
    /// Ask the parent for this process's id, for [`super::DescriptorOp::Send`].
    LearnPid,
    /// Wait for a connection at this listening socket; it becomes the channel.
    Accept(Reg),
}

impl ChannelOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            ChannelOp::Ready => report::send(machine.channel, MessageKind::Waiting, &[]),
            ChannelOp::Await => await_packet(machine.channel)?,
            ChannelOp::Ask(question) => ask(machine, *question).map(drop)?,
            ChannelOp::LearnPid => machine.pid = ask(machine, ParentTask::TellPid)?,
            ChannelOp::Accept(listener) => accept(machine, *listener)?,
        }
        Ok(())
    }
}

fn await_packet(channel: RawFd) -> Result<(), Errno> {
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte of ours to write to.
        match unsafe { syscall!(libc::SYS_read, channel, std::ptr::from_mut(&mut byte), 1) } {
            // Nobody is left who could start or report this process.
            Ok(0) => super::machine::exit(125),
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// The words of the answer.
fn ask(machine: &mut Machine<'_>, question: ParentTask) -> Result<Words, Errno> {
    report::send_ask(machine.channel, question)?;
    let mut packet = [0_u8; report::ANSWER_MAX];
    let (pointer, room) = (packet.as_mut_ptr(), packet.len());
    let length = loop {
        // SAFETY: a buffer of ours with its length.
        match unsafe { syscall!(libc::SYS_read, machine.channel, pointer, room) } {
            Ok(0) => super::machine::exit(125),
            Err(Errno::EINTR) => {}
            other => break other? as usize,
        }
    };
    let answer = packet.get(..length).and_then(<[u8]>::split_first_chunk::<4>);
    let (errno, words) = answer.ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(*errno) {
        0 => Ok(Words::of(words)),
        errno => {
            machine.say(words);
            Err(Errno::from_raw(errno))
        }
    }
}

fn accept(machine: &mut Machine<'_>, listener: Reg) -> Result<(), Errno> {
    let fd = machine.fd(listener)?;
    loop {
        let none = std::ptr::null::<u8>();
        // SAFETY: no address is asked for.
        match unsafe { syscall!(libc::SYS_accept4, fd, none, none, libc::SOCK_CLOEXEC) } {
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno),
            Ok(connection) => {
                // SAFETY: the channel is ours; nobody reads it any more.
                let _ = unsafe { syscall!(libc::SYS_close, machine.channel) };
                machine.channel = connection as RawFd;
                machine.close(listener);
                return Ok(());
            }
        }
    }
}
