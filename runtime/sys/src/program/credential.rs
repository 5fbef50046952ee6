//! Who a process is and what it may do.

use super::Reg;
use super::machine::Machine;
use crate::call::{fresh, syscall};
use libc::c_long;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString};

/// Capability sets for capset(2), bit n for capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
}

/// A resource limit for prlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`
    pub resource: u32,
    /// Soft.
    pub soft: u64,
    /// Hard.
    pub hard: u64,
}

/// Steps on ids, capabilities, limits and filter.
#[derive(Debug)]
pub enum CredentialOp {
    /// No core dump and no ptrace from below until execve: what the child holds is the host's.
    NotDumpable,
    /// Every signal at its default and none blocked. Clearing handlers at clone leaves those that
    /// were ignored, as SIGPIPE is in every Rust program.
    ResetSignals,
    /// Have the kernel reap children.
    IgnoreChildren,
    /// A resource limit; one that is above what is allowed is clamped and reported.
    Limit(Limit),
    /// Join the session keyring of this name, made if it is new; an empty name makes one that
    /// nobody else can join. The caller's keys stay out of reach. A kernel without keys has
    /// nothing to leave.
    SessionKeyring(CString),
    /// File mode creation mask.
    Umask(u32),
    /// Take everything else out of the bounding set.
    Bounding(u64),
    /// Keep the permitted set over the change of the user id.
    KeepCapabilities,
    /// Groups, group and user, in this order: the last takes the right to set the others.
    Ids {
        /// Supplementary groups.
        groups: Box<[u32]>,
        /// Group.
        gid: u32,
        /// User.
        uid: u32,
        /// In a user namespace that has denied setgroups(2), whose groups are its maker's: they are
        /// kept where no others are asked for.
        denied: bool,
    },
    /// The capability sets.
    Sets(Sets),
    /// The ambient set.
    Ambient(u64),
    /// `PR_SET_NO_NEW_PRIVS`
    NoNewPrivileges,
    /// A seccomp filter of `struct sock_filter`.
    Seccomp {
        /// The instructions.
        filter: Box<[u8]>,
        /// `SECCOMP_FILTER_FLAG_*`
        flags: u32,
        /// Where the descriptor of its listener is put, with `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
        listener: Option<Reg>,
    },
}

impl CredentialOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            CredentialOp::NotDumpable => control(libc::PR_SET_DUMPABLE, 0, 0),
            CredentialOp::ResetSignals => reset_signals(),
            CredentialOp::IgnoreChildren => set_action(libc::SIGCHLD as u64, libc::SIG_IGN as u64),
            CredentialOp::Limit(limit) => set_limit(machine, limit),
            CredentialOp::SessionKeyring(name) => join_keyring(name),
            CredentialOp::Umask(mask) => {
                nix::sys::stat::umask(Mode::from_bits_truncate(*mask));
                Ok(())
            }
            CredentialOp::Bounding(keep) => drop_bounding(*keep),
            CredentialOp::KeepCapabilities => control(libc::PR_SET_KEEPCAPS, 1, 0),
            CredentialOp::Ids { groups, gid, uid, denied } => set_ids(groups, *gid, *uid, *denied),
            CredentialOp::Sets(sets) => set_capabilities(sets),
            CredentialOp::Ambient(set) => set_ambient(*set),
            CredentialOp::NoNewPrivileges => control(libc::PR_SET_NO_NEW_PRIVS, 1, 0),
            CredentialOp::Seccomp { filter, flags, listener } => {
                let loaded = load_filter(filter, *flags)?;
                if let Some(reg) = listener {
                    // SAFETY: with a listener the call returns its descriptor, close-on-exec.
                    machine.put(*reg, unsafe { fresh(loaded) });
                }
                Ok(())
            }
        }
    }
}

/// Everything to the possessor, and search beside view, read and link to its user, as runc has it:
/// a process of the container may look for a key in it after its ids have changed.
const KEYRING_PERMISSIONS: u32 = 0x3f1b_0000;

fn join_keyring(name: &CStr) -> Result<(), Errno> {
    let pointer = if name.is_empty() { std::ptr::null() } else { name.as_ptr() };
    // SAFETY: null or a valid string.
    let joined = unsafe { syscall!(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, pointer) };
    let keyring = match joined {
        Err(Errno::ENOSYS) => return Ok(()),
        other => other?,
    };
    // SAFETY: integers only.
    unsafe { syscall!(libc::SYS_keyctl, libc::KEYCTL_SETPERM, keyring, KEYRING_PERMISSIONS)? };
    Ok(())
}

fn control(option: i32, a: u64, b: u64) -> Result<(), Errno> {
    // SAFETY: the options used here take integers.
    unsafe { syscall!(libc::SYS_prctl, option, a, b, 0, 0)? };
    Ok(())
}

/// rt_sigaction(2) itself: the C library's refuses the two signals it uses for its threads.
fn set_action(signal: u64, handler: u64) -> Result<(), Errno> {
    // handler, flags, restorer, mask: struct kernel_sigaction.
    let action = [handler, 0, 0, 0];
    let none = std::ptr::null::<u64>();
    // SAFETY: four words as the kernel has them; no handler of ours is installed.
    unsafe { syscall!(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8)? };
    Ok(())
}

fn reset_signals() -> Result<(), Errno> {
    for signal in 1..=64 {
        if signal != libc::SIGKILL as u64 && signal != libc::SIGSTOP as u64 {
            set_action(signal, libc::SIG_DFL as u64)?;
        }
    }
    let empty = 0_u64;
    let set = std::ptr::from_ref(&empty);
    let none = std::ptr::null::<u64>();
    // SAFETY: a set of eight bytes, as the kernel has it.
    unsafe { syscall!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, none, 8)? };
    Ok(())
}

fn set_limit(machine: &mut Machine<'_>, limit: &Limit) -> Result<(), Errno> {
    let asked = [limit.soft, limit.hard];
    match prlimit(limit.resource, Some(&asked), None) {
        Err(Errno::EPERM) => {}
        other => return other,
    }
    let mut old = [0; 2];
    prlimit(limit.resource, None, Some(&mut old))?;
    let [_, hard] = old;
    machine.clamped = true;
    prlimit(limit.resource, Some(&[limit.soft.min(hard), limit.hard.min(hard)]), None)
}

fn prlimit(resource: u32, new: Option<&[u64; 2]>, old: Option<&mut [u64; 2]>) -> Result<(), Errno> {
    let new = new.map_or(std::ptr::null(), |new| new.as_ptr());
    let old = old.map_or(std::ptr::null_mut(), |old| old.as_mut_ptr());
    // SAFETY: each is null or two words, as struct rlimit64 has them.
    unsafe { syscall!(libc::SYS_prlimit64, 0, resource, new, old)? };
    Ok(())
}

fn drop_bounding(keep: u64) -> Result<(), Errno> {
    for capability in 0..64 {
        if keep >> capability & 1 == 1 {
            continue;
        }
        match control(libc::PR_CAPBSET_DROP, capability, 0) {
            // Above the last one that this kernel knows.
            Err(Errno::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

fn set_ids(groups: &[u32], gid: u32, uid: u32, denied: bool) -> Result<(), Errno> {
    // The kernel takes this number for "leave it as it is": the process would stay root.
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    // SAFETY: a list with its length; integers. The C library's wrappers would signal threads
    // that this process does not have.
    unsafe {
        match syscall!(libc::SYS_setgroups, groups.len(), groups.as_ptr()) {
            Err(Errno::EPERM) if denied && groups.is_empty() => {}
            other => drop(other?),
        }
        syscall!(libc::SYS_setresgid, gid, gid, gid)?;
        syscall!(libc::SYS_setresuid, uid, uid, uid)?;
    }
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITY_VERSION: u32 = 0x2008_0522;

fn set_capabilities(sets: &Sets) -> Result<(), Errno> {
    let header = [CAPABILITY_VERSION, 0];
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data = [
        low(sets.effective),
        low(sets.permitted),
        low(sets.inheritable),
        high(sets.effective),
        high(sets.permitted),
        high(sets.inheritable),
    ];
    // SAFETY: header and two data structs, as version 3 has them.
    unsafe { syscall!(libc::SYS_capset, header.as_ptr(), data.as_ptr())? };
    Ok(())
}

fn set_ambient(set: u64) -> Result<(), Errno> {
    control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for capability in (0..64).filter(|n| set >> n & 1 == 1) {
        control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability)?;
    }
    Ok(())
}

fn load_filter(filter: &[u8], flags: u32) -> Result<c_long, Errno> {
    let length = u16::try_from(filter.len() / 8).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    let pointer = std::ptr::from_ref(&program);
    // SAFETY: a length and as many instructions, which the kernel copies byte by byte.
    unsafe { syscall!(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, pointer) }
}
